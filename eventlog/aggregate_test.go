package eventlog_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
)

// tally is the state of the aggregates of the tests.
type tally struct {
	Total   int64            `json:"total"`
	Clients map[string]int64 `json:"clients"`
}

var errImpossible = errors.New("impossible")

// applyTally changes the map that it got, as apply may.
func applyTally(s tally, event tidings.Event) (tally, error) {
	switch e := event.(type) {
	case Accepted:
		s.Total += e.Total
	case Created:
		if e.Client == "" {
			return s, errImpossible
		}
		if s.Clients == nil {
			s.Clients = map[string]int64{}
		}
		s.Clients[e.Client] = s.Total
	}
	return s, nil
}

func returning(events ...tidings.Event) func(context.Context, tally) ([]tidings.Event, error) {
	return func(context.Context, tally) ([]tidings.Event, error) { return events, nil }
}

func TestAggregateLoadsWhatWasDecided(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log := h.open(t)
		a := eventlog.NewAggregate(log, "tally", applyTally)
		ctx := t.Context()
		require.Equal(t, "tally/1", a.Stream("1"))

		state, version, err := a.Load(ctx, "1")
		require.NoError(t, err)
		require.Zero(t, state)
		require.Zero(t, version)

		state, err = a.Update(ctx, "1", returning(Accepted{Total: 5}, Created{Client: "c"}))
		require.NoError(t, err)
		require.Equal(t, tally{5, map[string]int64{"c": 5}}, state)
		state, err = a.Update(ctx, "1", func(_ context.Context, s tally) ([]tidings.Event, error) {
			require.Equal(t, tally{5, map[string]int64{"c": 5}}, s)
			return []tidings.Event{Accepted{Total: 2}}, nil
		})
		require.NoError(t, err)
		want := tally{7, map[string]int64{"c": 5}}
		require.Equal(t, want, state)

		state, err = a.Update(ctx, "1", returning())
		require.NoError(t, err)
		require.Equal(t, want, state, "nothing to do")

		state, version, err = a.Load(ctx, "1")
		require.NoError(t, err)
		require.Equal(t, want, state)
		require.EqualValues(t, 3, version)
		require.Len(t, streamOf(t, log, "tally/1"), 3)
	})
}

func TestAggregateRefuses(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log := h.open(t)
		a := eventlog.NewAggregate(log, "tally", applyTally)
		ctx := t.Context()

		_, _, err := a.Load(ctx, "")
		require.ErrorContains(t, err, "the id is empty")
		_, err = a.Update(ctx, "", returning(Accepted{}))
		require.ErrorContains(t, err, "the id is empty")
		_, err = a.Update(ctx, "1", nil)
		require.ErrorContains(t, err, "nil function")

		broken := errors.New("broken")
		_, err = a.Update(ctx, "1", func(context.Context, tally) ([]tidings.Event, error) { return acceptedOf("1"), broken })
		require.Equal(t, broken, err, "as it is")
		_, err = a.Update(ctx, "1", returning(Accepted{}, Created{}))
		require.ErrorIs(t, err, errImpossible)
		require.ErrorContains(t, err, "updating tally/1: version 2 would be clients.created")
		_, err = a.Update(ctx, "1", returning(Accepted{}, Unknown{}))
		require.ErrorIs(t, err, tidings.ErrUnregistered)
		require.Empty(t, all(t, log))

		// What is in the log all the same.
		_, err = log.AppendTo(ctx, "tally/1", eventlog.NoStream, Accepted{}, Created{})
		require.NoError(t, err)
		_, _, err = a.Load(ctx, "1")
		require.ErrorIs(t, err, errImpossible)
		require.ErrorContains(t, err, "loading tally/1: version 2, clients.created")
		h.exec(t, "UPDATE tidings_events SET type = 'gone' WHERE stream_version = 2")
		_, _, err = a.Load(ctx, "1")
		var decode *eventlog.DecodeError
		require.ErrorAs(t, err, &decode)
		require.ErrorIs(t, err, tidings.ErrUnregistered)
	})
}

