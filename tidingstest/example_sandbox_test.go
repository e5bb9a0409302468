package tidingstest_test

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/tidingstest"
)

type Proposals struct {
	db  *sql.DB
	bus *tidings.EventBus
}

// Accept is what is under test. It commits.
func (p *Proposals) Accept(ctx context.Context, id int64) error {
	return tidings.InTx(ctx, p.db, nil, func(ctx context.Context, tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "UPDATE proposals SET state = 'accepted' WHERE id = ?", id); err != nil {
			return err
		}
		return tidings.Publish(ctx, p.bus, ProposalAccepted{ProposalID: id, FirmID: 1})
	})
}

// Code that commits is tested in a transaction that is rolled back at the
// end of the test; its events are delivered all the same.
func ExampleSandbox() {
	t := exampleT() // in a test, its *testing.T
	db := exampleDB()

	ctx, tx := tidingstest.Sandbox(t, db)
	bus := tidingstest.NewBus(t)
	rec := tidingstest.Record(bus)
	RegisterClients(bus)

	proposals := Proposals{db, bus}
	if err := proposals.Accept(ctx, 7); err != nil {
		t.Fatal(err)
	}

	// tx sees what Accept and the handlers wrote.
	if _, err := tx.ExecContext(ctx, "SELECT state FROM proposals WHERE id = 7"); err != nil {
		t.Fatal(err)
	}
	fmt.Println("client of firm", tidingstest.Require[ClientCreated](t, rec.Delivered()).FirmID)
	// Output: client of firm 1
}

// Code that is called inside a transaction, and publishes there, is called
// by Commit. The handlers have run when Commit returns.
func ExampleCommit() {
	t := exampleT() // in a test, its *testing.T
	db := exampleDB()

	ctx, tx := tidingstest.Sandbox(t, db)
	bus := tidingstest.NewBus(t)
	rec := tidingstest.Record(bus)
	RegisterClients(bus)

	err := tidingstest.Commit(ctx, db, tx, func(ctx context.Context) error {
		return tidings.Publish(ctx, bus, ProposalAccepted{ProposalID: 7, FirmID: 1})
	})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(len(rec.Delivered()), "events")
	// Output: 3 events
}
