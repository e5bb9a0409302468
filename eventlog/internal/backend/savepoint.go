package backend

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/tidings-go/tidings"
)

var savepoints atomic.Uint64

// savepoint runs fn as a scope of its own within tx, which ctx is in.
func savepoint(ctx context.Context, tx Querier, fn func(context.Context, Querier) error) error {
	run := func(ctx context.Context, body func(context.Context) error) (err error) {
		name := fmt.Sprintf("eventlog_%d", savepoints.Add(1))
		if _, err := tx.Exec(ctx, "SAVEPOINT "+name); err != nil {
			return fmt.Errorf("eventlog: setting a savepoint: %w", err)
		}
		released := false
		defer func() {
			if released {
				return
			}
			ctx := context.WithoutCancel(ctx)
			if _, rerr := tx.Exec(ctx, "ROLLBACK TO SAVEPOINT "+name); rerr != nil {
				err = errors.Join(err, fmt.Errorf("eventlog: rolling back to a savepoint: %w", rerr))
			}
		}()
		if err := body(ctx); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "RELEASE SAVEPOINT "+name); err != nil {
			return fmt.Errorf("eventlog: releasing a savepoint: %w", err)
		}
		released = true
		return nil
	}
	return tidings.Transact(ctx, run, func(ctx context.Context) error { return fn(ctx, tx) })
}
