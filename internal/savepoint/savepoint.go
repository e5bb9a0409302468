// Package savepoint runs a part of a transaction that can be rolled back alone.
package savepoint

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
)

// A Tx is a transaction that savepoints are set in.
type Tx struct {
	// Name begins the text of the errors that body does not return.
	Name string
	// Exec runs a statement in the transaction.
	Exec func(ctx context.Context, statement string) error
	// Broken is called where rolling back to a savepoint has failed with err: the
	// caller may drop errors, so it has to see to it that the transaction does not
	// commit half of what body did. What it returns is part of the error of Run.
	// ctx is not cancelled.
	Broken func(ctx context.Context, err error) error
}

var number atomic.Uint64

// Run sets a savepoint, calls body, and releases the savepoint if body returns nil.
// Otherwise, and if body panics or ends the goroutine, it rolls back to the
// savepoint.
func (tx Tx) Run(ctx context.Context, body func(context.Context) error) (err error) {
	name := fmt.Sprintf("tidings_%d", number.Add(1))
	if err := tx.Exec(ctx, "SAVEPOINT "+name); err != nil {
		return fmt.Errorf("%s: setting a savepoint: %w", tx.Name, err)
	}
	// From here on also if ctx is cancelled: the outer transaction may not be, and a
	// driver may close its connection halfway.
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
		// The savepoint is still set. It is gone with the transaction at the latest,
		// so a failure here does no harm.
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
