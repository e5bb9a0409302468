package backend

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/tidings-go/tidings"
)

var savepoints atomic.Uint64

// Savepoint returns a TxFunc for a scope within tx, which its context is in.
// If that can be neither kept nor rolled back, abort rolls back all of tx:
// whoever drops the error must not commit half of what the body did.
func Savepoint(tx Querier, abort func(context.Context) error) tidings.TxFunc {
	return func(ctx context.Context, body func(context.Context) error) (err error) {
		name := fmt.Sprintf("eventlog_%d", savepoints.Add(1))
		if _, err := tx.Exec(ctx, "SAVEPOINT "+name); err != nil {
			return fmt.Errorf("eventlog: setting a savepoint: %w", err)
		}
		// From here on also if ctx is cancelled: the outer transaction may
		// not be, and a driver may close its connection halfway.
		end := context.WithoutCancel(ctx)
		released := false
		defer func() {
			if released {
				return
			}
			if _, rerr := tx.Exec(end, "ROLLBACK TO SAVEPOINT "+name); rerr != nil {
				err = errors.Join(err, fmt.Errorf("eventlog: rolling back to a savepoint failed, so all of the transaction is rolled back: %w", rerr))
				if aerr := abort(end); aerr != nil {
					err = errors.Join(err, fmt.Errorf("eventlog: rolling back: %w", aerr))
				}
				return
			}
			// The savepoint is still set. It is gone with the transaction
			// at the latest, so a failure here does no harm.
			_, _ = tx.Exec(end, "RELEASE SAVEPOINT "+name)
		}()
		if err := body(ctx); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("eventlog: releasing a savepoint: %w", err)
		}
		if _, err := tx.Exec(end, "RELEASE SAVEPOINT "+name); err != nil {
			return fmt.Errorf("eventlog: releasing a savepoint: %w", err)
		}
		released = true
		return nil
	}
}
