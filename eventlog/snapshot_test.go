package eventlog_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/big"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
)

// snapshotOf updates an aggregate whose state is what state returns, and
// reports whether snapshots were taken, which changes nothing else.
func snapshotOf[S any](state func() S) func(*testing.T, *eventlog.Log, harness) bool {
	return func(t *testing.T, log *eventlog.Log, h harness) bool {
		name := strings.NewReplacer("/", "_", "#", "_").Replace(t.Name())
		a := eventlog.NewAggregate(log, name, func(S, tidings.Event) (S, error) { return state(), nil }, eventlog.WithSnapshotEvery(2))
		for range 6 {
			_, err := a.Update(t.Context(), "1", func(context.Context, S) ([]tidings.Event, error) { return acceptedOf("1"), nil })
			require.NoError(t, err)
		}
		_, version, err := a.Load(t.Context(), "1")
		require.NoError(t, err)
		require.EqualValues(t, 6, version)
		return h.count(t, "SELECT count(*) FROM tidings_snapshots WHERE stream = '"+a.Stream("1")+"'") > 0
	}
}

type (
	emptied struct {
		Items []string       `json:"items,omitempty"`
		By    map[string]int `json:"by,omitempty"`
		Next  *emptied       `json:"next,omitempty"`
	}
	unexported struct {
		Total int64
		lost  int64
	}
	left   struct{ Kept, Lost int64 }
	silent struct {
		Total int64 `json:"-"`
	}
	promoted struct { // its JSON is that of the time
		time.Time
		Total int64
	}
	mutexed struct {
		//lint:ignore U1000 that it is there is what the case is about
		mu    sync.Mutex
		Total int64
	}
	panics struct{ Total int64 }
	tags   struct{ set map[string]bool } // has its own JSON and Equal
	partly struct{ kept, lost int64 }    // its JSON leaves something out
	amount struct{ Units *big.Rat }
)

func (l left) MarshalJSON() ([]byte, error)    { return json.Marshal(map[string]int64{"Kept": l.Kept}) }
func (panics) MarshalJSON() ([]byte, error)    { panic("at the disco") }
func (p partly) MarshalJSON() ([]byte, error)  { return json.Marshal(p.kept) }
func (p *partly) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, &p.kept) }
func (p partly) Equal(o partly) bool           { return p == o }
func (s tags) MarshalJSON() ([]byte, error)    { return json.Marshal(s.set) }
func (s *tags) UnmarshalJSON(b []byte) error   { return json.Unmarshal(b, &s.set) }

func TestSnapshotsAreOfValues(t *testing.T) {
	t.Parallel()
	berlin, err := time.LoadLocation("Europe/Berlin")
	require.NoError(t, err)
	at := time.Date(2026, 7, 1, 12, 0, 0, 0, berlin)
	for _, tt := range []struct {
		name   string
		run    func(*testing.T, *eventlog.Log, harness) bool
		taken  bool
		reason string
	}{
		{"number", snapshotOf(func() int { return 7 }), true, ""},
		{"emptied", snapshotOf(func() emptied { return emptied{[]string{}, map[string]int{}, &emptied{Items: []string{}}} }), true, "no elements are no elements"},
		{"emptied inside", snapshotOf(func() map[string][]emptied { return map[string][]emptied{"a": {{Items: []string{}}}} }), true, ""},
		{"pointer", snapshotOf(func() *emptied { return &emptied{Items: []string{}} }), true, ""},
		{"zero", snapshotOf(func() *big.Int { return new(big.Int).Sub(big.NewInt(5), big.NewInt(5)) }), true, "zero may lie in memory in two ways"},
		{"zero in a field", snapshotOf(func() struct{ Sum big.Int } {
			var s struct{ Sum big.Int }
			s.Sum.Sub(big.NewInt(5), big.NewInt(5))
			return s
		}), true, "whose methods are those of the pointer"},
		{"rat", snapshotOf(func() amount { return amount{new(big.Rat).Mul(big.NewRat(3, 2), big.NewRat(2, 3))} }), true, "it has text and Cmp"},
		{"float", snapshotOf(func() *big.Float { return big.NewFloat(0.1) }), false, "its text has fewer digits than its precision"},
		{"zone", snapshotOf(func() []time.Time { return []time.Time{at} }), true, "the same instant and offset"},
		{"utc", snapshotOf(func() map[uuid.UUID]time.Time { return map[uuid.UUID]time.Time{uuid.Max: at.UTC()} }), true, ""},
		{"local", snapshotOf(func() time.Time { return at.Local() }), true, ""},
		{"monotonic", snapshotOf(time.Now), true, "its reading of the monotonic clock is no part of the time"},
		{"address", snapshotOf(func() netip.Addr { return netip.MustParseAddr("fe80::1%eth0") }), true, "it has text, and no Equal"},
		{"raw", snapshotOf(func() json.RawMessage { return json.RawMessage(`{"a":1}`) }), true, ""},
		{"any", snapshotOf(func() any { return map[string]any{"a": 1.5, "b": []any{"c", nil, true}} }), true, ""},
		{"own JSON", snapshotOf(func() tags { return tags{map[string]bool{"a": true}} }), true, "it is the same inside"},
		{"own JSON, emptied", snapshotOf(func() tags { return tags{map[string]bool{}} }), true, ""},

		{"unexported", snapshotOf(func() unexported { return unexported{1, 2} }), false, "JSON leaves it out"},
		{"left out", snapshotOf(func() left { return left{1, 2} }), false, ""},
		{"partly", snapshotOf(func() partly { return partly{1, 2} }), false, ""},
		{"silent", snapshotOf(func() silent { return silent{1} }), false, ""},
		{"promoted", snapshotOf(func() promoted { return promoted{at, 2} }), false, "a field that is embedded speaks for all of it"},
		{"an int in any", snapshotOf(func() any { return map[string]any{"a": 1} }), false, "it comes back as a float64, which is no int"},
		{"not UTF-8", snapshotOf(func() string { return "\xff" }), false, "it comes back as U+FFFD"},
		{"chan", snapshotOf(func() chan int { return make(chan int) }), false, "there is no JSON of it"},
		{"func", snapshotOf(func() struct{ F func() } { return struct{ F func() }{func() {}} }), false, ""},
		{"no func", snapshotOf(func() struct {
			F func() `json:"-"`
		} {
			return struct {
				F func() `json:"-"`
			}{}
		}), true, ""},
		{"mutex", snapshotOf(func() *mutexed { return &mutexed{Total: 1} }), true, "nobody holds it"},
		{"panics", snapshotOf(func() panics { return panics{1} }), false, "that is no reason for Update to fail"},
		{"circle", snapshotOf(func() *emptied { e := &emptied{}; e.Next = e; return e }), false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			each(t, func(t *testing.T, h harness) {
				require.Equal(t, tt.taken, tt.run(t, h.open(t), h), tt.reason)
			})
		})
	}
}

