package eventlog_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
)

// tenEvents is a log of ten events, a minute apart. Even numbers are
// Accepted, odd ones Created; 0 to 4 are one workflow, in which 1 and 2
// were published in the handlers of 0.
func tenEvents(t *testing.T, h harness) (*eventlog.Log, []eventlog.Recorded, time.Time) {
	t.Helper()
	start := time.Date(2026, 3, 1, 9, 0, 0, 123_456_000, time.UTC)
	n := -1
	log, bus := h.odd(t, tidings.WithClock(func() time.Time { n++; return start.Add(time.Duration(n) * time.Minute) }))
	tidings.Subscribe(bus, func(ctx context.Context, e Accepted) error {
		if e.Number != "0" {
			return nil
		}
		require.NoError(t, tidings.Publish(ctx, bus, Created{Client: "1"}))
		return tidings.Publish(ctx, bus, Accepted{Number: "2"})
	})
	ctx := tidings.WithCorrelationID(t.Context(), uuid.New())
	require.NoError(t, tidings.Publish(ctx, bus, Accepted{Number: "0"}))
	require.NoError(t, tidings.Publish(ctx, bus, Created{Client: "3"}))
	require.NoError(t, tidings.Publish(ctx, bus, Accepted{Number: "4"}))
	require.NoError(t, h.inTx(t.Context(), func(ctx context.Context) error {
		for i := 5; i < 9; i += 2 {
			require.NoError(t, tidings.Publish(ctx, bus, Created{Client: fmt.Sprint(i)}))
			require.NoError(t, tidings.Publish(ctx, bus, Accepted{Number: fmt.Sprint(i + 1)}))
		}
		return nil
	}))
	require.NoError(t, tidings.Publish(t.Context(), bus, Created{Client: "9"}))
	all := all(t, log)
	require.Equal(t, "0 1 2 3 4 5 6 7 8 9", numbers(all))
	return log, all, start
}