func TestNewAggregateRefuses(t *testing.T) {
	t.Parallel()
	log := openSQLite(t).open(t)
	for _, tt := range []struct {
		reason string
		f      func()
	}{
		{"nil *Log", func() { eventlog.NewAggregate(nil, "a", applyTally) }},
		{"nil *Log or function", func() { eventlog.NewAggregate[tally](log, "a", nil) }},
		{`"" is not a valid name`, func() { eventlog.NewAggregate(log, "", applyTally) }},
		{`"a/b" is not a valid name`, func() { eventlog.NewAggregate(log, "a/b", applyTally) }},
		{"nil AggregateOption", func() { eventlog.NewAggregate(log, "a", applyTally, nil) }},
		{"SnapshotEvery(0)", func() { eventlog.WithSnapshotEvery(0) }},
		{"SnapshotVersion(0)", func() { eventlog.WithSnapshotVersion(0) }},
		{"RetryOnConflict(-1)", func() { eventlog.WithRetryOnConflict(-1) }},
		{"WithBus with a nil *tidin", func() { eventlog.WithBus(nil) }},
	} {
		func() {
			defer func() { require.Contains(t, fmt.Sprint(recover()), tt.reason) }()
			tt.f()
		}()
	}
}

func TestAggregateWhoseEventsWereDeleted(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log := h.open(t)
		ctx := t.Context()
		a := eventlog.NewAggregate(log, "tally", applyTally, eventlog.WithSnapshotEvery(5))
		plain := eventlog.NewAggregate(log, "tally", applyTally)
		next := eventlog.NewAggregate(log, "tally", applyTally, eventlog.WithSnapshotEvery(5), eventlog.WithSnapshotVersion(2))
		_, err := log.AppendTo(ctx, a.Stream("1"), 0, make30()...)
		require.NoError(t, err)
		_, err = a.Update(ctx, "1", returning(Accepted{Total: 1})) // with a snapshot of version 30
		require.NoError(t, err)

		h.exec(t, "DELETE FROM tidings_events WHERE stream_version <= 25")
		state, version, err := a.Load(ctx, "1")
		require.NoError(t, err)
		require.EqualValues(t, 31, state.Total)
		require.EqualValues(t, 31, version)
		for _, without := range []*eventlog.Aggregate[tally]{plain, next} {
			_, _, err = without.Load(ctx, "1")
			require.ErrorContains(t, err, "loading tally/1: its versions 1 to 25 have been deleted, and there is no snapshot to use in their place")
		}

		h.exec(t, "DELETE FROM tidings_events WHERE stream_version <= 30")
		state, err = a.Update(ctx, "1", returning(Accepted{Total: 1}))
		require.NoError(t, err)
		require.EqualValues(t, 32, state.Total)

		// All of them: the versions go on, and nothing begins anew.
		h.exec(t, "DELETE FROM tidings_events")
		version, err = log.StreamVersion(ctx, a.Stream("1"))
		require.NoError(t, err)
		require.EqualValues(t, 30, version, "the latest that is known")
		for _, without := range []*eventlog.Aggregate[tally]{plain, next} {
			_, _, err = without.Load(ctx, "1")
			require.ErrorContains(t, err, "its versions 1 to 30 have been deleted")
		}
		_, err = log.AppendTo(ctx, a.Stream("1"), eventlog.NoStream, acceptedOf("x")...)
		require.ErrorIs(t, err, eventlog.ErrConflict)
		state, err = a.Update(ctx, "1", returning(Accepted{Total: 5}))
		require.NoError(t, err)
		require.EqualValues(t, 35, state.Total)
		require.EqualValues(t, 31, streamOf(t, log, a.Stream("1"))[0].StreamVersion)

		// One in the middle.
		_, err = a.Update(ctx, "1", returning(make30()...))
		require.NoError(t, err)
		h.exec(t, "DELETE FROM tidings_events WHERE stream_version = 40")
		_, _, err = a.Load(ctx, "1")
		require.ErrorContains(t, err, "its versions 40 to 40 have been deleted")
	})
}

