package transactions

import (
	"context"

	"github.com/tidings-go/tidings"
)

// Retrying calls run up to attempts times, as long as it fails with an error for
// which again returns true, such as a serialization failure. Events of a failed
// attempt count as rolled back.
//
// Tx is the type under which run puts its transaction into the context. Only the
// outermost transaction is retried; a nested one returns the error to it.
func Retrying[Tx any](run tidings.TxFunc, attempts int, again func(error) bool) tidings.TxFunc {
	return func(ctx context.Context, body func(context.Context) error) (err error) {
		if _, nested := tidings.TxFrom[Tx](ctx); nested {
			return run(ctx, body)
		}
		for range attempts {
			if err = run(ctx, body); err == nil || !again(err) {
				break
			}
		}
		return err
	}
}
