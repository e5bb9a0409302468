package tidingstest_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/tidingstest"
)

var errDeclined = errors.New("card declined")

func decline(context.Context, accepted) error { return errDeclined }

func TestNewBusCloses(t *testing.T) {
	t.Parallel()
	var bus *tidings.EventBus
	handled := 0
	require.Empty(t, try(t, func(t *fakeTB) {
		bus = tidingstest.NewBus(t)
		tidings.Subscribe(bus, func(context.Context, accepted) error { handled++; return nil }, tidings.Async())
		for range 100 {
			require.NoError(t, tidings.Publish(t.Context(), bus, accepted{}))
		}
	}))
	require.Equal(t, 100, handled, "Close waits for asynchronous handlers")
	require.ErrorIs(t, tidings.Publish(t.Context(), bus, accepted{}), tidings.ErrClosed)
}

func TestNewBusReports(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		option tidings.SubscribeOption
		tx     func(context.Context, func(context.Context) error) error
	}{
		{name: "async", option: tidings.Async()},
		{name: "after commit", option: tidings.AfterCommit, tx: transact},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			publish := func(t *fakeTB, bus *tidings.EventBus) {
				run := tt.tx
				if run == nil {
					run = func(ctx context.Context, fn func(context.Context) error) error { return fn(ctx) }
				}
				require.NoError(t, run(t.Context(), func(ctx context.Context) error {
					return tidings.Publish(ctx, bus, accepted{})
				}))
			}
			messages := try(t, func(t *fakeTB) {
				bus := tidingstest.NewBus(t)
				tidings.Subscribe(bus, decline, tt.option, tidings.Named("billing"))
				publish(t, bus)
			})
			require.Equal(t, []string{"tidings: billing handling tidingstest_test.accepted: card declined"}, messages)

			messages = try(t, func(t *fakeTB) {
				bus := tidingstest.NewBus(t)
				tidings.Subscribe(bus, func(context.Context, accepted) error { panic("oops") }, tt.option, tidings.Named("billing"))
				publish(t, bus)
			})
			require.Len(t, messages, 1)
			require.Contains(t, messages[0], "tidings: billing handling tidingstest_test.accepted: panic: oops\n")
			require.Contains(t, messages[0], "bus_test.go", "the stack shows where")

			reported := make(chan error, 1)
			require.Empty(t, try(t, func(t *fakeTB) {
				bus := tidingstest.NewBus(t, tidings.WithErrorHandler(func(_ context.Context, err error) { reported <- err }))
				tidings.Subscribe(bus, decline, tt.option)
				publish(t, bus)
			}), "the test's own error handler takes it")
			require.ErrorIs(t, <-reported, errDeclined)
		})
	}
}

func transact(ctx context.Context, fn func(context.Context) error) error {
	none := func(ctx context.Context, body func(context.Context) error) error { return body(ctx) }
	return tidings.Transact(ctx, tidings.Transactor{DB: "none", Run: none}, fn)
}

// A handler's error that the publisher gets is no failure of the test.
func TestNewBusReturned(t *testing.T) {
	t.Parallel()
	bus := tidingstest.NewBus(t)
	tidings.Subscribe(bus, decline)
	require.ErrorIs(t, tidings.Publish(t.Context(), bus, accepted{}), errDeclined)
}

// Not parallel: it looks at the default logger.
func TestNewBusStuckHandler(t *testing.T) {
	var log bytes.Buffer
	defer slog.SetDefault(slog.Default())
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))

	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		messages := try(t, func(t *fakeTB) {
			bus := tidingstest.NewBus(t)
			tidings.Subscribe(bus, func(context.Context, accepted) error {
				<-release
				return errDeclined
			}, tidings.Async())
			require.NoError(t, tidings.Publish(t.Context(), bus, accepted{}))
		})
		require.Len(t, messages, 1)
		require.Contains(t, messages[0], "closing the bus at the end of the test: "+context.DeadlineExceeded.Error())
		require.Contains(t, messages[0], "TestNewBusStuckHandler", "the stack shows which handler")

		// What it does now is too late for the test, but not lost.
		close(release)
		synctest.Wait()
	})
	require.Contains(t, log.String(), "card declined")
	require.Contains(t, log.String(), "event handler failed after the end of the test")
	require.NotContains(t, log.String(), "panicked")
}

func TestDrain(t *testing.T) {
	t.Parallel()
	bus := tidingstest.NewBus(t)
	rec := tidingstest.Record(bus)
	tidings.Subscribe(bus, func(ctx context.Context, e accepted) error {
		if e.ProposalID == 0 {
			return nil
		}
		return tidings.Publish(ctx, bus, accepted{ProposalID: e.ProposalID - 1})
	}, tidings.Async())

	require.NoError(t, tidings.Publish(t.Context(), bus, accepted{ProposalID: 50}))
	tidingstest.Drain(t, bus)
	require.Len(t, rec.Delivered(), 51)
	tidingstest.Drain(t, bus)

	// The bus goes on.
	require.NoError(t, tidings.Publish(t.Context(), bus, accepted{ProposalID: 50}))
	tidingstest.Drain(t, bus)
	require.Len(t, rec.Delivered(), 102)
}

func TestDrainStuckHandler(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		bus := tidingstest.NewBus(t)
		tidings.Subscribe(bus, func(context.Context, accepted) error { <-release; return nil }, tidings.Async())
		require.NoError(t, tidings.Publish(t.Context(), bus, accepted{}))
		messages := try(t, func(t *fakeTB) { tidingstest.Drain(t, bus) })
		require.Len(t, messages, 1)
		require.Contains(t, messages[0], "handlers did not end: "+context.DeadlineExceeded.Error())
		require.Contains(t, messages[0], "TestDrainStuckHandler", "the stack shows which handler")
		close(release)
	})
}

func TestDrainNil(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{"tidingstest: Drain with a nil *EventBus"}, try(t, func(t *fakeTB) { tidingstest.Drain(t, nil) }))
}
