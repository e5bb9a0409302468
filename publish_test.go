package tidings_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/txtest"
)

func TestPublishGivesEveryHandlerTheEventInOrderOfSubscription(t *testing.T) {
	t.Parallel()
	bus, d := tidings.New(), &diary{}
	for i := range 5 {
		tidings.Subscribe(bus, func(_ context.Context, e proposalAccepted) error {
			d.add("%d: %d %s", i, e.ProposalID, e.Number)
			return nil
		})
	}
	require.NoError(t, tidings.Publish(t.Context(), bus, proposalAccepted{ProposalID: 7, Number: "PROP-007"}))
	require.Equal(t, []string{"0: 7 PROP-007", "1: 7 PROP-007", "2: 7 PROP-007", "3: 7 PROP-007", "4: 7 PROP-007"}, d.read())
}

func TestPublishWithoutHandlersSucceeds(t *testing.T) {
	t.Parallel()
	bus := tidings.New()
	require.NoError(t, tidings.Publish(t.Context(), bus, proposalAccepted{}))
	require.NoError(t, tidings.Publish[tidings.Event](t.Context(), bus, clientCreated{}))
}

func TestPublishReachesOnlyItsBusAndType(t *testing.T) {
	t.Parallel()
	bus, other, d := tidings.New(), tidings.New(), &diary{}
	tidings.Subscribe(bus, writes[proposalAccepted](d, "accepted"))
	tidings.Subscribe(bus, writes[clientCreated](d, "created"))
	tidings.Subscribe(other, writes[proposalAccepted](d, "other bus"))
	require.NoError(t, tidings.Publish(t.Context(), bus, proposalAccepted{}))
	require.Equal(t, []string{"accepted"}, d.read())
}

func TestHandlersRunInTheCallersGoroutine(t *testing.T) {
	t.Parallel()
	withDeadline, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	for _, tt := range []struct {
		name string
		ctx  context.Context
	}{{"plain", t.Context()}, {"with a deadline", withDeadline}} {
		t.Run(tt.name, func(t *testing.T) {
			bus, id := tidings.New(), ""
			tidings.Subscribe(bus, func(ctx context.Context, _ proposalAccepted) error {
				id = goroutineID()
				return nil
			})
			require.NoError(t, tidings.Publish(tt.ctx, bus, proposalAccepted{}))
			require.Equal(t, goroutineID(), id)
		})
	}
}

func TestHandlersSeeTheContextOfThePublisher(t *testing.T) {
	t.Parallel()
	type key struct{}
	deadline := time.Now().Add(time.Hour)
	ctx, cancel := context.WithDeadline(context.WithValue(t.Context(), key{}, "tenant 7"), deadline)
	defer cancel()
	bus := tidings.New()
	called := false
	tidings.Subscribe(bus, func(ctx context.Context, _ proposalAccepted) error {
		called = true
		require.Equal(t, "tenant 7", ctx.Value(key{}))
		got, ok := ctx.Deadline()
		require.True(t, ok)
		require.Equal(t, deadline, got)
		require.NoError(t, ctx.Err())
		cancel()
		require.ErrorIs(t, ctx.Err(), context.Canceled)
		<-ctx.Done()
		return nil
	})
	require.NoError(t, tidings.Publish(ctx, bus, proposalAccepted{}), "nothing was skipped")
	require.True(t, called)
}

func TestEveryHandlerHasItsOwnCopy(t *testing.T) {
	t.Parallel()
	bus := tidings.New()
	var seen []string
	for range 3 {
		tidings.Subscribe(bus, func(ctx context.Context, e proposalAccepted) error {
			seen = append(seen, e.Number)
			e.Number = "changed"
			from, _ := tidings.EventFrom(ctx)
			seen = append(seen, from.(proposalAccepted).Number)
			return nil
		})
	}
	event := proposalAccepted{Number: "PROP-007"}
	require.NoError(t, tidings.Publish(t.Context(), bus, event))
	require.Equal(t, slices.Repeat([]string{"PROP-007"}, 6), seen)
	require.Equal(t, proposalAccepted{Number: "PROP-007"}, event)
}

