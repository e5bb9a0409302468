package buntx_test

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/sqlitedialect"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/tx/buntx"
)

type Proposal struct {
	ID       int64 `bun:",pk"`
	Amount   int64
	Accepted bool
}

type ProposalAccepted struct {
	tidings.DomainEvent
	ProposalID int64
	Amount     int64
}

// proposals is a repository, for use inside and outside of transactions.
type proposals struct{ db *bun.DB }

func (p proposals) accept(ctx context.Context, id int64) (amount int64, err error) {
	_, err = buntx.From(ctx, p.db).NewUpdate().Model((*Proposal)(nil)).
		Set("accepted = TRUE").Where("id = ?", id).Returning("amount").Exec(ctx, &amount)
	return amount, err
}

func Example() {
	ctx := context.Background()
	conn, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		panic(err)
	}
	conn.SetMaxOpenConns(1)
	db := bun.NewDB(conn, sqlitedialect.New())
	defer db.Close()
	if err := db.ResetModel(ctx, (*Proposal)(nil)); err != nil {
		panic(err)
	}
	stored := []Proposal{{ID: 7, Amount: 4000}, {ID: 8, Amount: 90000}}
	if _, err := db.NewInsert().Model(&stored).Exec(ctx); err != nil {
		panic(err)
	}

	bus := tidings.New()
	tidings.Subscribe(bus, func(_ context.Context, e ProposalAccepted) error {
		fmt.Printf("mail: proposal %d over %d is accepted\n", e.ProposalID, e.Amount)
		return nil
	})

	accept := func(id int64) error {
		return buntx.InTx(ctx, db, nil, func(ctx context.Context, _ bun.Tx) error {
			amount, err := proposals{db}.accept(ctx, id)
			if err != nil {
				return err
			}
			if err := tidings.Publish(ctx, bus, ProposalAccepted{ProposalID: id, Amount: amount}); err != nil {
				return err
			}
			if amount > 50000 {
				return fmt.Errorf("proposal %d is over the credit limit", id)
			}
			return nil
		})
	}
	fmt.Println(accept(7))
	fmt.Println(accept(8))
	// Output:
	// mail: proposal 7 over 4000 is accepted
	// <nil>
	// proposal 8 is over the credit limit
}
