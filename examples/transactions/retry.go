package transactions

import (
	"context"

	"github.com/tidings-go/tidings"
)

// Retrying calls the TxFunc of t up to attempts times, as long as it fails with an error
// for which again returns true, such as a serialization failure. Events of a failed
// attempt count as rolled back. Only the outermost transaction is retried; a nested one
// returns the error to it.
func Retrying(t tidings.Transactor, attempts int, again func(error) bool) tidings.Transactor {
	return tidings.Transactor{DB: t.DB, Run: func(ctx context.Context, body func(context.Context) error) (err error) {
		if _, nested := tidings.TxFrom[any](ctx, t.DB); nested {
			return t.Run(ctx, body)
		}
		for range attempts {
			if err = t.Run(ctx, body); err == nil || !again(err) {
				break
			}
		}
		return err
	}}
}