func TestPublishOfNothing(t *testing.T) {
	t.Parallel()
	require.EqualError(t, tidings.Publish(t.Context(), nil, proposalAccepted{}), "tidings: Publish on a nil *EventBus")
	var none context.Context
	require.EqualError(t, tidings.Publish(none, tidings.New(), proposalAccepted{}), "tidings: Publish with a nil context")
	bus := tidings.New()
	tidings.Subscribe(bus, func(context.Context, tidings.Event) error {
		t.Error("a handler was called")
		return nil
	})
	require.EqualError(t, tidings.Publish[tidings.Event](t.Context(), bus, nil), "tidings: Publish of a nil event")
	require.EqualError(t, tidings.Publish[audited](t.Context(), bus, nil), "tidings: Publish of a nil event")
	require.ErrorContains(t, tidings.Publish[tidings.Event](t.Context(), bus, (*proposalAccepted)(nil)), "is a pointer")
}

func TestCancelledContextIsNotDelivered(t *testing.T) {
	t.Parallel()
	bus := tidings.New()
	tidings.Subscribe(bus, func(context.Context, proposalAccepted) error {
		t.Error("a handler was called")
		return nil
	})
	cancelled, cancel := context.WithCancelCause(t.Context())
	cancel(fmt.Errorf("the client hung up"))
	require.Equal(t, context.Canceled, tidings.Publish(cancelled, bus, proposalAccepted{}))
	require.Equal(t, context.Canceled, tidings.Publish(cancelled, bus, clientCreated{}), "nobody subscribes to it")

	late, cancelLate := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancelLate()
	require.Equal(t, context.DeadlineExceeded, tidings.Publish(late, bus, proposalAccepted{}))
}

func TestCancelledMidwaySkipsTheRest(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	bus, d := tidings.New(), &diary{}
	tidings.Subscribe(bus, writes[proposalAccepted](d, "first"))
	tidings.Subscribe(bus, func(context.Context, proposalAccepted) error {
		cancel()
		return fmt.Errorf("card declined")
	}, tidings.Named("crm.cancels"))
	tidings.Subscribe(bus, writes[proposalAccepted](d, "third"))
	tidings.Subscribe(bus, writes[proposalAccepted](d, "fourth"))

	err := tidings.Publish(ctx, bus, proposalAccepted{})
	require.EqualError(t, err, "tidings: crm.cancels handling tidings_test.proposalAccepted: card declined\n"+
		"tidings: 2 of 4 handlers of tidings_test.proposalAccepted skipped: context canceled")
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, []string{"first"}, d.read())
}

func TestPublishInsideAHandlerIsDepthFirst(t *testing.T) {
	t.Parallel()
	txtest.TimeLimit(t)
	bus, d := tidings.New(), &diary{}
	tidings.Subscribe(bus, func(ctx context.Context, e proposalAccepted) error {
		d.add("accepted %d, first", e.ProposalID)
		if e.ProposalID == 1 {
			// The same type and another, each done before the next line.
			require.NoError(t, tidings.Publish(ctx, bus, proposalAccepted{ProposalID: 2}))
			require.NoError(t, tidings.Publish(ctx, bus, clientCreated{ClientID: 3}))
		}
		d.add("accepted %d, first done", e.ProposalID)
		return nil
	})
	tidings.Subscribe(bus, func(_ context.Context, e proposalAccepted) error {
		d.add("accepted %d, second", e.ProposalID)
		return nil
	})
	tidings.Subscribe(bus, func(_ context.Context, e clientCreated) error {
		d.add("created %d", e.ClientID)
		return nil
	})
	require.NoError(t, tidings.Publish(t.Context(), bus, proposalAccepted{ProposalID: 1}))
	require.Equal(t, []string{
		"accepted 1, first",
		"accepted 2, first", "accepted 2, first done", "accepted 2, second",
		"created 3",
		"accepted 1, first done",
		"accepted 1, second",
	}, d.read())
}

