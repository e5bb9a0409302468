package tidings_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
)

// chain is a bus on which proposalAccepted leads to clientCreated, and that
// to projectCreated. It returns the events in order of delivery.
func chain(t *testing.T) (*tidings.EventBus, func() []tidings.Event) {
	bus := tidings.New()
	var mu sync.Mutex
	var got []tidings.Event
	tidings.Subscribe(bus, func(_ context.Context, e tidings.Event) error {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, e)
		return nil
	})
	tidings.Subscribe(bus, func(ctx context.Context, _ proposalAccepted) error {
		return tidings.Publish(ctx, bus, clientCreated{})
	})
	tidings.Subscribe(bus, func(ctx context.Context, _ clientCreated) error {
		return tidings.Publish(ctx, bus, projectCreated{})
	})
	return bus, func() []tidings.Event {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(got)
	}
}

func TestHandlersPassOnCorrelationAndCausation(t *testing.T) {
	t.Parallel()
	bus, events := chain(t)
	require.NoError(t, tidings.Publish(t.Context(), bus, proposalAccepted{}))
	got := events()
	require.Len(t, got, 3)
	workflow := got[0].EventID()
	for i, e := range got {
		require.Equal(t, workflow, e.CorrelationID(), "event %d", i)
	}
	require.Equal(t, uuid.Nil, got[0].CausationID())
	require.Equal(t, got[0].EventID(), got[1].CausationID())
	require.Equal(t, got[1].EventID(), got[2].CausationID())
}

// Events that no code of the bus knows statically have their header behind
// an interface.
func TestHandlersOfInterfacesPassOnCorrelationAndCausation(t *testing.T) {
	t.Parallel()
	bus := tidings.New()
	var got []tidings.Event
	tidings.Subscribe(bus, func(ctx context.Context, e tidings.Event) error {
		got = append(got, e)
		if len(got) > 2 {
			return nil
		}
		return tidings.Publish[tidings.Event](ctx, bus, changed[int]{New: len(got)})
	})
	require.NoError(t, tidings.Publish[tidings.Event](tidings.WithCorrelationID(t.Context(), uuid.New()), bus, changed[int]{}))
	require.Len(t, got, 3)
	for i, e := range got[1:] {
		require.Equal(t, got[0].CorrelationID(), e.CorrelationID())
		require.Equal(t, got[i].EventID(), e.CausationID())
		require.Equal(t, i+1, e.(changed[int]).New)
	}
}

func TestWithCorrelationIDStartsAWorkflow(t *testing.T) {
	t.Parallel()
	bus, events := chain(t)
	request := uuid.New()
	require.NoError(t, tidings.Publish(tidings.WithCorrelationID(t.Context(), request), bus, proposalAccepted{}))
	require.NoError(t, tidings.Publish(t.Context(), bus, proposalAccepted{}))
	got := events()
	require.Len(t, got, 6)
	for i, e := range got[:3] {
		require.Equal(t, request, e.CorrelationID(), "event %d", i)
		require.NotEqual(t, request, e.EventID())
	}
	require.Equal(t, uuid.Nil, got[0].CausationID(), "no event led to it")
	require.Equal(t, got[0].EventID(), got[1].CausationID())
	require.Equal(t, got[3].EventID(), got[3].CorrelationID(), "the next publish is not affected")
}

func TestWithCorrelationIDInnermostWins(t *testing.T) {
	t.Parallel()
	outer, inner := uuid.New(), uuid.New()
	ctx := tidings.WithCorrelationID(t.Context(), outer)
	nested := tidings.WithCorrelationID(ctx, inner)
	require.Equal(t, inner, tidings.Stamp(nested, clientCreated{}).CorrelationID())
	require.Equal(t, outer, tidings.Stamp(ctx, clientCreated{}).CorrelationID())
}

func TestWithCorrelationIDInAHandlerKeepsTheCause(t *testing.T) {
	t.Parallel()
	bus := tidings.New()
	saga := uuid.New()
	var cause, after, inside tidings.Event
	tidings.Subscribe(bus, func(ctx context.Context, e proposalAccepted) error {
		cause = e
		if err := tidings.Publish(tidings.WithCorrelationID(ctx, saga), bus, clientCreated{}); err != nil {
			return err
		}
		after = tidings.Stamp(ctx, clientCreated{})
		from, ok := tidings.EventFrom(tidings.WithCorrelationID(ctx, saga))
		require.True(t, ok)
		require.Equal(t, tidings.Event(e), from)
		return nil
	})
	tidings.Subscribe(bus, func(_ context.Context, e clientCreated) error {
		inside = e
		return nil
	})
	require.NoError(t, tidings.Publish(t.Context(), bus, proposalAccepted{}))
	require.Equal(t, saga, inside.CorrelationID())
	require.Equal(t, cause.EventID(), inside.CausationID())
	require.Equal(t, cause.CorrelationID(), after.CorrelationID())
	require.Equal(t, cause.EventID(), after.CausationID())
}

// A zero UUID is what code passes on that found no ID in its request.
func TestWithCorrelationIDOfNilChangesNothing(t *testing.T) {
	t.Parallel()
	e := tidings.Stamp(tidings.WithCorrelationID(t.Context(), uuid.Nil), clientCreated{})
	require.Equal(t, e.EventID(), e.CorrelationID())
}

