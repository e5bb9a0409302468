package tidings_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
)

func TestAsyncQueueLimit(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		bus, b, d := tidings.New(tidings.WithQueueLimit(2)), newBlocked(), &diary{}
		defer b.release()
		tidings.Subscribe(bus, b.handle, tidings.Async())
		tidings.Subscribe(bus, b.handle, tidings.Async(), tidings.Named("crm.slow"))
		tidings.Subscribe(bus, writes[proposalAccepted](d, "fast"), tidings.Async())
		tidings.Subscribe(bus, writes[proposalAccepted](d, "here"))
		publish(t, bus, proposalAccepted{}) // taken by workers
		synctest.Wait()
		publish(t, bus, proposalAccepted{}, proposalAccepted{}) // waiting
		synctest.Wait()

		err := tidings.Publish(t.Context(), bus, proposalAccepted{})
		require.ErrorIs(t, err, tidings.ErrQueueFull)
		errs := handlerErrors(t, err)
		require.Len(t, errs, 2)
		require.EqualError(t, errs[0], "tidings: tidings_test.(*blocked).handle handling tidings_test.proposalAccepted: tidings: queue full")
		require.EqualError(t, errs[1], "tidings: crm.slow handling tidings_test.proposalAccepted: tidings: queue full")
		synctest.Wait()
		require.Equal(t, 4, count(d.read(), "here"), "the others get the event")
		require.Equal(t, 4, count(d.read(), "fast"))

		b.release()
		synctest.Wait()
		require.Len(t, b.entered, 6)
		publish(t, bus, proposalAccepted{})
		require.NoError(t, bus.Close(t.Context()))
		require.Len(t, b.entered, 8)
	})
}

func count(lines []string, line string) int {
	return len(slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return l != line }))
}

func TestAsyncQueuesGrowByDefault(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		bus, b, calls := tidings.New(), newBlocked(), 0
		defer b.release()
		tidings.Subscribe(bus, func(ctx context.Context, e clientCreated) error {
			if calls++; calls == 1 {
				return b.handle(ctx, proposalAccepted{})
			}
			return nil
		}, tidings.Async())
		publish(t, bus, numbered(1, 20_000)...)
		b.release()
		require.NoError(t, bus.Close(t.Context()))
		require.Equal(t, 20_000, calls)
	})
}

func TestAsyncUnsubscribedWhileQueued(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		bus, b := tidings.New(), newBlocked()
		defer b.release()
		var got []int64
		sub := tidings.Subscribe(bus, func(ctx context.Context, e clientCreated) error {
			got = append(got, e.ClientID)
			return b.handle(ctx, proposalAccepted{})
		}, tidings.Async(), tidings.Named("clients.onboard"))
		publish(t, bus, numbered(1, 3)...)
		<-b.entered
		sub.Unsubscribe()
		sub.Unsubscribe()
		publish(t, bus, numbered(4, 5)...)
		tidings.Subscribe(bus, onAny[clientCreated], tidings.Async(), tidings.Named("clients.onboard"))
		publish(t, bus, numbered(6, 6)...)
		b.release()
		require.NoError(t, bus.Close(t.Context()))
		require.Equal(t, []int64{1, 2, 3}, got, "what was accepted is delivered, nothing else")
	})
}

func TestAsyncUnsubscribedWhileTheEventIsPublished(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		bus, calls := tidings.New(), 0
		var sub *tidings.Subscription
		c := &courier{send: func(context.Context, []tidings.Outgoing) error {
			sub.Unsubscribe()
			return nil
		}}
		tidings.Subscribe(bus, onAny[clientCreated], tidings.Via(c), tidings.Named("first"))
		sub = tidings.Subscribe(bus, countCalls(&calls), tidings.Async())
		publish(t, bus, clientCreated{})
		require.NoError(t, bus.Close(t.Context()))
		require.Zero(t, calls, "the queue is gone, and nothing waits for it")
	})
}

// A transaction that was open when the bus closed commits: its events can
// only be queued for workers that are gone, so they are refused, and named.
func TestAsyncAfterClose(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		bus := tidings.New()
		for _, opts := range [][]tidings.SubscribeOption{{tidings.Async()}, {tidings.Async(), tidings.Named("clients.onboard")}} {
			tidings.Subscribe(bus, onAny[clientCreated], opts...)
		}
		ctx, hook := tidings.Begin(t.Context())
		require.NoError(t, tidings.Publish(ctx, bus, clientCreated{}))
		require.NoError(t, hook.Prepare(ctx))
		require.NoError(t, bus.Close(t.Context()))
		err := hook.Commit(ctx)
		require.ErrorIs(t, err, tidings.ErrClosed)
		errs := handlerErrors(t, err)
		require.Len(t, errs, 2)
		require.EqualError(t, errs[0], "tidings: tidings_test.onAny[...] handling tidings_test.clientCreated: tidings: bus closed")
		require.EqualError(t, errs[1], "tidings: clients.onboard handling tidings_test.clientCreated: tidings: bus closed")
	})
}
