package relay

import (
	"context"
	"fmt"
	"runtime/debug"

	"github.com/tidings-go/tidings"
)

// await runs do, which asks the broker, and returns its error, or its panic as
// an error. If ctx ends before the broker answers, await returns, and do
// continues.
func await(ctx context.Context, do func() error) error {
	if ctx.Done() == nil {
		return contain(do)
	}
	done := make(chan error, 1)
	go func() { done <- contain(do) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return unanswered(ctx)
	}
}

func unanswered(ctx context.Context) error {
	return fmt.Errorf("the broker has not answered: %w", context.Cause(ctx))
}

func contain(do func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &tidings.PanicError{Value: r, Stack: debug.Stack()}
		}
	}()
	return do()
}
