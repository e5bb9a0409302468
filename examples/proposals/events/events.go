// Package events holds the events of all modules, and the types of their fields.
// It is the only package that the modules share, and it imports none of them.
package events

import (
	"fmt"
	"time"

	"github.com/tidings-go/tidings"
)

// ProposalAccepted is published when a company accepts the proposal of a firm.
type ProposalAccepted struct {
	tidings.DomainEvent
	ProposalID   int64
	Firm         string
	Number       string // unique within the firm
	Type         ProposalType
	Company      string
	ContactEmail string
	Service      string
	Amount       Money
	StartsOn     time.Time // a date: midnight, UTC
	Portal       bool      // the company asked for access to the client portal
}

// ClientCreated is published when a company becomes a client of a firm.
type ClientCreated struct {
	tidings.DomainEvent
	ClientID     int64
	Firm         string
	Company      string
	ContactEmail string
	Portal       bool
}

// ContractSigned is published when the contract of a proposal is signed.
type ContractSigned struct {
	tidings.DomainEvent
	ContractID int64
	ClientID   int64
	ProposalID int64
	Firm       string
	Company    string
	Service    string
	Amount     Money
	StartsOn   time.Time
	Follows    int64 // the contract that this one updates or renews; 0 for a client's first
}

// ProjectCreated is published when the project of a contract is created.
type ProjectCreated struct {
	tidings.DomainEvent
	ProjectID  int64
	ContractID int64
	Firm       string
	Name       string
	StartsOn   time.Time
}

func (e ProposalAccepted) String() string {
	return fmt.Sprintf("%s, %s: %s for %s, %s", e.Number, e.Type, e.Service, e.Company, e.Amount)
}

func (e ClientCreated) String() string {
	return fmt.Sprintf("client %d: %s, of %s", e.ClientID, e.Company, e.Firm)
}

func (e ContractSigned) String() string {
	s := fmt.Sprintf("contract %d with client %d, %s", e.ContractID, e.ClientID, e.Amount)
	if e.Follows != 0 {
		s += fmt.Sprintf(", follows contract %d", e.Follows)
	}
	return s
}

func (e ProjectCreated) String() string {
	return fmt.Sprintf("project %d: %s, from %s", e.ProjectID, e.Name, e.StartsOn.Format(time.DateOnly))
}
