package tidingstest_test

import (
	"context"
	"fmt"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/tidingstest"
)

type ProposalAccepted struct {
	tidings.DomainEvent
	ProposalID int64
	FirmID     int64
}

type ClientCreated struct {
	tidings.DomainEvent
	FirmID int64
}

type ContractSigned struct {
	tidings.DomainEvent
	FirmID int64
}

// RegisterClients is the module under test.
func RegisterClients(bus *tidings.EventBus) {
	tidings.Subscribe(bus, func(ctx context.Context, e ProposalAccepted) error {
		if err := tidings.Publish(ctx, bus, ClientCreated{FirmID: e.FirmID}); err != nil {
			return err
		}
		return tidings.Publish(ctx, bus, ContractSigned{FirmID: e.FirmID})
	})
}

func Example() {
	t := exampleT() // in a test, its *testing.T

	bus := tidingstest.NewBus(t)
	rec := tidingstest.Record(bus)
	RegisterClients(bus)

	err := tidings.Publish(t.Context(), bus, ProposalAccepted{ProposalID: 7, FirmID: 1})
	if err != nil {
		t.Fatal(err)
	}

	created := tidingstest.Require[ClientCreated](t, rec.Delivered())
	fmt.Println("client of firm", created.FirmID)

	tidingstest.RequireNone(t, rec.Delivered(), func(e ContractSigned) bool { return e.FirmID != 1 })
	tidingstest.RequireSequence(t, rec.Delivered(),
		tidingstest.Of[ProposalAccepted](),
		tidingstest.Of(func(e ClientCreated) bool { return e.FirmID == 1 }),
		tidingstest.Of[ContractSigned](),
	)
	// Output: client of firm 1
}
