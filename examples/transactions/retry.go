package transactions

import (
	"context"

	"github.com/tidings-go/tidings"
)

// Retrying runs run up to attempts times, for as long as it fails with an
// error that again accepts: a serialization failure, say. What a failed
// attempt published counts as rolled back.
//
// Tx is the type under which run puts its transaction into the context. Only
// the outermost transaction is worth another attempt; one that is nested
// hands the error on to it.
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
