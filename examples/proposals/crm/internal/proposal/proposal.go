// Package proposal reads and stores proposals.
package proposal

import (
	"time"

	"github.com/tidings-go/tidings/examples/proposals/events"
)

// A Proposal is what a firm offers to a company.
type Proposal struct {
	Firm         string
	Number       string
	Type         events.ProposalType
	Company      string
	ContactEmail string
	Service      string
	Amount       events.Money
	StartsOn     time.Time
	Portal       bool
}
