package versions_test

import (
	"context"
	"fmt"

	"github.com/tidings-go/tidings"
)

// ProposalAccepted is version 2. Version 1 is in upcast_test.go.
type ProposalAccepted struct {
	tidings.DomainEvent
	ProposalID int64  `json:"proposal_id"`
	Cents      int64  `json:"cents"`
	Currency   string `json:"currency"`
}

// Register registers the names and versions of this package's events.
func Register(r *tidings.Registry) {
	tidings.Register[ProposalAccepted](r, "crm.proposal_accepted", 2)
	tidings.Upcast(r, "crm.proposal_accepted", 1, proposalAcceptedV1to2)
}

func Example_names() {
	registry := &tidings.Registry{Source: "https://shop.example"}
	Register(registry)

	event := tidings.Stamp(context.Background(), ProposalAccepted{ProposalID: 7, Cents: 125000, Currency: "EUR"})
	stored, err := registry.Encode(event)
	if err != nil {
		fmt.Println(err)
	}
	decoded, err := registry.Decode(stored)
	fmt.Println(decoded == tidings.Event(event), err)

	type Forgotten struct{ tidings.DomainEvent }
	_, err = registry.Encode(tidings.Stamp(context.Background(), Forgotten{}))
	fmt.Println(err)
	// Output:
	// true <nil>
	// tidings: versions_test.Forgotten is not registered: an event that is stored or sent needs a lasting name: tidings.Register[versions_test.Forgotten](registry, "…", 1)
}
