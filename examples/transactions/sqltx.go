package transactions

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"
)

// A sqlTx is a transaction of a library without a function that runs one, such as
// *sqlx.Tx and *ent.Tx.
type sqlTx interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	Commit() error
	Rollback() error
}

// commit runs body and commits tx, or rolls it back if body fails or panics.
func commit(ctx context.Context, tx sqlTx, body func(context.Context) error) (err error) {
	committed := false
	defer func() {
		if committed {
			return
		}
		// ErrTxDone: the end of ctx has rolled back, or COMMIT has failed.
		if rerr := tx.Rollback(); !errors.Is(rerr, sql.ErrTxDone) {
			err = errors.Join(err, rerr)
		}
	}()
	if err := body(ctx); err != nil {
		return err
	}
	err = tx.Commit()
	committed = err == nil
	return err
}

var savepoints atomic.Uint64

// savepoint runs body in a savepoint of tx, and rolls back to it if body
// fails or panics. If that is impossible it rolls back all of tx, so that
// nothing of body is ever committed.
func savepoint(ctx context.Context, tx sqlTx, body func(context.Context) error) (err error) {
	name := fmt.Sprintf("sp_%d", savepoints.Add(1))
	if _, err := tx.ExecContext(ctx, "SAVEPOINT "+name); err != nil {
		return err
	}
	released := false
	defer func() {
		if released {
			return
		}
		// Also when ctx has ended: tx continues.
		if _, rerr := tx.ExecContext(context.WithoutCancel(ctx), "ROLLBACK TO SAVEPOINT "+name); rerr != nil {
			err = errors.Join(err, rerr, tx.Rollback())
		}
	}()
	if err := body(ctx); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "RELEASE SAVEPOINT "+name)
	released = err == nil
	return err
}
