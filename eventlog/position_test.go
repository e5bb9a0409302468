package eventlog_test

import (
	"context"
	"encoding/json"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
)

func TestParsePosition(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"0.0", "0.17", "1.0", "754.3", "9223372036854775807.9223372036854775807"} {
		p, err := eventlog.ParsePosition(s)
		require.NoError(t, err)
		require.Equal(t, s, p.String())
	}
	for _, test := range []struct{ text, reason string }{
		{"", "empty"}, {"1", "half"}, {"1.", "half"}, {".1", "half"}, {"a.b", "no numbers"}, {"1.2.3", "more"}, {"1.2 ", "space"},
		{" 1.2", "space"}, {"1 .2", "space"}, {"1.2\n", "newline"}, {"+1.2", "sign"}, {"-1.2", "negative"}, {"1.-2", "negative"},
		{"01.2", "another text of 1.2"}, {"1.02", "another text of 1.2"}, {"1_0.2", "underscore"}, {"0x1.2", "hexadecimal"},
		{"1,2", "comma"}, {"9223372036854775808.1", "too large"}, {"1.9223372036854775808", "too large"}, {"１.2", "wide digit"},
	} {
		_, err := eventlog.ParsePosition(test.text)
		require.Error(t, err, "%q: %s", test.text, test.reason)
		require.ErrorContains(t, err, "is not a valid position")
	}
}

func TestPositionCompare(t *testing.T) {
	t.Parallel()
	ordered := []string{"0.0", "0.1", "0.2", "0.10", "1.0", "1.1", "2.1", "10.0"}
	for i, a := range ordered {
		for j, b := range ordered {
			p, err := eventlog.ParsePosition(a)
			require.NoError(t, err)
			q, err := eventlog.ParsePosition(b)
			require.NoError(t, err)
			want := 0
			if i < j {
				want = -1
			} else if i > j {
				want = 1
			}
			require.Equal(t, want, p.Compare(q), "%s, %s", a, b)
			require.Equal(t, want == 0, p == q)
		}
	}
	require.Equal(t, "0.0", eventlog.Position{}.String(), "before all events")
}

func TestPositionAsJSON(t *testing.T) {
	t.Parallel()
	type state struct {
		Cursor eventlog.Position
		Each   map[eventlog.Position]string
	}
	p, err := eventlog.ParsePosition("754.3")
	require.NoError(t, err)
	text, err := json.Marshal(state{p, map[eventlog.Position]string{p: "x"}})
	require.NoError(t, err)
	require.JSONEq(t, `{"Cursor": "754.3", "Each": {"754.3": "x"}}`, string(text))
	var got state
	require.NoError(t, json.Unmarshal(text, &got))
	require.Equal(t, state{p, map[eventlog.Position]string{p: "x"}}, got)

	kept := state{Cursor: p}
	require.ErrorContains(t, json.Unmarshal([]byte(`{"Cursor": "junk"}`), &kept), `"junk" is not a valid position`)
	require.Equal(t, p, kept.Cursor)
}

func TestPositionsOfALog(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		last, err := log.Last(t.Context())
		require.NoError(t, err)
		require.Equal(t, eventlog.Position{}, last)

		for range 3 {
			require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{Number: "a"}))
			require.NoError(t, h.inTx(t.Context(), func(ctx context.Context) error {
				for range 3 {
					require.NoError(t, tidings.Publish(ctx, bus, Accepted{Number: "b"}))
				}
				return nil
			}))
		}
		got := all(t, log)
		require.Len(t, got, 12)
		require.True(t, slices.IsSortedFunc(got, func(a, b eventlog.Recorded) int { return a.Position.Compare(b.Position) }))
		require.Positive(t, got[0].Position.Compare(eventlog.Position{}))
		last, err = log.Last(t.Context())
		require.NoError(t, err)
		require.Equal(t, got[11].Position, last)
		for i, r := range got {
			p, err := eventlog.ParsePosition(r.Position.String())
			require.NoError(t, err)
			require.Equal(t, r.Position, p)
			require.Len(t, all(t, log, eventlog.After(p)), 11-i)
			require.Len(t, all(t, log, eventlog.UpTo(p)), i+1)
		}
	})
}

// A transaction that began to write earlier comes first, also if it commits
// later. (On SQLite no other one can write meanwhile.)
func TestPositionsOfOverlappingTransactions(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		if !h.postgres() {
			t.Skip("SQLite has one writer")
		}
		log, bus := h.attached(t)
		outside := t.Context()
		ctx, hook := tidings.NewTxHook(outside, h.key)
		defer hook.Rollback(outside)
		ctx, commit, rollback, err := h.begin(ctx)
		require.NoError(t, err)
		t.Cleanup(func() { _ = rollback() }) // unless it has ended
		require.NoError(t, tidings.Publish(ctx, bus, Accepted{Number: "slow"}))
		require.NoError(t, hook.Prepare(ctx))

		require.NoError(t, tidings.Publish(outside, bus, Accepted{Number: "fast"}))
		require.Equal(t, "fast", numbers(all(t, log)))
		require.Equal(t, "slow fast", numbers(read(t, log, ctx)))
		require.NoError(t, commit())
		require.NoError(t, hook.Commit(outside))
		require.Equal(t, "slow fast", numbers(all(t, log)))
	})
}