// A writer that waits makes an RWMutex refuse readers, so a bus that holds a
// read lock while handlers run deadlocks here.
func TestPublishInsideAHandlerWhileAnotherGoroutineSubscribes(t *testing.T) {
	t.Parallel()
	txtest.TimeLimit(t)
	for range 50 {
		bus := tidings.New()
		inside, nested := 0, 0
		tidings.Subscribe(bus, func(ctx context.Context, e proposalAccepted) error {
			if e.ProposalID > 0 {
				nested++
				return nil
			}
			inside++
			done := make(chan struct{})
			go func() {
				defer close(done)
				tidings.Subscribe(bus, onAny[proposalAccepted])
				tidings.Subscribe(bus, onAny[clientCreated])
				tidings.Subscribe(bus, onAny[tidings.Event]).Unsubscribe()
			}()
			runtime.Gosched()
			if err := errors.Join(
				tidings.Publish(ctx, bus, proposalAccepted{ProposalID: 1}),
				tidings.Publish(ctx, bus, clientCreated{}),
				tidings.Publish[tidings.Event](ctx, bus, projectCreated{}),
			); err != nil {
				return err
			}
			<-done // nor does the subscriber wait for the handler
			return nil
		})
		require.NoError(t, tidings.Publish(t.Context(), bus, proposalAccepted{}))
		require.Equal(t, []int{1, 1}, []int{inside, nested})
		require.Len(t, bus.Subscriptions(), 3)
	}
}

func TestSubscribeInsideAHandlerTakesEffectFromTheNextEvent(t *testing.T) {
	t.Parallel()
	txtest.TimeLimit(t)
	bus, d := tidings.New(), &diary{}
	tidings.Subscribe(bus, func(ctx context.Context, e clientCreated) error {
		d.add("first %d", e.ClientID)
		if e.ClientID == 1 {
			tidings.Subscribe(bus, writes[clientCreated](d, "typed"))
			tidings.Subscribe(bus, writes[audited](d, "audited"))
			// The next event is also one that this handler publishes.
			return tidings.Publish(ctx, bus, clientCreated{ClientID: 2})
		}
		return nil
	})
	require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{ClientID: 1}))
	require.Equal(t, []string{"first 1", "first 2", "typed", "audited"}, d.read())
}

func TestUnsubscribeInsideAHandlerLetsTheEventFinishItsSnapshot(t *testing.T) {
	t.Parallel()
	txtest.TimeLimit(t)
	bus, d := tidings.New(), &diary{}
	var self, other *tidings.Subscription
	self = tidings.Subscribe(bus, func(ctx context.Context, e clientCreated) error {
		d.add("self %d", e.ClientID)
		self.Unsubscribe()
		other.Unsubscribe()
		return tidings.Publish(ctx, bus, clientCreated{ClientID: 2})
	})
	other = tidings.Subscribe(bus, func(_ context.Context, e clientCreated) error {
		d.add("other %d", e.ClientID)
		return nil
	})
	tidings.Subscribe(bus, func(_ context.Context, e clientCreated) error {
		d.add("last %d", e.ClientID)
		return nil
	})
	require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{ClientID: 1}))
	require.Equal(t, []string{"self 1", "last 2", "other 1", "last 1"}, d.read())
}

func TestPublishAfterAPanic(t *testing.T) {
	t.Parallel()
	txtest.TimeLimit(t)
	bus, d := tidings.New(), &diary{}
	tidings.Subscribe(bus, func(_ context.Context, e clientCreated) error {
		if e.ClientID == 1 {
			panic("boom")
		}
		d.add("created %d", e.ClientID)
		return nil
	})
	require.Error(t, tidings.Publish(t.Context(), bus, clientCreated{ClientID: 1}))
	require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{ClientID: 2}))
	tidings.Subscribe(bus, writes[clientCreated](d, "new")).Unsubscribe()
	require.NoError(t, bus.Close(t.Context()))
	require.Equal(t, []string{"created 2"}, d.read())
}

