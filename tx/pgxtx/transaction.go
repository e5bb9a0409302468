package pgxtx

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/nested"
)

// A transaction is a pgx.Tx that follows the savepoints that are set in it.
type transaction struct {
	pgx.Tx
	whole      pgx.Tx // Tx itself, or that around the savepoint Tx
	isolation  pgx.TxIsoLevel
	savepoints *nested.Savepoints
}

// bare returns the transaction of pgx.
func bare(tx pgx.Tx) pgx.Tx {
	if t, ok := tx.(*transaction); ok {
		return t.Tx
	}
	return tx
}

// Begin sets a savepoint.
func (t *transaction) Begin(ctx context.Context) (pgx.Tx, error) {
	inner, err := t.Tx.Begin(ctx)
	if err != nil {
		return nil, err
	}
	return &part{transaction{inner, t.whole, t.isolation, t.savepoints}, t.savepoints.Begin()}, nil
}

func (t *transaction) Commit(context.Context) error {
	return errors.New("pgxtx: Commit of the transaction of InTx or Transact, which commits when its function returns nil")
}

func (t *transaction) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	tag, err := t.Tx.Exec(ctx, sql, args...)
	if err == nil {
		t.savepoints.Ran(sql)
	}
	return tag, err
}

// A part of a transaction is a savepoint of pgx.
type part struct {
	transaction
	hook *tidings.TxHook
}

// Commit releases the savepoint. If ctx has ended, it rolls back to it instead.
func (p *part) Commit(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return errors.Join(err, p.Rollback(ctx))
	}
	if err := p.Tx.Commit(context.WithoutCancel(ctx)); err != nil {
		// Either the part has ended before, or the transaction has failed.
		p.hook.Rollback(ctx)
		return err
	}
	return p.hook.Commit(ctx)
}

// Rollback rolls back to the savepoint even if ctx has ended. If it cannot, it rolls back
// all of the transaction, which must not commit half of the part.
func (p *part) Rollback(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	err := p.Tx.Rollback(ctx)
	p.hook.Rollback(ctx)
	if err == nil || errors.Is(err, pgx.ErrTxClosed) {
		return err
	}
	err = fmt.Errorf("pgxtx: rolling back to a savepoint failed, so all of the transaction is rolled back: %w", err)
	return errors.Join(err, rollback(ctx, p.whole))
}

// rollback rolls tx back, unless it has ended, or its connection has.
func rollback(ctx context.Context, tx pgx.Tx) error {
	err := tx.Rollback(ctx)
	if errors.Is(err, pgx.ErrTxClosed) || err != nil && tx.Conn() != nil && tx.Conn().IsClosed() {
		return nil
	}
	return err
}
