package tidings_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
)

func TestPublishStampsAZeroHeader(t *testing.T) {
	t.Parallel()
	bus := tidings.New()
	var got []proposalAccepted
	for range 2 {
		tidings.Subscribe(bus, func(_ context.Context, e proposalAccepted) error {
			got = append(got, e)
			return nil
		})
	}
	before := time.Now().Truncate(time.Microsecond)
	event := proposalAccepted{ProposalID: 7}
	require.NoError(t, tidings.Publish(t.Context(), bus, event))
	after := time.Now()

	require.Len(t, got, 2)
	require.Equal(t, got[0], got[1], "one event, one header")
	require.NotEqual(t, uuid.Nil, got[0].EventID())
	require.False(t, got[0].OccurredAt().Before(before))
	require.False(t, got[0].OccurredAt().After(after))
	require.Equal(t, got[0].EventID(), got[0].CorrelationID(), "it starts a workflow")
	require.Equal(t, uuid.Nil, got[0].CausationID())
	require.Equal(t, int64(7), got[0].ProposalID)
	require.Equal(t, proposalAccepted{ProposalID: 7}, event, "Publish stamps its own copy")
}

func TestZeroHeader(t *testing.T) {
	t.Parallel()
	var e tidings.Event = proposalAccepted{ProposalID: 7}
	require.Equal(t, uuid.Nil, e.EventID())
	require.True(t, e.OccurredAt().IsZero())
	require.Equal(t, uuid.Nil, e.CorrelationID())
	require.Equal(t, uuid.Nil, e.CausationID())
}

func TestEventIDIsAUUIDv7(t *testing.T) {
	t.Parallel()
	for range 1000 {
		before := time.Now().UnixMilli()
		id := tidings.Stamp(t.Context(), proposalAccepted{}).EventID()
		require.Equal(t, uuid.Version(7), id.Version())
		require.Equal(t, uuid.RFC4122, id.Variant())
		millis := int64(binary.BigEndian.Uint64(id[:8]) >> 16)
		require.GreaterOrEqual(t, millis, before)
		// A burst of IDs may run ahead of the clock: one for each 1/4096 ms.
		require.Less(t, millis, time.Now().UnixMilli()+1000)
	}
}

func TestEventIDsIncreaseStrictly(t *testing.T) {
	t.Parallel()
	const goroutines, each = 8, 5000
	t.Run("in each of several goroutines, without a duplicate", func(t *testing.T) {
		ids := make([][]uuid.UUID, goroutines)
		var wg sync.WaitGroup
		for g := range ids {
			wg.Go(func() {
				for range each {
					ids[g] = append(ids[g], tidings.Stamp(context.Background(), proposalAccepted{}).EventID())
				}
			})
		}
		wg.Wait()
		for _, own := range ids {
			requireStrictlyIncreasing(t, own)
		}
		all := slices.Concat(ids...)
		slices.SortFunc(all, compareIDs)
		requireStrictlyIncreasing(t, all)
	})
	t.Run("from one goroutine to the next", func(t *testing.T) {
		var mu sync.Mutex
		var ids []uuid.UUID
		var wg sync.WaitGroup
		for range goroutines {
			wg.Go(func() {
				for range each {
					mu.Lock()
					ids = append(ids, tidings.Stamp(context.Background(), proposalAccepted{}).EventID())
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		requireStrictlyIncreasing(t, ids)
	})
	t.Run("as text, as databases sort them", func(t *testing.T) {
		last := ""
		for range each {
			id := tidings.Stamp(t.Context(), proposalAccepted{}).EventID().String()
			require.Greater(t, id, last)
			last = id
		}
	})
}

func compareIDs(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) }

func requireStrictlyIncreasing(t *testing.T, ids []uuid.UUID) {
	t.Helper()
	for i := 1; i < len(ids); i++ {
		if compareIDs(ids[i-1], ids[i]) >= 0 {
			require.Failf(t, "not increasing", "%d: %v, %d: %v", i-1, ids[i-1], i, ids[i])
		}
	}
}

func TestOccurredAtSurvivesADatabase(t *testing.T) {
	t.Parallel()
	for range 100 {
		at := tidings.Stamp(t.Context(), proposalAccepted{}).OccurredAt()
		require.Same(t, time.UTC, at.Location())
		require.Zero(t, at.Nanosecond()%1000, "cut to microseconds")
		require.True(t, at == at.Round(0), "no monotonic reading")
		require.True(t, at == time.UnixMicro(at.UnixMicro()).UTC())
		parsed, err := time.Parse(time.RFC3339Nano, at.Format(time.RFC3339Nano))
		require.NoError(t, err)
		require.True(t, at == parsed)
	}
}

func TestWithClockSetsOccurredAt(t *testing.T) {
	t.Parallel()
	cet := time.FixedZone("CET", 3600)
	for _, tt := range []struct {
		reason    string
		now, want time.Time
	}{
		{"cut to microseconds", time.Date(2026, 2, 3, 4, 5, 6, 789123999, time.UTC), time.Date(2026, 2, 3, 4, 5, 6, 789123000, time.UTC)},
		{"converted to UTC", time.Date(2026, 2, 3, 4, 5, 6, 0, cet), time.Date(2026, 2, 3, 3, 5, 6, 0, time.UTC)},
		{"before 1970", time.Date(1969, 7, 20, 20, 17, 40, 123456789, time.UTC), time.Date(1969, 7, 20, 20, 17, 40, 123456000, time.UTC)},
		{"the epoch", time.Unix(0, 0), time.Unix(0, 0).UTC()},
		{"far ahead, which must not drag IDs along", time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC)},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			bus := tidings.New(tidings.WithClock(func() time.Time { return tt.now }))
			var got, stamped, boxed tidings.Event
			tidings.Subscribe(bus, func(ctx context.Context, e proposalAccepted) error {
				got = e
				stamped = tidings.Stamp(ctx, clientCreated{})
				boxed = tidings.Stamp[tidings.Event](tidings.WithCorrelationID(ctx, uuid.New()), clientCreated{})
				return nil
			})
			require.NoError(t, tidings.Publish(t.Context(), bus, proposalAccepted{}))
			require.True(t, tt.want == got.OccurredAt(), got.OccurredAt())
			require.True(t, tt.want == stamped.OccurredAt(), "Stamp in a handler uses the clock of the bus")
			require.True(t, tt.want == boxed.OccurredAt(), "also behind an interface")
			require.InDelta(t, time.Now().UnixMilli(), int64(binary.BigEndian.Uint64(idBytes(got))>>16), 60_000, "the ID has the machine's time")
		})
	}
}

