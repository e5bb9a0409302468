package tidings_test

import (
	"context"
	"fmt"

	"github.com/tidings-go/tidings"
)

// ProposalAccepted is published by module crm. It lives in a package of
// events that the modules share, so that none imports another.
type ProposalAccepted struct {
	tidings.DomainEvent
	ProposalID int64
	Number     string
}

// A module subscribes to what it reacts to; another publishes what happened.
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
