package backend

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/savepoint"
)

// Savepoint returns a TxFunc for a scope within tx, which its context is in. If
// the savepoint can be neither kept nor rolled back, abort rolls back all of
// tx: a caller that drops the error must not commit half of the body's work.
func Savepoint(tx Querier, abort func(context.Context) error) tidings.TxFunc {
	return savepoint.Tx{
		Name: "eventlog",
		Exec: func(ctx context.Context, statement string) error {
			_, err := tx.Exec(ctx, statement)
			return err
		},
		Broken: func(ctx context.Context, err error) error {
			err = fmt.Errorf("eventlog: rolling back to a savepoint failed, so all of the transaction is rolled back: %w", err)
			if aerr := abort(ctx); aerr != nil {
				err = errors.Join(err, fmt.Errorf("eventlog: rolling back: %w", aerr))
			}
			return err
		},
	}.Run
}