func idBytes(e tidings.Event) []byte {
	id := e.EventID()
	return id[:8]
}

func TestStampedEventsArePublishedAsTheyAre(t *testing.T) {
	t.Parallel()
	recorded := tidings.Stamp(tidings.WithCorrelationID(t.Context(), uuid.New()), clientCreated{ClientID: 3})
	for _, tt := range []struct {
		name    string
		publish func(context.Context, *tidings.EventBus) error
	}{
		{"statically", func(ctx context.Context, bus *tidings.EventBus) error { return tidings.Publish(ctx, bus, recorded) }},
		{"behind an interface", func(ctx context.Context, bus *tidings.EventBus) error {
			return tidings.Publish[audited](ctx, bus, recorded)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bus := tidings.New(tidings.WithClock(func() time.Time { return time.Unix(1, 0) }))
			var got []tidings.Event
			tidings.Subscribe(bus, func(_ context.Context, e tidings.Event) error {
				got = append(got, e)
				return nil
			})
			require.NoError(t, tt.publish(t.Context(), bus))
			require.NoError(t, tt.publish(tidings.WithCorrelationID(t.Context(), uuid.New()), bus))
			require.Equal(t, []tidings.Event{recorded, recorded}, got)
		})
	}
}

func TestStamp(t *testing.T) {
	t.Parallel()
	event := proposalAccepted{ProposalID: 7, Number: "PROP-007"}
	stamped := tidings.Stamp(t.Context(), event)
	require.Equal(t, proposalAccepted{ProposalID: 7, Number: "PROP-007"}, event, "the original is as it was")
	require.NotEqual(t, uuid.Nil, stamped.EventID())
	require.Equal(t, int64(7), stamped.ProposalID)
	require.Equal(t, stamped, tidings.Stamp(t.Context(), stamped), "once stamped, always stamped")

	id := uuid.New()
	require.Equal(t, id, tidings.Stamp(tidings.WithCorrelationID(t.Context(), id), event).CorrelationID())

	boxed := tidings.Stamp[audited](t.Context(), clientCreated{ClientID: 3})
	require.NotEqual(t, uuid.Nil, boxed.EventID())
	require.Equal(t, "client 3 created", boxed.AuditLine())
	require.Equal(t, boxed, tidings.Stamp(t.Context(), boxed))
}

func TestStampOfTheSameEventTwiceGivesTwoEvents(t *testing.T) {
	t.Parallel()
	event := proposalAccepted{ProposalID: 7}
	require.NotEqual(t, tidings.Stamp(t.Context(), event).EventID(), tidings.Stamp(t.Context(), event).EventID())
}

// A String, Equal or MarshalJSON of the header would be promoted and hide
// the rest of the event.
func TestHeaderPromotesNothingButAccessors(t *testing.T) {
	t.Parallel()
	for _, typ := range []reflect.Type{reflect.TypeFor[tidings.DomainEvent](), reflect.TypeFor[*tidings.DomainEvent](), reflect.TypeFor[*proposalAccepted]()} {
		var methods []string
		for i := range typ.NumMethod() {
			methods = append(methods, typ.Method(i).Name)
		}
		require.Equal(t, []string{"CausationID", "CorrelationID", "EventID", "OccurredAt"}, methods, "of %v", typ)
	}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[tidings.DomainEvent]()) {
		require.False(t, f.IsExported(), "%s would be a setter", f.Name)
	}

	event := tidings.Stamp(t.Context(), proposalAccepted{ProposalID: 7, Number: "PROP-007"})
	data, err := json.Marshal(event)
	require.NoError(t, err)
	require.JSONEq(t, `{"ProposalID": 7, "Number": "PROP-007"}`, string(data))
	require.Contains(t, fmt.Sprint(event), "PROP-007")
	require.False(t, event == tidings.Stamp(t.Context(), proposalAccepted{ProposalID: 8, Number: "PROP-007"}))
	copied := event
	require.True(t, event == copied, "events of comparable fields are comparable")
}
