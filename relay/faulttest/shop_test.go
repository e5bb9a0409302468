package faulttest_test

import (
	"context"
	"database/sql"
	"log/slog"
	"net/url"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
	"github.com/tidings-go/tidings/relay"
)

// OrderPlaced is the event of these tests.
type OrderPlaced struct {
	tidings.DomainEvent
	Number int64
}

func newRegistry() *tidings.Registry {
	var r tidings.Registry
	tidings.Register[OrderPlaced](&r, "shop.order_placed", 1)
	return &r
}

// quiet drops what is logged: here everything fails on purpose.
var quiet = slog.New(slog.DiscardHandler)

// A shop places orders. A row of its table and the job that sends the event
// commit together.
type shop struct {
	db       *sql.DB
	bus      *tidings.EventBus
	reported atomic.Int64 // events that the bus said were not accepted
}

// openShop opens a shop that sends its events by way of an outbox or, without
// one, at once.
func openShop(t *testing.T, brokerURL, prefix string, outbox bool) *shop {
	t.Helper()
	s := &shop{db: openDatabase(t, filepath.Join(t.TempDir(), "shop.db"))}
	s.bus = tidings.New(tidings.WithErrorHandler(func(context.Context, error) { s.reported.Add(1) }))
	run(t, s.db, "CREATE TABLE orders (number INTEGER PRIMARY KEY, event_id TEXT NOT NULL)")
	r, err := relay.Open(t.Context(), brokerURL, newRegistry(), relay.WithPrefix(prefix), relay.WithLogger(quiet))
	require.NoError(t, err)
	t.Cleanup(func() { closeRelay(t, r) })
	if !outbox {
		relay.Forward[OrderPlaced](s.bus, r)
		return s
	}
	migrator, err := rivermigrate.New(riversqlite.New(s.db), &rivermigrate.Config{Logger: quiet})
	require.NoError(t, err)
	_, err = migrator.Migrate(t.Context(), rivermigrate.DirectionUp, nil)
	require.NoError(t, err)
	config := durable.Configure(&river.Config{
		Queues:            map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 20}},
		FetchCooldown:     10 * time.Millisecond,
		FetchPollInterval: 50 * time.Millisecond,
		Logger:            quiet,
	})
	client, err := river.NewClient(riversqlite.New(s.db), config)
	require.NoError(t, err)
	jobs, err := durable.New(client, config.Workers, tidings.SQL(s.db), newRegistry(), durable.WithLogger(quiet))
	require.NoError(t, err)
	require.NoError(t, jobs.Migrate(t.Context()))
	relay.Forward[OrderPlaced](s.bus, r, tidings.Via(jobs), durable.Outside(), tidings.Attempts(1000),
		tidings.Backoff(func(int) time.Duration { return 200 * time.Millisecond }))
	require.NoError(t, jobs.Start(t.Context()))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.NoError(t, jobs.Close(ctx))
	})
	return s
}

// place places orders, each in a transaction and with an event, which it
// publishes so many times.
func (s *shop) place(t *testing.T, first, n, times int) {
	t.Helper()
	for number := first; number < first+n; number++ {
		err := tidings.InTx(t.Context(), s.db, nil, func(ctx context.Context, tx *sql.Tx) error {
			e := tidings.Stamp(ctx, OrderPlaced{Number: int64(number)})
			if _, err := tx.ExecContext(ctx, "INSERT INTO orders VALUES (?, ?)", number, e.EventID().String()); err != nil {
				return err
			}
			for range times {
				if err := tidings.Publish(ctx, s.bus, e); err != nil {
					return err
				}
			}
			return nil
		})
		require.NoError(t, err)
	}
}

// placed returns the IDs of the events of all orders.
func (s *shop) placed(t *testing.T) map[string]bool {
	t.Helper()
	ids := map[string]bool{}
	for id := range texts(t, s.db, "SELECT event_id FROM orders") {
		ids[id] = true
	}
	return ids
}

func openDatabase(t testing.TB, file string) *sql.DB {
	t.Helper()
	settings := url.Values{"_txlock": {"immediate"}, "_pragma": {"busy_timeout(60000)", "journal_mode(WAL)", "synchronous(NORMAL)"}}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: filepath.ToSlash(file)}).EscapedPath()+"?"+settings.Encode())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

func run(t testing.TB, db *sql.DB, query string, args ...any) {
	t.Helper()
	_, err := db.ExecContext(t.Context(), query, args...)
	require.NoError(t, err)
}

func texts(t testing.TB, db *sql.DB, query string) func(func(string) bool) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query)
	require.NoError(t, err)
	var all []string
	for rows.Next() {
		var s string
		require.NoError(t, rows.Scan(&s))
		all = append(all, s)
	}
	require.NoError(t, rows.Err())
	return func(yield func(string) bool) {
		for _, s := range all {
			if !yield(s) {
				return
			}
		}
	}
}

func closeRelay(t testing.TB, r *relay.Relay) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	require.NoError(t, r.Close(ctx))
}
