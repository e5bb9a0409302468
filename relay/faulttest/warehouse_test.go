package faulttest_test

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
	"github.com/tidings-go/tidings/relay"
)

// A warehouse is a handler with a database, in a directory. The table effects
// has a row for each effect, and nothing but the inbox keeps a second one out of
// it. The file calls has a byte for each call of the handler.
type warehouse struct {
	dir string
	db  *sql.DB
}

func newWarehouse(t testing.TB) *warehouse {
	t.Helper()
	w := openWarehouse(t, t.TempDir())
	run(t, w.db, "CREATE TABLE effects (event_id TEXT NOT NULL, process TEXT NOT NULL)")
	_, err := eventlog.Open(t.Context(), eventlog.SQLite(w.db), newRegistry()) // for its inbox
	require.NoError(t, err)
	return w
}

func openWarehouse(t testing.TB, dir string) *warehouse {
	t.Helper()
	return &warehouse{dir, openDatabase(t, filepath.Join(dir, "warehouse.db"))}
}

// A plan is what a process of a warehouse is told.
type plan struct {
	Dir, Broker, Prefix string
	Process             string
	Timeout             time.Duration
	Workers             int
	Lasts               time.Duration // how long the handler takes
}

// work subscribes the handler, and starts. What it returns ends that.
func (w *warehouse) work(ctx context.Context, p plan) (stop func(context.Context) error, err error) {
	registry := newRegistry()
	log, err := eventlog.Open(ctx, eventlog.SQLite(w.db), registry)
	if err != nil {
		return nil, err
	}
	calls, err := os.OpenFile(filepath.Join(w.dir, "calls"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	r, err := relay.Open(ctx, p.Broker, registry, relay.WithPrefix(p.Prefix), relay.WithLogger(quiet))
	if err != nil {
		return nil, errors.Join(err, calls.Close())
	}
	stop = func(ctx context.Context) error { return errors.Join(r.Close(ctx), calls.Close()) }
	bus := tidings.New()
	note := func(ctx context.Context, e OrderPlaced) error {
		return tidings.InTx(ctx, w.db, nil, func(ctx context.Context, tx *sql.Tx) error {
			if _, err := tx.ExecContext(ctx, "INSERT INTO effects VALUES (?, ?)", e.EventID().String(), p.Process); err != nil {
				return err
			}
			if p.Lasts > 0 {
				<-time.After(p.Lasts)
			}
			return ctx.Err()
		})
	}
	count := func(next tidings.HandlerFunc) tidings.HandlerFunc {
		return func(ctx context.Context, d tidings.Delivery) error {
			if _, err := io.WriteString(calls, "."); err != nil {
				return err
			}
			return next(ctx, d)
		}
	}
	via := tidings.SubscribeOptions{
		tidings.Via(r), tidings.Timeout(p.Timeout), relay.Workers(max(1, p.Workers)), tidings.Attempts(1000),
		tidings.Backoff(func(int) time.Duration { return 100 * time.Millisecond }),
	}
	tidings.Subscribe(bus, note, tidings.Named("warehouse.note"), via, tidings.Middleware(count), log.Inbox())
	if err := r.Start(ctx); err != nil {
		return nil, errors.Join(err, stop(ctx))
	}
	return stop, nil
}

// workHere works in this process until the test ends.
func (w *warehouse) workHere(t *testing.T, p plan) {
	t.Helper()
	stop, err := w.work(t.Context(), p)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.NoError(t, stop(ctx))
	})
}

// A count is how often the handler was called and had its effect.
type count struct{ events, effects, calls int }

func (w *warehouse) count(t testing.TB) (c count) {
	t.Helper()
	require.NoError(t, w.db.QueryRowContext(t.Context(), "SELECT count(DISTINCT event_id), count(*) FROM effects").Scan(&c.events, &c.effects))
	info, err := os.Stat(filepath.Join(w.dir, "calls"))
	if !errors.Is(err, os.ErrNotExist) {
		require.NoError(t, err)
		c.calls = int(info.Size())
	}
	return c
}

// await waits until so many events have had an effect.
func (w *warehouse) await(t testing.TB, events int, patience time.Duration) {
	t.Helper()
	require.Eventually(t, func() bool { return w.count(t).events >= events }, patience, 50*time.Millisecond,
		"%d of %d events had an effect", w.count(t).events, events)
}

// require checks that each event that was placed had one effect, and no other
// event had any.
func (w *warehouse) require(t testing.TB, placed map[string]bool) {
	t.Helper()
	times := map[string]int{}
	for id := range texts(t, w.db, "SELECT event_id FROM effects") {
		times[id]++
	}
	for id, n := range times {
		require.True(t, placed[id], "the event %s had an effect and was never committed", id)
		require.Equal(t, 1, n, "the event %s had %d effects", id, n)
	}
	require.Len(t, times, len(placed))
}
