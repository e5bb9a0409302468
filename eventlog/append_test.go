package eventlog_test

import (
	"context"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
)

// Odd has fields that a database could take for something else.
type Odd struct {
	tidings.DomainEvent
	Text   string         `json:"text"`
	Any    map[string]any `json:"any,omitempty"`
	Int    int64          `json:"int"`
	Uint   uint64         `json:"uint"`
	Big    *big.Int       `json:"big"`
	Float  float64        `json:"float"`
	Bytes  []byte         `json:"bytes"`
	Nested []Inner        `json:"nested"`
	Time   time.Time      `json:"time"`
}

// Clone makes Odd publishable. No handler changes what it refers to.
func (o Odd) Clone() Odd { return o }

type Inner struct {
	Name string `json:"na$1me{}"`
}

var odd = []string{
	"", " ", "\t\r\n", "NULL", "null", "'", `"`, `\`, `\\`, `\"`, `"\`, ",", "{", "}", "{}", "{,}", "[]", "(1,2)",
	"\x00", `\u0000`, "a\x00b", "é ü 日本 🙂", "\u2028", "\ufffd", "<&>", "$1", "?", "%s", ";--", "0001", "1e999",
	strings.Repeat("x\"\\", 5_000), strings.Repeat("🙂", 2_000),
}

func oddEvents(ctx context.Context) (all []tidings.Event) {
	huge, _ := new(big.Int).SetString(strings.Repeat("9", 500), 10)
	for i, s := range odd {
		all = append(all, tidings.Stamp(ctx, Odd{
			Text: s, Int: -1 << 63, Uint: 1<<64 - 1, Big: huge, Float: 5e-324, Bytes: []byte(s), Nested: []Inner{{s}, {}},
			Any: map[string]any{"k" + s: s, "n": nil, "a": []any{s, true, 1.5}}, Time: time.Date(1+i, 1, 1, 0, 0, 0, 123456789, time.UTC),
		}))
	}
	return all
}

func (h harness) odd(t *testing.T, opts ...tidings.Option) (*eventlog.Log, *tidings.EventBus) {
	t.Helper()
	r := newRegistry()
	tidings.Register[Odd](r, "test.odd", 1)
	log, err := eventlog.Open(t.Context(), h.db, r)
	require.NoError(t, err)
	bus := tidings.New(opts...)
	log.Attach(bus)
	return log, bus
}

func TestAppendKeepsEveryValue(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.odd(t)
		want := oddEvents(t.Context())
		for _, e := range want { // one row a statement
			require.NoError(t, tidings.Publish(t.Context(), bus, e))
		}
		require.Equal(t, want, events(all(t, log)))
		last, err := log.Last(t.Context())
		require.NoError(t, err)

		want = oddEvents(t.Context())
		require.NoError(t, h.inTx(t.Context(), func(ctx context.Context) error { // many
			for _, e := range want {
				require.NoError(t, tidings.Publish(ctx, bus, e))
			}
			return nil
		}))
		got := all(t, log, eventlog.After(last))
		require.Equal(t, want, events(got))
		for i := range got {
			require.Equal(t, want[i].EventID(), got[i].Envelope.ID)
			require.Equal(t, string(encoded(t, want[i]).Data), string(got[i].Envelope.Data), "as it was written")
		}
	})
}

func encoded(t *testing.T, event tidings.Event) tidings.Envelope {
	t.Helper()
	r := newRegistry()
	tidings.Register[Odd](r, "test.odd", 1)
	e, err := r.Wrap(event)
	require.NoError(t, err)
	return e
}

func TestAppendKeepsEveryTime(t *testing.T) {
	t.Parallel()
	for _, at := range []time.Time{
		time.Date(1, 1, 1, 0, 0, 0, 1000, time.UTC), time.Date(1969, 12, 31, 23, 59, 59, 999_999_000, time.UTC),
		time.Date(2026, 3, 29, 2, 30, 0, 123_456_789, time.FixedZone("", -5*3600-1800)),
		time.Date(1850, 1, 1, 0, 0, 0, 7_000, time.FixedZone("", 53*60+28)),
		time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC),
	} {
		t.Run(at.Format(time.RFC3339Nano), func(t *testing.T) {
			t.Parallel()
			each(t, func(t *testing.T, h harness) {
				log, bus := h.odd(t, tidings.WithClock(func() time.Time { return at }))
				publish := func(ctx context.Context) error { return tidings.Publish(ctx, bus, Accepted{Number: "n"}) }
				require.NoError(t, publish(t.Context()))
				require.NoError(t, h.inTx(t.Context(), func(ctx context.Context) error {
					require.NoError(t, publish(ctx))
					return publish(ctx)
				}))
				want := at.UTC().Truncate(time.Microsecond)
				got := all(t, log, eventlog.Since(want), eventlog.Before(want.Add(time.Microsecond)))
				require.Len(t, got, 3)
				for _, r := range got {
					require.Equal(t, want, r.Event.OccurredAt())
					require.Equal(t, want, r.Envelope.OccurredAt)
				}
				require.Empty(t, all(t, log, eventlog.Since(want.Add(time.Microsecond))))
				require.Empty(t, all(t, log, eventlog.Before(want)))
			})
		})
	}
}

func TestAppendAroundTheSizeOfAStatement(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		sizes := []int{1, 2, 24, 25, 26, 50, 51}
		if h.postgres() {
			sizes = []int{1, 2, 5001}
		}
		var after eventlog.Position
		for _, n := range sizes {
			require.NoError(t, h.inTx(t.Context(), func(ctx context.Context) error {
				for i := range n {
					if err := tidings.Publish(ctx, bus, Accepted{Total: int64(i)}); err != nil {
						return err
					}
				}
				return nil
			}))
			got := all(t, log, eventlog.After(after))
			require.Len(t, got, n)
			for i, r := range got {
				require.Equal(t, int64(i), r.Event.(Accepted).Total, "of %d", n)
				require.Equal(t, got[0].RecordedAt, r.RecordedAt, "one time for all of a transaction")
				require.Negative(t, after.Compare(r.Position))
				after = r.Position
			}
		}
	})
}

// More data than goes into one statement.
func TestAppendLargeEvents(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		text := strings.Repeat(`x`, 3<<20)
		require.NoError(t, h.inTx(t.Context(), func(ctx context.Context) error {
			for i := range 5 {
				require.NoError(t, tidings.Publish(ctx, bus, Accepted{Number: text, Total: int64(i)}))
				require.NoError(t, tidings.Publish(ctx, bus, Created{Client: fmt.Sprint(i)}))
			}
			return nil
		}))
		var got []string
		for r, err := range log.Read(t.Context()) {
			require.NoError(t, err)
			switch e := r.Event.(type) {
			case Accepted:
				require.Equal(t, len(text), len(e.Number))
				got = append(got, fmt.Sprint("large ", e.Total))
			case Created:
				got = append(got, e.Client)
			}
		}
		require.Equal(t, []string{"large 0", "0", "large 1", "1", "large 2", "2", "large 3", "3", "large 4", "4"}, got)
	})
}

func TestRecordedAtIsNow(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		long := time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)
		log, bus := h.odd(t, tidings.WithClock(func() time.Time { return long }))
		before := time.Now().Truncate(time.Microsecond)
		require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{}))
		got := all(t, log)
		require.Equal(t, long, got[0].Event.OccurredAt())
		require.Equal(t, time.UTC, got[0].RecordedAt.Location())
		require.False(t, got[0].RecordedAt.Before(before), "%s, %s", got[0].RecordedAt, before)
		require.False(t, got[0].RecordedAt.After(time.Now()))
	})
}