// Each handler waits for the other: they can only meet if both run at once.
func TestTwoPublishersRunInParallel(t *testing.T) {
	t.Parallel()
	txtest.TimeLimit(t)
	bus := tidings.New()
	var meeting sync.WaitGroup
	meeting.Add(2)
	tidings.Subscribe(bus, func(context.Context, clientCreated) error {
		meeting.Done()
		meeting.Wait()
		return nil
	})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if err := tidings.Publish(context.Background(), bus, clientCreated{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestPublishWithADeadlineInsideAHandler(t *testing.T) {
	t.Parallel()
	txtest.TimeLimit(t)
	bus, d := tidings.New(), &diary{}
	outer := ""
	tidings.Subscribe(bus, func(ctx context.Context, _ proposalAccepted) error {
		outer = goroutineID()
		ctx, cancel := context.WithTimeout(ctx, time.Hour)
		defer cancel()
		return tidings.Publish(ctx, bus, clientCreated{})
	})
	tidings.Subscribe(bus, func(context.Context, clientCreated) error {
		d.add("%v", goroutineID() == outer)
		return nil
	})
	require.NoError(t, tidings.Publish(t.Context(), bus, proposalAccepted{}))
	require.Equal(t, []string{"true"}, d.read())
}

func TestTwoBusesCallEachOther(t *testing.T) {
	t.Parallel()
	txtest.TimeLimit(t)
	crm, billing, d := tidings.New(), tidings.New(), &diary{}
	tidings.Subscribe(crm, func(ctx context.Context, e proposalAccepted) error {
		return tidings.Publish(ctx, billing, clientCreated{})
	})
	tidings.Subscribe(billing, func(ctx context.Context, e clientCreated) error {
		return tidings.Publish(ctx, crm, projectCreated{})
	})
	tidings.Subscribe(crm, func(_ context.Context, e projectCreated) error {
		d.add("%v", e.CorrelationID() != e.EventID())
		return nil
	})
	require.NoError(t, tidings.Publish(t.Context(), crm, proposalAccepted{}))
	require.Equal(t, []string{"true"}, d.read())
}

func TestRecursionIsBounded(t *testing.T) {
	t.Parallel()
	txtest.TimeLimit(t)
	const prefix = "tidings: events nested too deeply (more than "
	for _, tt := range []struct {
		reason  string
		opts    []tidings.Option
		calls   int
		message string
	}{
		{"the default", nil, 100,
			prefix + "100, see WithMaxDepth): tidings_test.clientCreated > tidings_test.projectCreated > tidings_test.clientCreated > tidings_test.projectCreated > tidings_test.clientCreated > tidings_test.projectCreated > … 92 more … > tidings_test.clientCreated > tidings_test.projectCreated > tidings_test.clientCreated"},
		{"a short chain in full", []tidings.Option{tidings.WithMaxDepth(3)}, 3,
			prefix + "3, see WithMaxDepth): tidings_test.clientCreated > tidings_test.projectCreated > tidings_test.clientCreated > tidings_test.projectCreated"},
		{"no nesting at all", []tidings.Option{tidings.WithMaxDepth(1)}, 1,
			prefix + "1, see WithMaxDepth): tidings_test.clientCreated > tidings_test.projectCreated"},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			bus, calls := tidings.New(tt.opts...), 0
			var refused error
			tidings.Subscribe(bus, func(ctx context.Context, _ clientCreated) error {
				calls++
				refused = cmp.Or(refused, tidings.Publish(ctx, bus, projectCreated{}))
				return refused
			})
			tidings.Subscribe(bus, func(ctx context.Context, _ projectCreated) error {
				calls++
				refused = cmp.Or(refused, tidings.Publish(ctx, bus, clientCreated{}))
				return refused
			})
			err := tidings.Publish(t.Context(), bus, clientCreated{})
			require.ErrorIs(t, err, tidings.ErrMaxDepth)
			require.EqualError(t, refused, tt.message)
			require.True(t, strings.HasSuffix(err.Error(), ": "+strings.TrimPrefix(tt.message, "tidings: ")), "the publisher sees it: %v", err)
			require.Equal(t, tt.calls, calls)

			calls, refused = 0, nil
			require.ErrorIs(t, tidings.Publish(t.Context(), bus, clientCreated{}), tidings.ErrMaxDepth)
			require.Equal(t, tt.calls, calls, "the next event starts anew")
		})
	}
}

// What does not nest does not count: a loop, and a context that is derived
// again and again.
func TestDepthIsNotLength(t *testing.T) {
	t.Parallel()
	txtest.TimeLimit(t)
	bus := tidings.New(tidings.WithMaxDepth(2))
	calls := 0
	tidings.Subscribe(bus, func(ctx context.Context, _ proposalAccepted) error {
		for range 10 {
			ctx = tidings.WithCorrelationID(ctx, tidings.Stamp(ctx, proposalAccepted{}).EventID())
			if err := tidings.Publish(ctx, bus, clientCreated{}); err != nil {
				return err
			}
		}
		return nil
	})
	tidings.Subscribe(bus, countCalls(&calls))
	require.NoError(t, tidings.Publish(t.Context(), bus, proposalAccepted{}))
	require.Equal(t, 10, calls)
}