// strict counts how often it is read.
type strict struct{ Total int64 }

var strictReads int

func (s *strict) UnmarshalJSON(b []byte) error {
	strictReads++
	return json.Unmarshal(b, &s.Total)
}
func (s strict) MarshalJSON() ([]byte, error) { return json.Marshal(s.Total) }

// What another version has left may be anything: it is not even read.
func TestSnapshotsOfAnotherVersionAreNotRead(t *testing.T) {
	h := openSQLite(t)
	log := h.open(t)
	apply := func(s strict, e tidings.Event) (strict, error) {
		s.Total += e.(Accepted).Total
		return s, nil
	}
	update := func(version int) {
		a := eventlog.NewAggregate(log, "strict", apply, eventlog.WithSnapshotEvery(1), eventlog.WithSnapshotVersion(version))
		_, err := a.Update(t.Context(), "1", func(context.Context, strict) ([]tidings.Event, error) {
			return []tidings.Event{Accepted{Total: 1}}, nil
		})
		require.NoError(t, err)
	}
	for range 3 {
		update(1)
	}
	strictReads = 0
	a := eventlog.NewAggregate(log, "strict", apply, eventlog.WithSnapshotEvery(100), eventlog.WithSnapshotVersion(2))
	s, _, err := a.Load(t.Context(), "1")
	require.NoError(t, err)
	require.Equal(t, strict{3}, s)
	require.Zero(t, strictReads)
}

// It is said once that there are no snapshots, also if it is the database
// that does not take one.
func TestASnapshotThatIsNotTakenIsSaid(t *testing.T) {
	out := logsOf(t)
	for _, tt := range []struct {
		name string
		open func(*testing.T) harness
	}{{"sqlite", openSQLite}, {"postgres", openPostgres}, {"pgx", openPgx}} {
		t.Run(tt.name, func(t *testing.T) {
			h := tt.open(t)
			log := h.open(t)
			out.Reset()
			require.False(t, snapshotOf(func() unexported { return unexported{1, 2} })(t, log, h))
			require.Equal(t, 1, strings.Count(out.String(), "a snapshot cannot be taken"), out)
			require.Contains(t, out.String(), "export its fields")
			require.Contains(t, out.String(), "eventlog_test.unexported")

			out.Reset()
			refuse := "ALTER TABLE tidings_snapshots ADD CONSTRAINT refused CHECK (stream <> 'refused/1')"
			if tt.name == "sqlite" {
				refuse = "CREATE TRIGGER refused BEFORE INSERT ON tidings_snapshots WHEN new.stream = 'refused/1' BEGIN SELECT RAISE(ABORT, 'refused'); END"
			}
			h.exec(t, refuse)
			a := eventlog.NewAggregate(log, "refused", applyTally, eventlog.WithSnapshotEvery(1))
			for range 3 {
				_, err := a.Update(t.Context(), "1", returning(Accepted{Total: 1}))
				require.NoError(t, err)
			}
			s, version, err := a.Load(t.Context(), "1")
			require.NoError(t, err)
			require.EqualValues(t, 3, version)
			require.EqualValues(t, 3, s.Total)
			require.Equal(t, 1, strings.Count(out.String(), "a snapshot cannot be taken"), out)
		})
	}
}

