package kafka

import "context"

// A turn runs functions, one at a time. It is for calls of the client, which
// takes no ctx.
type turn chan struct{} // has an element while a function runs

func newTurn() turn { return make(turn, 1) }

// run returns the error of f, or that of ctx if that ends first: then f
// continues, or was not called if another function still runs.
func (t turn) run(ctx context.Context, f func() error) error {
	select {
	case t <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	done := make(chan error, 1)
	go func() {
		err := f()
		<-t
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
