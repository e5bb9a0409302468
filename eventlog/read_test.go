package eventlog_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
)

// publishTotals publishes Accepted events with totals from 0, in one
// transaction.
func publishTotals(t *testing.T, h harness, bus *tidings.EventBus, n int) {
	t.Helper()
	require.NoError(t, h.inTx(t.Context(), func(ctx context.Context) error {
		for i := range n {
			if err := tidings.Publish(ctx, bus, Accepted{Number: "n", Total: int64(i)}); err != nil {
				return err
			}
		}
		return nil
	}))
}

// fillRows writes n Accepted events as fast as the database can.
func fillRows(t *testing.T, h harness, n int) {
	t.Helper()
	if n == 0 {
		return
	}
	insert := `INSERT INTO tidings_events (id, type, version, data, occurred_at, recorded_at, correlation_id) `
	if h.postgres() {
		h.exec(t, insert+`SELECT gen_random_uuid(), 'crm.accepted', 1, json_build_object('number', 'n', 'total', i - 1), now(), now(), gen_random_uuid() FROM generate_series(1, $1::integer) AS i`, n)
		return
	}
	have := h.count(t, `SELECT count(*) FROM tidings_events`)
	uuid := `printf('%08x-0000-7000-8000-%012x', value, value)`
	h.exec(t, insert+`SELECT `+uuid+`, 'crm.accepted', 1, '{"number": "n", "total": ' || (value - 1) || '}', 1, 1, `+uuid+` FROM (
		WITH RECURSIVE series(value) AS (SELECT $1 UNION ALL SELECT value + 1 FROM series WHERE value < $2) SELECT value FROM series)`, have+1, have+n)
}

func TestReadAcrossPages(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		have := 0
		for _, n := range []int{0, 1, 499, 500, 501, 999, 1000, 1001} {
			fillRows(t, h, n-have)
			have = n
			for _, limit := range []int{-1, 1, 499, 500, 501, 1000, 1001, 2000} {
				var filters []eventlog.Filter
				want := n
				if limit > 0 {
					filters, want = append(filters, eventlog.Limit(limit)), min(n, limit)
				}
				var last eventlog.Position
				got := 0
				for r, err := range log.Read(t.Context(), filters...) {
					require.NoError(t, err)
					require.Negative(t, last.Compare(r.Position))
					last = r.Position
					got++
				}
				require.Equal(t, want, got, "%d events, limit %d", n, limit)
			}
		}
		_ = bus
	})
}

func TestReadEndsWithTheLoop(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		one := h.narrowed(t)
		log := one.open(t)
		fillRows(t, h, 700)
		for _, stop := range []int{0, 499, 500, 699} {
			n := 0
			for _, err := range log.Read(t.Context()) {
				require.NoError(t, err)
				if n++; n > stop {
					break
				}
			}
			require.Equal(t, stop+1, n)
		}
		require.Equal(t, 700, one.count(t, `SELECT count(*) FROM tidings_events`), "the connection is free")
	})
}

func TestReadEndsWithItsContext(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log := h.open(t)
		fillRows(t, h, 1200)
		for _, stop := range []int{1, 2, 500, 501, 1100} {
			ctx, cancel := context.WithCancel(t.Context())
			n := 0
			var failed error
			for r, err := range log.Read(ctx) {
				require.NoError(t, failed, "an error is the end")
				if err != nil {
					failed = err
					require.Zero(t, r)
					continue
				}
				if n++; n == stop {
					cancel()
				}
			}
			cancel()
			require.ErrorIs(t, failed, context.Canceled)
			require.ErrorContains(t, failed, "eventlog: reading: ")
			require.Equal(t, stop, n, "nothing after the cancellation")
		}
	})
}