// logsOf returns what is logged by default until the test ends, which runs
// alone.
func logsOf(t *testing.T) *bytes.Buffer {
	t.Helper()
	before, out := slog.Default(), &bytes.Buffer{}
	slog.SetDefault(slog.New(slog.NewTextHandler(out, nil)))
	t.Cleanup(func() { slog.SetDefault(before) })
	return out
}

func TestAggregateSnapshotsChangeNothing(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log := h.open(t)
		ctx := t.Context()
		random := rand.New(rand.NewPCG(3, 14))
		plain := eventlog.NewAggregate(log, "tally", applyTally)
		program := func() *eventlog.Aggregate[tally] { // of today, with other settings than yesterday's
			return eventlog.NewAggregate(log, "tally", applyTally, eventlog.WithSnapshotEvery(1+random.IntN(6)), eventlog.WithSnapshotVersion(1+random.IntN(2)))
		}
		used := 0
		for range 60 {
			id := fmt.Sprint(random.IntN(3))
			var events []tidings.Event
			for range 1 + random.IntN(4) {
				if random.IntN(3) == 0 {
					events = append(events, Created{Client: fmt.Sprint("client ", random.IntN(5))})
				} else {
					events = append(events, Accepted{Total: random.Int64N(1000) - 500})
				}
			}
			updated, err := program().Update(ctx, id, returning(events...))
			require.NoError(t, err)

			want, version, err := plain.Load(ctx, id)
			require.NoError(t, err)
			require.Equal(t, want, updated)
			got, gotVersion, err := program().Load(ctx, id)
			require.NoError(t, err)
			require.Equal(t, want, got)
			require.Equal(t, version, gotVersion)
			used = h.count(t, "SELECT count(*) FROM tidings_snapshots")
		}
		require.Equal(t, 3, used)
	})
}

// The state that is stored is that before decide, which may have scribbled
// on its map, though it must not.
func TestAggregateSnapshotIsOfWhatIsInTheLog(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log := h.open(t)
		a := eventlog.NewAggregate(log, "tally", applyTally, eventlog.WithSnapshotEvery(2))
		_, err := a.Update(t.Context(), "1", returning(Accepted{Total: 1}, Created{Client: "c"}))
		require.NoError(t, err)
		require.Zero(t, h.count(t, "SELECT count(*) FROM tidings_snapshots"))
		_, err = a.Update(t.Context(), "1", func(_ context.Context, s tally) ([]tidings.Event, error) {
			s.Clients["scribbled"] = 1
			return []tidings.Event{Accepted{Total: 1}}, nil
		})
		require.NoError(t, err)
		require.Equal(t, 1, h.count(t, "SELECT count(*) FROM tidings_snapshots WHERE stream_version = 2"))
		state, _, err := a.Load(t.Context(), "1")
		require.NoError(t, err)
		require.Equal(t, tally{2, map[string]int64{"c": 1}}, state)
	})
}

func TestAggregateSnapshotsSaveReading(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log := h.open(t)
		applied := 0
		count := func(s tally, e tidings.Event) (tally, error) { applied++; return applyTally(s, e) }
		a := eventlog.NewAggregate(log, "tally", count, eventlog.WithSnapshotEvery(10))
		_, err := log.AppendTo(t.Context(), a.Stream("1"), 0, make30()...)
		require.NoError(t, err)

		load := func(a *eventlog.Aggregate[tally]) (read int) {
			applied = 0
			state, version, err := a.Load(t.Context(), "1")
			require.NoError(t, err)
			require.EqualValues(t, version, state.Total, "each adds one")
			return applied
		}
		update := func(a *eventlog.Aggregate[tally]) {
			_, err := a.Update(t.Context(), "1", returning(Accepted{Total: 1}))
			require.NoError(t, err)
		}
		require.Equal(t, 30, load(a))
		update(a)
		require.Equal(t, 1, load(a))
		for range 9 {
			update(a)
		}
		require.Equal(t, 10, load(a))
		update(a) // stores that of version 40
		require.Equal(t, 1, load(a))

		// Another version of the snapshots, and back.
		next := eventlog.NewAggregate(log, "tally", count, eventlog.WithSnapshotEvery(10), eventlog.WithSnapshotVersion(2))
		require.Equal(t, 41, load(next))
		update(next)
		require.Equal(t, 1, load(next))
		require.Equal(t, 42, load(a))
		update(a)
		require.Equal(t, 1, load(a))

		// One that does not decode.
		h.exec(t, `UPDATE tidings_snapshots SET data = '{"total": 3, "clients": ["not", "a", "map"]}'`)
		require.Equal(t, 43, load(a))
		// No settings, no use.
		require.Equal(t, 43, load(eventlog.NewAggregate(log, "tally", count)))
	})
}

func make30() (events []tidings.Event) {
	for range 30 {
		events = append(events, Accepted{Total: 1})
	}
	return events
}
