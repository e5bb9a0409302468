package tidings_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
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

// goroutineID is the number in the first line of a stack trace.
func goroutineID() string {
	buf := make([]byte, 64)
	return strings.Fields(string(buf[:runtime.Stack(buf, false)]))[1]
}

func countCalls(calls *int) func(context.Context, clientCreated) error {
	return func(context.Context, clientCreated) error { *calls++; return nil }
}

func onAny[E tidings.Event](context.Context, E) error { return nil }

var errDeclined = errors.New("card declined")

// inBubble runs a test in a synctest bubble, which fails if a goroutine is
// left at the end: workers go when there is nothing to do, Close or not.
func inBubble(t *testing.T, test func(t *testing.T)) {
	t.Parallel()
	synctest.Test(t, test)
}

// blocked is a handler of a running bus that waits until it is released.
type blocked struct {
	entered  chan context.Context
	released chan struct{}
	release  func()
}

func newBlocked() *blocked {
	released := make(chan struct{})
	return &blocked{
		entered:  make(chan context.Context, 100),
		released: released, release: sync.OnceFunc(func() { close(released) }),
	}
}

func (b *blocked) handle(ctx context.Context, _ proposalAccepted) error {
	b.entered <- ctx
	<-b.released
	return nil
}

func publish[E tidings.Event](t *testing.T, bus *tidings.EventBus, events ...E) {
	t.Helper()
	for _, e := range events {
		require.NoError(t, tidings.Publish(t.Context(), bus, e))
	}
}

// stamped returns event with the header that a handler of cause would give
// it at that time.
func stamped[E tidings.Event](t *testing.T, at time.Time, event E) E {
	t.Helper()
	bus := tidings.New(tidings.WithClock(func() time.Time { return at }))
	type cause struct{ tidings.DomainEvent }
	tidings.Subscribe(bus, func(ctx context.Context, _ cause) error {
		event = tidings.Stamp(ctx, event)
		return nil
	})
	require.NoError(t, tidings.Publish(tidings.WithCorrelationID(t.Context(), uuid.New()), bus, cause{}))
	require.NotEqual(t, uuid.Nil, event.CausationID())
	return event
}

// handlerErrors takes err apart: it must be one join of HandlerErrors.
func handlerErrors(t *testing.T, err error) []*tidings.HandlerError {
	t.Helper()
	joined, ok := err.(interface{ Unwrap() []error })
	require.True(t, ok, "%T is no join: %v", err, err)
	var errs []*tidings.HandlerError
	for _, err := range joined.Unwrap() {
		he, ok := err.(*tidings.HandlerError)
		require.True(t, ok, "%T: %v", err, err)
		errs = append(errs, he)
	}
	return errs
}
