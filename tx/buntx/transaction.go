package buntx

import (
	"context"
	"database/sql"
	"errors"
	"sync/atomic"

	"github.com/uptrace/bun"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/drivers"
	"github.com/tidings-go/tidings/internal/nested"
)

// A transaction is the state of one that bun begins. It is a query hook of its own bun.Tx,
// after those of the program.
type transaction struct {
	db         *bun.DB
	opts       *sql.TxOptions
	savepoints *nested.Savepoints // nil if this is a savepoint in another one
	ended      atomic.Bool        // has seen a COMMIT or ROLLBACK
}

func (t *transaction) begin(ctx context.Context) (bun.Tx, error) {
	t.savepoints = nested.Of(ctx, t.db.DB)
	tx, err := t.db.WithQueryHook(t).BeginTx(ctx, t.opts)
	if err != nil {
		return tx, err
	}
	if err := drivers.CheckOf(t.db.DB).Begin(ctx, tx.Tx); err != nil {
		return tx, errors.Join(err, tx.Rollback())
	}
	return tx, nil
}

func (t *transaction) enter(ctx context.Context, tx bun.Tx) context.Context {
	if t.savepoints != nil {
		ctx = tidings.WithTx(ctx, t.db.DB, t)
	}
	return tidings.WithTx(tidings.WithTx(ctx, t.db.DB, tx.Tx), t.db.DB, tx)
}

func (t *transaction) commit(ctx context.Context, tx bun.Tx) error {
	if t.ended.Load() {
		return errors.New("tx/buntx: the function of InTx has called Commit or Rollback of its bun.Tx")
	}
	if err := drivers.CheckOf(t.db.DB).Commit(ctx, tx.Tx); err != nil {
		return err
	}
	t.ended.Store(true)
	return tx.Commit()
}

// rollback does not show hooks the ROLLBACK of a transaction that has ended.
func (t *transaction) rollback(_ context.Context, tx bun.Tx) error {
	if t.ended.Load() {
		return tx.Tx.Rollback()
	}
	return tx.Rollback()
}

// exec sets, releases and rolls back to savepoints of tidings. AfterQuery follows them like
// those of bun, which does no harm.
func exec(ctx context.Context, tx bun.Tx, statement string) error {
	_, err := tx.ExecContext(ctx, statement)
	return err
}

func (t *transaction) BeforeQuery(ctx context.Context, _ *bun.QueryEvent) context.Context { return ctx }

// AfterQuery follows the savepoints that bun, or the program, sets.
func (t *transaction) AfterQuery(_ context.Context, event *bun.QueryEvent) {
	switch {
	case event.Err != nil:
	case event.Query == "COMMIT" || event.Query == "ROLLBACK": // of the bun.Tx
		t.ended.Store(true)
	default:
		t.savepoints.Ran(event.Query)
	}
}
