package tidings_test

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
)

// The events of most tests.
type (
	proposalAccepted struct {
		tidings.DomainEvent
		ProposalID int64
		Number     string
	}
	clientCreated struct {
		tidings.DomainEvent
		ClientID int64
	}
	projectCreated struct {
		tidings.DomainEvent
		ProjectID int64
	}
)

// audited is a family of events: clientCreated and projectCreated.
type audited interface {
	tidings.Event
	AuditLine() string
}

func (e clientCreated) AuditLine() string  { return fmt.Sprintf("client %d created", e.ClientID) }
func (e projectCreated) AuditLine() string { return fmt.Sprintf("project %d created", e.ProjectID) }

// A diary holds lines in the order in which handlers wrote them.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) add(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
}

func (d *diary) read() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.lines)
}

// writes returns a handler that writes line and succeeds.
func writes[E tidings.Event](d *diary, line string) func(context.Context, E) error {
	return func(context.Context, E) error {
		d.add("%s", line)
		return nil
	}
}

// timeLimit turns a deadlock into a failure that shows every goroutine, long
// before the limit of go test does.
func timeLimit(t *testing.T) {
	t.Helper()
	timer := time.AfterFunc(30*time.Second, func() {
		debug.SetTraceback("all")
		panic(t.Name() + " is deadlocked")
	})
	t.Cleanup(func() { timer.Stop() })
}

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

// goroutineID is the number in the first line of a stack trace.
func goroutineID() string {
	buf := make([]byte, 64)
	return strings.Fields(string(buf[:runtime.Stack(buf, false)]))[1]
}

func TestHandlersRunInTheCallersGoroutine(t *testing.T) {
	t.Parallel()
	withDeadline, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	for name, ctx := range map[string]context.Context{"plain": t.Context(), "with a deadline": withDeadline} {
		t.Run(name, func(t *testing.T) {
			bus, id := tidings.New(), ""
			tidings.Subscribe(bus, func(ctx context.Context, _ proposalAccepted) error {
				id = goroutineID()
				return nil
			})
			require.NoError(t, tidings.Publish(ctx, bus, proposalAccepted{}))
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

func TestDefault(t *testing.T) {
	was := tidings.Default()
	t.Cleanup(func() { tidings.SetDefault(was) })
	require.Same(t, was, tidings.Default())

	bus := tidings.New()
	tidings.SetDefault(bus)
	require.Same(t, bus, tidings.Default())
	require.PanicsWithValue(t, "tidings: SetDefault with a nil *EventBus", func() { tidings.SetDefault(nil) })
	require.Same(t, bus, tidings.Default())
}

func TestNewPanicsOnImpossibleOptions(t *testing.T) {
	t.Parallel()
	for message, option := range map[string]func() tidings.Option{
		"tidings: New with a nil Option":                  func() tidings.Option { return nil },
		"tidings: WithLogger with a nil *slog.Logger":     func() tidings.Option { return tidings.WithLogger(nil) },
		"tidings: WithErrorHandler with a nil function":   func() tidings.Option { return tidings.WithErrorHandler(nil) },
		"tidings: WithMiddleware with a nil Middleware":   func() tidings.Option { return tidings.WithMiddleware(nil) },
		"tidings: WithWorkers(0): must be at least 1":     func() tidings.Option { return tidings.WithWorkers(0) },
		"tidings: WithQueueLimit(-1): must be at least 1": func() tidings.Option { return tidings.WithQueueLimit(-1) },
		"tidings: WithMaxDepth(0): must be at least 1":    func() tidings.Option { return tidings.WithMaxDepth(0) },
		"tidings: WithClock with a nil function":          func() tidings.Option { return tidings.WithClock(nil) },
		"tidings: WithTransport with a nil Transport":     func() tidings.Option { return tidings.WithTransport(nil) },
	} {
		require.PanicsWithValue(t, message, func() { tidings.New(option()) })
	}
}

// A bus that New has not made says so, and does nothing else.
func TestZeroBus(t *testing.T) {
	t.Parallel()
	var bus tidings.EventBus
	remedy := " on the zero EventBus: make the bus with tidings.New"
	event := tidings.Stamp(t.Context(), clientCreated{})
	require.EqualError(t, tidings.Publish(t.Context(), &bus, event), "tidings: Publish"+remedy)
	require.EqualError(t, tidings.Publish[tidings.Event](t.Context(), &bus, event), "tidings: Publish"+remedy)
	require.EqualError(t, bus.Deliver(t.Context(), "clients.onboard", event), "tidings: Deliver"+remedy)
	require.PanicsWithValue(t, "tidings: Subscribe"+remedy, func() {
		tidings.Subscribe(&bus, func(context.Context, clientCreated) error { return nil })
	})
	require.PanicsWithValue(t, "tidings: SetDefault"+remedy, func() { tidings.SetDefault(&bus) })
	require.Empty(t, bus.Subscriptions())
	require.NoError(t, bus.Close(t.Context()))
}
