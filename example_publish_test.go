package tidings_test

import (
	"context"
	"fmt"

	"github.com/tidings-go/tidings"
)

// Module crm publishes ProposalAccepted. The type is declared in a package of events
// that the modules share, so that they do not import each other.
type ProposalAccepted struct {
	tidings.DomainEvent
	ProposalID int64
	Number     string
}

// One module publishes an event, and other modules subscribe handlers to it.
func Example() {
	bus := tidings.New()

	// In module clients:
	tidings.Subscribe(bus, func(ctx context.Context, e ProposalAccepted) error {
		fmt.Println("clients: create a client for", e.Number)
		return nil
	})
	// In module projects:
	tidings.Subscribe(bus, func(ctx context.Context, e ProposalAccepted) error {
		fmt.Println("projects: plan a project for", e.Number)
		return nil
	})

	// In module crm:
	err := tidings.Publish(context.Background(), bus, ProposalAccepted{ProposalID: 7, Number: "PROP-007"})
	if err != nil {
		fmt.Println(err)
	}
	// Output:
	// clients: create a client for PROP-007
	// projects: plan a project for PROP-007
}