func TestReadFails(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log := h.open(t)
		fillRows(t, h, 600)
		n := 0
		var failed error
		for _, err := range log.Read(t.Context()) {
			if err != nil {
				failed = err
				continue
			}
			if n++; n == 100 {
				h.exec(t, `ALTER TABLE tidings_events RENAME TO away`)
			}
		}
		require.ErrorContains(t, failed, "eventlog: reading: ")
		require.ErrorContains(t, failed, "tidings_events")
		require.Equal(t, 500, n)
		_, err := log.Last(t.Context())
		require.ErrorContains(t, err, "eventlog: reading the last position: ")
	})
}

// The loop's body may use the database although there is one connection.
func TestReadHoldsNoConnection(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		one := h.narrowed(t)
		log, bus := one.attached(t)
		publishTotals(t, one, bus, 3)
		n := 0
		for r, err := range log.Read(t.Context(), eventlog.Types("crm.accepted")) {
			require.NoError(t, err)
			require.NoError(t, one.inTx(t.Context(), func(ctx context.Context) error {
				require.Len(t, read(t, log, ctx, eventlog.ID(r.Envelope.ID)), 1)
				return tidings.Publish(ctx, bus, Created{Client: "c"})
			}))
			require.NoError(t, tidings.Publish(t.Context(), bus, Created{Client: "c"}))
			n++
		}
		require.Equal(t, 3, n)
		require.Len(t, all(t, log, eventlog.Types("clients.created")), 6)
	})
}

// What the loop's body appends is read if it is on a later page.
func TestReadSeesWhatIsAppendedMeanwhile(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		fillRows(t, h, 500)
		n := 0
		for _, err := range log.Read(t.Context()) {
			require.NoError(t, err)
			if n++; n == 500 {
				require.NoError(t, tidings.Publish(t.Context(), bus, Created{Client: "late"}))
			}
		}
		require.Equal(t, 501, n)
	})
}

func TestReadInATransaction(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{Number: "1"}))
		inside, outside := "", ""
		tidings.Subscribe(bus, func(ctx context.Context, e Created) error {
			if e.Client != "2" {
				return nil
			}
			return tidings.Publish(ctx, bus, Accepted{Number: "3"})
		}, tidings.BeforeCommit)
		// A transport that sends after the log has appended.
		tidings.Subscribe(bus, func(context.Context, Created) error { return nil }, tidings.Named("later"), tidings.Via(&sender{func(ctx context.Context) error {
			inside, outside = numbers(read(t, log, ctx)), numbers(all(t, log))
			last, err := log.Last(ctx)
			require.NoError(t, err)
			require.Equal(t, read(t, log, ctx)[2].Position, last)
			return errOnPurpose
		}}))
		require.ErrorIs(t, h.inTx(t.Context(), func(ctx context.Context) error {
			require.NoError(t, tidings.Publish(ctx, bus, Created{Client: "2"}))
			require.Equal(t, "1", numbers(read(t, log, ctx)), "nothing was appended so far")
			return nil
		}), errOnPurpose)
		require.Equal(t, "1 2 3", inside)
		require.Equal(t, "1", outside)
		require.Equal(t, "1", numbers(all(t, log)), "it was rolled back")
	})
}

// sender is a transport that calls a function before the commit.
type sender struct{ send func(context.Context) error }

func (s *sender) Phase() tidings.Phase { return tidings.BeforeCommit }

func (s *sender) Send(ctx context.Context, _ []tidings.Outgoing) error { return s.send(ctx) }

func (s *sender) Encode(context.Context, tidings.Outgoing) (any, error) { return nil, nil }
func (s *sender) Handle(tidings.Handler) (func(), error)                { return nil, nil }

// A reader's memory does not grow with the log.
func TestReadTakesConstantMemory(t *testing.T) {
	const many = 50_000
	each(t, func(t *testing.T, h harness) {
		log := h.open(t)
		fillRows(t, h, many)
		heap := func() uint64 {
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return m.HeapAlloc
		}
		before, most := heap(), uint64(0)
		n := 0
		for r, err := range log.Read(t.Context()) {
			if err != nil || r.Event.(Accepted).Total != int64(n) { // require would take most of the time
				t.Fatal(n, r, err)
			}
			if n++; n%10_000 == 0 {
				most = max(most, heap())
			}
		}
		require.Equal(t, many, n)
		// 50,000 events of about 500 bytes would be 25 MB. Other tests run.
		require.Less(t, int64(most)-int64(before), int64(12<<20))
	})
}

