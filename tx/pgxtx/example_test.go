package pgxtx_test

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/tx/pgxtx"
)

// ProposalAccepted is an event.
type ProposalAccepted struct {
	tidings.DomainEvent
	ProposalID int64
}

// The invoices of a service. Its methods join the transaction of their caller, if ctx is
// in one.
type invoices struct{ pool *pgxpool.Pool }

func (i *invoices) create(ctx context.Context, proposal int64) error {
	_, err := pgxtx.From(ctx, i.pool).Exec(ctx, "INSERT INTO invoices (proposal) VALUES ($1)", proposal)
	return err
}

// accept accepts a proposal.
func accept(ctx context.Context, pool *pgxpool.Pool, bus *tidings.EventBus, id int64) error {
	return pgxtx.InTx(ctx, pool, pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "UPDATE proposals SET accepted = TRUE WHERE id = $1", id); err != nil {
			return err
		}
		return tidings.Publish(ctx, bus, ProposalAccepted{ProposalID: id})
	})
}

// The invoice is created in the transaction that accepts the proposal. The mail is sent
// after the commit.
func Example() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, "postgres://localhost/shop")
	if err != nil {
		panic(err)
	}
	defer pool.Close()
	invoices := &invoices{pool}

	bus := tidings.New()
	tidings.Subscribe(bus, func(ctx context.Context, e ProposalAccepted) error {
		return invoices.create(ctx, e.ProposalID)
	}, tidings.InTransaction)
	tidings.Subscribe(bus, sendWelcome)

	if err := accept(ctx, pool, bus, 7); err != nil {
		panic(err)
	}
}

func sendWelcome(context.Context, ProposalAccepted) error { return nil }