func TestFilters(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, r, start := tenEvents(t, h)
		f := func(filters ...eventlog.Filter) []eventlog.Filter { return filters }
		minute := func(n int) time.Time { return start.Add(time.Duration(n) * time.Minute) }
		const us = time.Microsecond
		for _, test := range []struct {
			reason  string
			filters []eventlog.Filter
			want    string
		}{
			{"none", nil, "0 1 2 3 4 5 6 7 8 9"},
			{"after the beginning", f(eventlog.After(eventlog.Position{})), "0 1 2 3 4 5 6 7 8 9"},
			{"after", f(eventlog.After(r[6].Position)), "7 8 9"},
			{"after the last", f(eventlog.After(r[9].Position)), ""},
			{"the later of two", f(eventlog.After(r[6].Position), eventlog.After(r[2].Position)), "7 8 9"},
			{"up to and with", f(eventlog.UpTo(r[2].Position)), "0 1 2"},
			{"up to the beginning", f(eventlog.UpTo(eventlog.Position{})), ""},
			{"the earlier of two", f(eventlog.UpTo(r[2].Position), eventlog.UpTo(r[6].Position)), "0 1 2"},
			{"between", f(eventlog.UpTo(r[5].Position), eventlog.After(r[2].Position)), "3 4 5"},
			{"nothing between", f(eventlog.UpTo(r[2].Position), eventlog.After(r[5].Position)), ""},
			{"one type", f(eventlog.Types("clients.created")), "1 3 5 7 9"},
			{"types", f(eventlog.Types("clients.created", "crm.accepted", "no.such")), "0 1 2 3 4 5 6 7 8 9"},
			{"the same twice", f(eventlog.Types("clients.created", "clients.created")), "1 3 5 7 9"},
			{"a type that is not", f(eventlog.Types("no.such")), ""},
			{"no type", f(eventlog.Types()), ""},
			{"a name, not SQL", f(eventlog.Types("' OR '1'='1", "?", "$1")), ""},
			{"both types at once", f(eventlog.Types("clients.created"), eventlog.Types("crm.accepted")), ""},
			{"since, inclusive", f(eventlog.Since(minute(7))), "7 8 9"},
			{"a microsecond later", f(eventlog.Since(minute(7).Add(us))), "8 9"},
			{"what is smaller is cut off", f(eventlog.Since(minute(7).Add(us - 1))), "7 8 9"},
			{"in another zone", f(eventlog.Since(minute(7).In(time.FixedZone("", -3*3600)))), "7 8 9"},
			{"before, exclusive", f(eventlog.Before(minute(2))), "0 1"},
			{"a microsecond later", f(eventlog.Before(minute(2).Add(us))), "0 1 2"},
			{"an interval", f(eventlog.Before(minute(5)), eventlog.Since(minute(3))), "3 4"},
			{"all of time", f(eventlog.Since(time.Time{}), eventlog.Before(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC))), "0 1 2 3 4 5 6 7 8 9"},
			{"a workflow", f(eventlog.Correlation(r[0].Envelope.CorrelationID)), "0 1 2 3 4"},
			{"a workflow of one", f(eventlog.Correlation(r[9].Envelope.CorrelationID)), "9"},
			{"no workflow", f(eventlog.Correlation(uuid.New())), ""},
			{"no workflow", f(eventlog.Correlation(uuid.Nil)), ""},
			{"what it caused", f(eventlog.Causation(r[0].Envelope.ID)), "1 2"},
			{"it caused nothing", f(eventlog.Causation(r[4].Envelope.ID)), ""},
			{"nothing has no cause", f(eventlog.Causation(uuid.Nil)), ""},
			{"one", f(eventlog.ID(r[4].Envelope.ID)), "4"},
			{"two at once", f(eventlog.ID(r[4].Envelope.ID), eventlog.ID(r[5].Envelope.ID)), ""},
			{"limit", f(eventlog.Limit(3)), "0 1 2"},
			{"limit 0", f(eventlog.Limit(0)), ""},
			{"limit below 0", f(eventlog.Limit(-1)), ""},
			{"more than there is", f(eventlog.Limit(1 << 40)), "0 1 2 3 4 5 6 7 8 9"},
			{"the smallest of limits", f(eventlog.Limit(5), eventlog.Limit(2), eventlog.Limit(7)), "0 1"},
			{"one of many is 0", f(eventlog.Limit(5), eventlog.Limit(0), eventlog.Limit(7)), ""},
			{"limit of what is selected", f(eventlog.Limit(2), eventlog.Types("clients.created"), eventlog.After(r[2].Position)), "3 5"},
			{"all together", f(
				eventlog.Types("crm.accepted", "clients.created"), eventlog.After(r[0].Position), eventlog.UpTo(r[4].Position),
				eventlog.Since(minute(1)), eventlog.Before(minute(3)), eventlog.Correlation(r[0].Envelope.CorrelationID),
				eventlog.Causation(r[0].Envelope.ID), eventlog.ID(r[2].Envelope.ID), eventlog.Limit(9)), "2"},
		} {
			require.Equal(t, test.want, numbers(all(t, log, test.filters...)), test.reason)
		}
		require.PanicsWithValue(t, "eventlog: a nil Filter", func() { log.Read(t.Context(), nil) })
	})
}

// A sequence may be ranged over again, and by several at once.
func TestFiltersCanBeUsedAgain(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, r, _ := tenEvents(t, h)
		seq := log.Read(t.Context(), eventlog.After(r[3].Position), eventlog.Types("clients.created"), eventlog.Limit(2))
		for range 2 {
			var got []eventlog.Recorded
			for r, err := range seq {
				require.NoError(t, err)
				got = append(got, r)
				for inner, err := range seq {
					require.NoError(t, err)
					require.Equal(t, got[0].Position, inner.Position)
					break
				}
			}
			require.Equal(t, "5 7", numbers(got))
		}
	})
}