func TestAggregateConflict(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log := h.open(t)
		ctx := t.Context()
		patient := eventlog.NewAggregate(log, "tally", applyTally, eventlog.WithRetryOnConflict(2), eventlog.WithSnapshotEvery(1))
		hasty := eventlog.NewAggregate(log, "tally", applyTally)

		// overtaken loses to another writer that many times.
		overtaken := func(times int) (decide func(context.Context, tally) ([]tidings.Event, error), calls *int) {
			calls = new(int)
			return func(ctx context.Context, s tally) ([]tidings.Event, error) {
				if *calls++; *calls <= times {
					_, err := log.AppendTo(ctx, "tally/1", eventlog.AnyVersion, Accepted{Total: 100})
					require.NoError(t, err)
				}
				return []tidings.Event{Accepted{Total: 1}}, nil
			}, calls
		}
		decide, calls := overtaken(1)
		_, err := hasty.Update(ctx, "1", decide)
		require.ErrorIs(t, err, eventlog.ErrConflict)
		require.ErrorContains(t, err, "updating tally/1: the stream has changed: version 0 was expected, but it is at 1")
		require.Equal(t, 1, *calls)

		decide, calls = overtaken(2)
		state, err := patient.Update(ctx, "1", decide)
		require.NoError(t, err)
		require.Equal(t, 3, *calls)
		require.EqualValues(t, 301, state.Total)

		decide, calls = overtaken(3)
		_, err = patient.Update(ctx, "1", decide)
		require.ErrorIs(t, err, eventlog.ErrConflict)
		require.Equal(t, 3, *calls)

		// A conflict of decide's own is its business.
		own := fmt.Errorf("own: %w", eventlog.ErrConflict)
		called := 0
		_, err = patient.Update(ctx, "1", func(context.Context, tally) ([]tidings.Event, error) { called++; return nil, own })
		require.Equal(t, own, err)
		require.Equal(t, 1, called)

		// Inside a transaction there is no second try, and the first leaves
		// nothing, not even a snapshot.
		before := h.count(t, "SELECT count(*) FROM tidings_events")
		snapshots := h.count(t, "SELECT sum(stream_version) FROM tidings_snapshots")
		decide, calls = overtaken(1)
		require.NoError(t, h.inTx(ctx, func(ctx context.Context) error {
			_, err := patient.Update(ctx, "1", decide)
			require.ErrorIs(t, err, eventlog.ErrConflict)
			return nil
		}))
		require.Equal(t, 1, *calls)
		require.Equal(t, before+1, h.count(t, "SELECT count(*) FROM tidings_events"), "the other writer's, in the same transaction")
		require.Equal(t, snapshots, h.count(t, "SELECT sum(stream_version) FROM tidings_snapshots"))

		// Nor with a context that has ended.
		ended, cancel := context.WithCancel(ctx)
		called = 0
		_, err = patient.Update(ended, "1", func(context.Context, tally) ([]tidings.Event, error) {
			called++
			cancel()
			return acceptedOf("x"), nil
		})
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, 1, called)
	})
}

func TestAggregateConcurrently(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log := h.open(t)
		a := eventlog.NewAggregate(log, "tally", applyTally, eventlog.WithRetryOnConflict(1000), eventlog.WithSnapshotEvery(3))
		const capacity = 25
		full := errors.New("full")
		var mu sync.Mutex
		refused := 0
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 5 {
					_, err := a.Update(t.Context(), "1", func(_ context.Context, s tally) ([]tidings.Event, error) {
						if s.Total == capacity {
							return nil, full
						}
						return []tidings.Event{Accepted{Total: 1}}, nil
					})
					if errors.Is(err, full) {
						mu.Lock()
						refused++
						mu.Unlock()
					} else if err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		require.Equal(t, 8*5-capacity, refused)
		state, version, err := eventlog.NewAggregate(log, "tally", applyTally).Load(t.Context(), "1")
		require.NoError(t, err)
		require.EqualValues(t, capacity, state.Total)
		require.EqualValues(t, capacity, version)
	})
}

