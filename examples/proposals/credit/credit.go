// Package credit is the module that limits the amount a company may order from a
// firm. The limit has to hold when a proposal is accepted. So its handler runs
// inside the publisher's transaction, and can refuse the proposal.
package credit

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/proposals/credit/internal/store"
	"github.com/tidings-go/tidings/examples/proposals/events"
)

// ErrLimitExceeded is the error of an acceptance over the limit.
var ErrLimitExceeded = errors.New("credit limit exceeded")

type module struct {
	db    *sql.DB
	limit events.Money
}

// Register creates the module's tables in db and subscribes its handlers.
// The limit is per firm and company.
func Register(ctx context.Context, bus *tidings.EventBus, db *sql.DB, limit events.Money) error {
	if _, err := db.ExecContext(ctx, store.Schema); err != nil {
		return fmt.Errorf("credit: create tables: %w", err)
	}
	m := &module{db, limit}
	tidings.Subscribe(bus, m.reserve, tidings.InTransaction, tidings.Named("credit.reserve"))
	return nil
}

// reserve writes in the publisher's transaction. If the sum is too high, its error
// rolls back both the reservation and the acceptance.
func (m *module) reserve(ctx context.Context, e events.ProposalAccepted) error {
	tx, ok := tidings.TxFrom[*sql.Tx](ctx, m.db)
	if !ok {
		return errors.New("credit: a proposal was accepted outside a transaction")
	}
	total, err := store.Reserve(ctx, tx, e.ProposalID, e.Firm, e.Company, e.Amount)
	if err != nil {
		return fmt.Errorf("credit: reserve: %w", err)
	}
	if total > m.limit {
		return fmt.Errorf("%w: %s would have ordered for %s, and the limit is %s", ErrLimitExceeded, e.Company, total, m.limit)
	}
	return nil
}
