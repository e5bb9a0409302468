package events_test

import (
	"testing"
	"time"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/internal/golden"
	"github.com/tidings-go/tidings/examples/proposals/events"
)

func TestEvents_Shape(t *testing.T) {
	t.Parallel()
	day := time.Date(2027, 1, 4, 0, 0, 0, 0, time.UTC)
	var registry tidings.Registry
	events.Register(&registry)
	golden.Check(t, &registry,
		events.ProposalAccepted{
			ProposalID: 1, Firm: "Mill & Partners", Number: "A-1", Type: events.Prospective, Company: "Tern Ltd",
			ContactEmail: "ada@tern.example", Service: "Payroll", Amount: 12_500_50, StartsOn: day, Portal: true,
		},
		events.ClientCreated{ClientID: 2, Firm: "Mill & Partners", Company: "Tern Ltd", ContactEmail: "ada@tern.example", Portal: true},
		events.ContractSigned{
			ContractID: 3, ClientID: 2, ProposalID: 1, Firm: "Mill & Partners", Company: "Tern Ltd", Service: "Payroll",
			Amount: 12_500_50, StartsOn: day, Follows: 4,
		},
		events.ProjectCreated{ProjectID: 5, ContractID: 3, Firm: "Mill & Partners", Name: "Payroll for Tern Ltd", StartsOn: day},
	)
}
