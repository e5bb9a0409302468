package transactions_test

import (
	"context"
	"strconv"
	"testing"

	"github.com/tidings-go/tidings/tidingstest/txtest"
)

// exerciseTransactor is exercise, with the suite that is there for any Transactor.
// Native is missing: the TxFuncs here do not notice savepoints that a library sets by
// other means than Transact.
func exerciseTransactor(t *testing.T, open func(*testing.T) library) {
	exercise(t, open)
	t.Run("conformance", func(t *testing.T) {
		t.Parallel()
		txtest.Test(t, txtest.Features{}, func(t *testing.T) txtest.Subject {
			lib := open(t)
			return txtest.Subject{
				Transactor: lib.transactor,
				Insert:     func(ctx context.Context, n int) error { return lib.insert(ctx, strconv.Itoa(n)) },
				Fail:       func(ctx context.Context) error { return lib.exec(ctx, "INSERT INTO no_such_table VALUES (1)") },
				Stored: func(ctx context.Context) ([]int, error) {
					stored, err := lib.stored(ctx)
					if err != nil {
						return nil, err
					}
					numbers := make([]int, len(stored))
					for i, s := range stored {
						if numbers[i], err = strconv.Atoi(s); err != nil {
							return nil, err
						}
					}
					return numbers, nil
				},
				FailCommit: func(ctx context.Context) error {
					return lib.exec(ctx, "INSERT INTO payments (invoice_id) VALUES (4711)")
				},
				Kept: lib.kept,
				Sandbox: func(t *testing.T) any {
					_, tx := lib.sandbox(t)
					return tx
				},
			}
		})
	})
}