func TestSiblingHandlersAreNotAffected(t *testing.T) {
	t.Parallel()
	bus := tidings.New()
	var fromFirst, fromSecond []tidings.Event
	tidings.Subscribe(bus, func(ctx context.Context, e proposalAccepted) error {
		if err := tidings.Publish(ctx, bus, clientCreated{ClientID: 1}); err != nil {
			return err
		}
		return tidings.Publish(ctx, bus, clientCreated{ClientID: 2})
	})
	var root tidings.Event
	tidings.Subscribe(bus, func(ctx context.Context, e proposalAccepted) error {
		root = e
		from, ok := tidings.EventFrom(ctx)
		require.True(t, ok)
		require.Equal(t, tidings.Event(e), from)
		return tidings.Publish(ctx, bus, projectCreated{ProjectID: 1})
	})
	tidings.Subscribe(bus, func(_ context.Context, e clientCreated) error {
		fromFirst = append(fromFirst, e)
		return nil
	})
	tidings.Subscribe(bus, func(_ context.Context, e projectCreated) error {
		fromSecond = append(fromSecond, e)
		return nil
	})
	ctx := t.Context()
	require.NoError(t, tidings.Publish(ctx, bus, proposalAccepted{}))
	require.Len(t, fromFirst, 2)
	require.Len(t, fromSecond, 1)
	for _, e := range slices.Concat(fromFirst, fromSecond) {
		require.Equal(t, root.EventID(), e.CausationID(), "%T", e)
		require.Equal(t, root.CorrelationID(), e.CorrelationID(), "%T", e)
	}
	_, ok := tidings.EventFrom(ctx)
	require.False(t, ok, "nor is the publisher")
	require.Equal(t, uuid.Nil, tidings.Stamp(ctx, clientCreated{}).CausationID())
}

func TestStampInAHandlerRecordsTheCause(t *testing.T) {
	t.Parallel()
	bus := tidings.New()
	var cause, stamped, boxed, delivered tidings.Event
	tidings.Subscribe(bus, func(ctx context.Context, e proposalAccepted) error {
		cause, stamped, boxed = e, tidings.Stamp(ctx, clientCreated{}), tidings.Stamp[audited](ctx, projectCreated{})
		return nil
	})
	tidings.Subscribe(bus, func(_ context.Context, e clientCreated) error {
		delivered = e
		return nil
	})
	require.NoError(t, tidings.Publish(tidings.WithCorrelationID(t.Context(), uuid.New()), bus, proposalAccepted{}))
	for _, e := range []tidings.Event{stamped, boxed} {
		require.Equal(t, cause.EventID(), e.CausationID())
		require.Equal(t, cause.CorrelationID(), e.CorrelationID())
	}
	require.NoError(t, tidings.Publish(t.Context(), bus, stamped), "an aggregate publishes what it recorded")
	require.Equal(t, stamped, delivered)
}

func TestAStampedEventInAHandlerKeepsItsWorkflow(t *testing.T) {
	t.Parallel()
	bus, events := chain(t)
	old := tidings.Stamp(tidings.WithCorrelationID(t.Context(), uuid.New()), clientCreated{})
	type replayed struct{ tidings.DomainEvent }
	tidings.Subscribe(bus, func(ctx context.Context, _ replayed) error { return tidings.Publish(ctx, bus, old) })
	require.NoError(t, tidings.Publish(t.Context(), bus, replayed{}))
	got := events()
	require.Len(t, got, 3)
	require.Equal(t, tidings.Event(old), got[1])
	require.Equal(t, old.CorrelationID(), got[2].CorrelationID(), "and so does what follows from it")
	require.Equal(t, old.EventID(), got[2].CausationID())
}

func TestEventFrom(t *testing.T) {
	t.Parallel()
	bus := tidings.New()
	_, ok := tidings.EventFrom(t.Context())
	require.False(t, ok)
	_, ok = tidings.EventFrom(tidings.WithCorrelationID(t.Context(), uuid.New()))
	require.False(t, ok)

	calls := 0
	handled := func(ctx context.Context, e tidings.Event) {
		calls++
		from, ok := tidings.EventFrom(ctx)
		require.True(t, ok)
		require.Equal(t, e, from)
	}
	tidings.Subscribe(bus, func(ctx context.Context, e tidings.Event) error {
		handled(ctx, e)
		return nil
	})
	tidings.Subscribe(bus, func(ctx context.Context, e proposalAccepted) error {
		handled(ctx, e)
		require.NoError(t, tidings.Publish(ctx, bus, clientCreated{}))
		handled(ctx, e)
		derived, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Hour)
		defer cancel()
		handled(derived, e)
		return nil
	})
	require.NoError(t, tidings.Publish(t.Context(), bus, proposalAccepted{ProposalID: 7}))
	require.NoError(t, tidings.Publish[tidings.Event](t.Context(), bus, projectCreated{}))
	require.Equal(t, 6, calls)
}

// A context that a handler keeps for a goroutine of its own goes on to say
// what it said.
func TestContextOutlivesItsHandler(t *testing.T) {
	t.Parallel()
	bus := tidings.New()
	var kept []context.Context
	tidings.Subscribe(bus, func(ctx context.Context, e proposalAccepted) error {
		kept = append(kept, ctx)
		return nil
	})
	for i := range 100 {
		require.NoError(t, tidings.Publish(t.Context(), bus, proposalAccepted{ProposalID: int64(i)}))
	}
	for i, ctx := range kept {
		e, ok := tidings.EventFrom(ctx)
		require.True(t, ok)
		require.Equal(t, int64(i), e.(proposalAccepted).ProposalID)
		require.Equal(t, e.EventID(), tidings.Stamp(ctx, clientCreated{}).CausationID())
		require.NoError(t, tidings.Publish(ctx, bus, clientCreated{}))
	}
}