func TestAggregatePublishes(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		ctx := t.Context()
		a := eventlog.NewAggregate(log, "tally", applyTally, eventlog.WithBus(bus), eventlog.WithSnapshotEvery(1), eventlog.WithRetryOnConflict(3))
		refused := errors.New("refused")
		var handled []string
		tidings.Subscribe(bus, func(_ context.Context, e Accepted) error {
			handled = append(handled, e.Number)
			return nil
		})
		tidings.Subscribe(bus, func(ctx context.Context, e Accepted) error {
			if strings.HasPrefix(e.Number, "refused") {
				return refused
			}
			if e.Number == "1" { // another aggregate, in the same transaction
				_, err := a.Update(ctx, "other", returning(Created{Client: "by 1"}))
				return err
			}
			return nil
		}, tidings.InTransaction)

		_, err := a.Update(ctx, "1", returning(acceptedOf("1", "2")...))
		require.NoError(t, err)
		_, err = a.Update(ctx, "1", returning(acceptedOf("refused", "x")...))
		require.ErrorIs(t, err, refused)
		require.Zero(t, h.count(t, "SELECT count(*) FROM tidings_snapshots WHERE stream = 'tally/1'"))
		require.NoError(t, h.inTx(ctx, func(ctx context.Context) error {
			_, err := a.Update(ctx, "1", returning(acceptedOf("3")...))
			require.NoError(t, err)
			require.Equal(t, []string{"1", "2"}, handled, "the rest after the commit")
			_, err = a.Update(ctx, "1", returning(acceptedOf("refused")...))
			require.ErrorIs(t, err, refused)
			return nil
		}))
		require.Equal(t, []string{"1", "2", "3"}, handled)
		require.Equal(t, "1 2 3", numbers(streamOf(t, log, "tally/1")))
		require.Len(t, all(t, log), 4)
		by1 := streamOf(t, log, "tally/other")[0].Event
		require.Equal(t, streamOf(t, log, "tally/1")[0].Event.EventID(), by1.CausationID())
	})
}

// Noted has a field that is not stored.
type Noted struct {
	tidings.DomainEvent
	Text  string `json:"text"`
	Aside string `json:"-"`
}

// What Update returns is what Load will: the event as it is stored.
func TestAggregateAppliesWhatIsStored(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		registry := newRegistry()
		tidings.Register[Noted](registry, "notes.noted", 1)
		log, err := eventlog.Open(t.Context(), h.db, registry)
		require.NoError(t, err)
		a := eventlog.NewAggregate(log, "notes", func(s string, e tidings.Event) (string, error) {
			return s + e.(Noted).Text + e.(Noted).Aside, nil
		})
		updated, err := a.Update(t.Context(), "1", func(context.Context, string) ([]tidings.Event, error) {
			return []tidings.Event{Noted{Text: "stored", Aside: " and not"}}, nil
		})
		require.NoError(t, err)
		loaded, _, err := a.Load(t.Context(), "1")
		require.NoError(t, err)
		require.Equal(t, loaded, updated)
		require.Equal(t, "stored", loaded)
	})
}

// User code must not run while the log holds the only connection.
func TestAggregateWithOneConnection(t *testing.T) {
	t.Parallel()
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: filepath.ToSlash(filepath.Join(t.TempDir(), "log.db"))}).EscapedPath()+"?_txlock=immediate&_pragma=busy_timeout(5000)")
	require.NoError(t, err)
	db.SetMaxOpenConns(1)
	h := sqlHarness(t, "sqlite", "", db, eventlog.SQLite(db))
	log := h.open(t)
	ping := func() {
		_, err := db.ExecContext(t.Context(), "SELECT 1")
		require.NoError(t, err)
	}
	a := eventlog.NewAggregate(log, "tally", func(s tally, e tidings.Event) (tally, error) {
		ping()
		return applyTally(s, e)
	}, eventlog.WithSnapshotEvery(1))
	for range 3 {
		_, err := a.Update(t.Context(), "1", func(context.Context, tally) ([]tidings.Event, error) {
			ping()
			return acceptedOf("1"), nil
		})
		require.NoError(t, err)
	}
	for _, err := range log.ReadStream(t.Context(), "tally/1") {
		require.NoError(t, err)
		ping()
	}
}
