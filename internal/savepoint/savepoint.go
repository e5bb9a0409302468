// Package savepoint runs a part of a transaction in a savepoint, so that this part
// can be rolled back alone.
package savepoint

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
)

// A Tx is a transaction in which savepoints are set.
type Tx struct {
	// Name begins the texts of errors about setting and releasing a savepoint.
	Name string
	// Exec runs a statement in the transaction.
	Exec func(ctx context.Context, statement string) error
	// Broken is called if rolling back to a savepoint has failed with err. It must
	// make sure that the transaction does not commit half of the changes of body,
	// since the caller of Run may ignore the error. Run returns the error of Broken,
	// joined with its own. ctx is not cancelled.
	Broken func(ctx context.Context, err error) error
}

var number atomic.Uint64

// Run sets a savepoint, calls body, and releases the savepoint if body returns nil.
// If body returns an error, panics or ends the goroutine, Run rolls back to the
// savepoint.
func (tx Tx) Run(ctx context.Context, body func(context.Context) error) (err error) {
	name := fmt.Sprintf("tidings_%d", number.Add(1))
	if err := tx.Exec(ctx, "SAVEPOINT "+name); err != nil {
		return fmt.Errorf("%s: setting a savepoint: %w", tx.Name, err)
	}
	// The savepoint must be ended even if ctx is cancelled: the outer transaction may
	// not be cancelled, and a driver may close its connection if a statement is
	// interrupted.
	end := context.WithoutCancel(ctx)
	released := false
	defer func() {
		if released {
			return
		}
		if rerr := tx.Exec(end, "ROLLBACK TO SAVEPOINT "+name); rerr != nil {
			err = errors.Join(err, tx.Broken(end, rerr))
			return
		}
		// The savepoint is still set. It ends with the transaction at the latest, so
		// a failure here does no harm.
		_ = tx.Exec(end, "RELEASE SAVEPOINT "+name)
	}()
	if err := body(ctx); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: releasing the savepoint: %w", tx.Name, err)
	}
	if err := tx.Exec(end, "RELEASE SAVEPOINT "+name); err != nil {
		return fmt.Errorf("%s: releasing the savepoint: %w", tx.Name, err)
	}
	released = true
	return nil
}