func TestReadRestoresHeaders(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		var want []tidings.Event
		tidings.Subscribe(bus, func(ctx context.Context, e Accepted) error {
			c := tidings.Stamp(ctx, Created{Client: e.Number})
			want = append(want, e, c)
			return tidings.Publish(ctx, bus, c)
		})
		ctx := tidings.WithCorrelationID(t.Context(), uuid.New())
		for i := range 50 {
			require.NoError(t, tidings.Publish(ctx, bus, Accepted{Number: fmt.Sprint(i)}))
		}
		require.Len(t, want, 100)
		for i, r := range all(t, log) {
			require.True(t, r.Event == want[i], "%v, %v", r.Event, want[i]) // == is the point
		}
	})
}

func TestReadStream(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log := h.open(t)
		ctx := t.Context()
		records, err := log.AppendTo(ctx, "s", 0, Accepted{Number: "1"}, Created{Client: "2"}, Accepted{Number: "3"}, Accepted{Number: "4"})
		require.NoError(t, err)
		_, err = log.AppendTo(ctx, "t", 0, Accepted{Number: "other"})
		require.NoError(t, err)

		for _, c := range []struct {
			reason  string
			filters []eventlog.Filter
			want    string
		}{
			{"all", nil, "1 2 3 4"},
			{"from a version, and it", []eventlog.Filter{eventlog.FromVersion(2)}, "2 3 4"},
			{"the last one", []eventlog.Filter{eventlog.FromVersion(4)}, "4"},
			{"none yet", []eventlog.Filter{eventlog.FromVersion(5)}, ""},
			{"a limit", []eventlog.Filter{eventlog.FromVersion(2), eventlog.Limit(2)}, "2 3"},
			{"no room", []eventlog.Filter{eventlog.Limit(0)}, ""},
			{"after a position of the log", []eventlog.Filter{eventlog.After(records[0].Position)}, "2 3 4"},
			{"up to one", []eventlog.Filter{eventlog.UpTo(records[1].Position)}, "1 2"},
			{"of a type", []eventlog.Filter{eventlog.Types("crm.accepted")}, "1 3 4"},
			{"of another stream as well", []eventlog.Filter{eventlog.Stream("t")}, ""},
		} {
			require.Equal(t, c.want, numbers(streamOf(t, log, "s", c.filters...)), c.reason)
		}
		require.Equal(t, "2 3 4", numbers(all(t, log, eventlog.FromVersion(2))), "Read has it too")
		require.Empty(t, streamOf(t, log, "none"))

		// What cannot be decoded comes in its place.
		h.exec(t, "UPDATE tidings_events SET type = 'gone' WHERE stream_version = 2")
		var seen string
		for r, err := range log.ReadStream(ctx, "s") {
			var decode *eventlog.DecodeError
			if errors.As(err, &decode) {
				require.ErrorIs(t, err, tidings.ErrUnregistered)
				require.EqualValues(t, 2, r.StreamVersion)
				seen += "!"
				continue
			}
			require.NoError(t, err)
			seen += r.Event.(Accepted).Number
			if r.StreamVersion == 3 {
				break
			}
		}
		require.Equal(t, "1!3", seen)

		h.close()
		for _, err := range log.ReadStream(ctx, "s") {
			require.ErrorContains(t, err, `reading stream "s"`)
		}
		_, err = log.StreamVersion(ctx, "s")
		require.ErrorContains(t, err, `stream "s"`)
		_, err = log.AppendTo(ctx, "s", 4, Accepted{})
		require.ErrorContains(t, err, `appending to stream "s"`)
	})
}
