package scaling

import (
	"context"
	"database/sql"
	"log/slog"
	"net/url"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
	"github.com/tidings-go/tidings/eventlog"
	"github.com/tidings-go/tidings/examples/guide/scaling/events"
	"github.com/tidings-go/tidings/examples/guide/scaling/orders"
	"github.com/tidings-go/tidings/examples/guide/scaling/shipping"
	"github.com/tidings-go/tidings/relay"
)

// A process has the parts of one program of the guide. The channel ended gets
// the name of each handler that has returned.
type process struct {
	db    *sql.DB
	bus   *tidings.EventBus
	jobs  *durable.Jobs
	relay *relay.Relay
	ended chan string
}

// newBroker returns the URL of a new broker in memory, which lasts as long as the
// test program.
func newBroker() string { return "memory://" + uuid.NewString() }

func newProcess(t *testing.T, brokerURL, schema string) *process {
	t.Helper()
	return newProcessOn(t, brokerURL, openDatabase(t, schema))
}

// newProcessOn is newProcess with a database that another process uses too.
func newProcessOn(t *testing.T, brokerURL string, db *sql.DB) *process {
	t.Helper()
	p := &process{db: db, ended: make(chan string, 100)}
	p.bus = tidings.New(tidings.WithMiddleware(func(next tidings.HandlerFunc) tidings.HandlerFunc {
		return func(ctx context.Context, d tidings.Delivery) error {
			err := next(ctx, d)
			if err == nil {
				p.ended <- d.Handler()
			}
			return err
		}
	}))
	var registry tidings.Registry
	events.Register(&registry)
	config := durable.Configure(&river.Config{
		Queues:            map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 2}},
		FetchCooldown:     5 * time.Millisecond,
		FetchPollInterval: 20 * time.Millisecond,
		Logger:            slog.New(slog.DiscardHandler),
	})
	client, err := river.NewClient(riversqlite.New(p.db), config)
	require.NoError(t, err)
	p.jobs, err = durable.New(client, config.Workers, tidings.SQL(p.db), &registry)
	require.NoError(t, err)
	require.NoError(t, p.jobs.Migrate(t.Context()))
	p.relay, err = relay.Open(t.Context(), brokerURL, &registry)
	require.NoError(t, err)
	return p
}

// start runs the process until stop is called or the test ends. When stop
// returns, the work of its handlers is committed.
func (p *process) start(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	result := make(chan error, 1)
	go func() { result <- run(ctx, p.bus, p.jobs, p.relay) }()
	stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-result)
	})
	t.Cleanup(stop)
	return stop
}

// await waits until a handler has returned n times.
func (p *process) await(t *testing.T, handler string, n int) {
	t.Helper()
	limit := time.After(time.Minute)
	for n > 0 {
		select {
		case name := <-p.ended:
			if name == handler {
				n--
			}
		case <-limit:
			require.FailNow(t, "a handler did not run", handler)
		}
	}
}

func (p *process) shelf(t *testing.T) (copies int) {
	t.Helper()
	require.NoError(t, p.db.QueryRow("SELECT copies FROM shelf").Scan(&copies))
	return copies
}

func (p *process) sent(t *testing.T) (n int) {
	t.Helper()
	require.NoError(t, p.db.QueryRow("SELECT count(*) FROM orders WHERE sent").Scan(&n))
	return n
}

func openDatabase(t *testing.T, schema string) *sql.DB {
	t.Helper()
	path := url.URL{Path: filepath.ToSlash(filepath.Join(t.TempDir(), "shop.db"))}
	db, err := sql.Open("sqlite", "file:"+path.EscapedPath()+
		"?_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	migrator, err := rivermigrate.New(riversqlite.New(db), &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	_, err = migrator.Migrate(t.Context(), rivermigrate.DirectionUp, nil)
	require.NoError(t, err)
	_, err = db.ExecContext(t.Context(), schema)
	require.NoError(t, err)
	return db
}

const stock = `INSERT INTO shelf VALUES ('Middlemarch', 100);`

func TestPlain(t *testing.T) {
	t.Parallel()
	p := newProcess(t, newBroker(), orders.Schema+shipping.Schema+stock)
	require.NoError(t, plain(p.bus, p.db).Place(t.Context(), 1, "Middlemarch", 2))
	require.Equal(t, 98, p.shelf(t))
	require.Equal(t, 1, p.sent(t))
}

func TestStored(t *testing.T) {
	t.Parallel()
	p := newProcess(t, newBroker(), orders.Schema+shipping.Schema+stock)
	shop := stored(p.bus, p.db, p.jobs)
	stop := p.start(t)
	require.NoError(t, shop.Place(t.Context(), 1, "Middlemarch", 2))
	p.await(t, "orders.mark_sent", 1)
	stop()
	require.Equal(t, 98, p.shelf(t))
	require.Equal(t, 1, p.sent(t))
}

func TestRelayed(t *testing.T) {
	t.Parallel()
	const n = 20
	broker := newBroker()
	first := newProcess(t, broker, orders.Schema+shipping.Schema+stock)
	second := newProcessOn(t, broker, first.db)
	var shop *orders.Orders
	for _, p := range []*process{second, first} {
		log, err := eventlog.Open(t.Context(), eventlog.SQLite(p.db), new(tidings.Registry))
		require.NoError(t, err)
		shop = relayed(p.bus, p.db, p.relay, log)
		require.NoError(t, p.relay.Start(t.Context()))
		t.Cleanup(func() { require.NoError(t, p.relay.Close(context.WithoutCancel(t.Context()))) })
	}
	for id := range int64(n) {
		require.NoError(t, shop.Place(t.Context(), id, "Middlemarch", 1))
	}
	handled := 0
	for limit := time.After(time.Minute); handled < n; {
		var name string
		select {
		case name = <-first.ended:
		case name = <-second.ended:
		case <-limit:
			require.FailNow(t, "an order was not marked as sent")
		}
		if name == "orders.mark_sent" {
			handled++
		}
	}
	require.Equal(t, 100-n, first.shelf(t))
	require.Equal(t, n, first.sent(t))
}

// newPrograms returns the shop and the module shipping as two programs.
func newPrograms(t *testing.T) (m, s *process) {
	t.Helper()
	broker := newBroker()
	m = newProcess(t, broker, orders.Schema)
	s = newProcess(t, broker, shipping.Schema+stock)
	log, err := eventlog.Open(t.Context(), eventlog.SQLite(s.db), new(tidings.Registry))
	require.NoError(t, err)
	service(s.bus, s.db, s.jobs, s.relay, log)
	return m, s
}

func TestTwoPrograms(t *testing.T) {
	t.Parallel()
	m, s := newPrograms(t)
	shop := monolith(m.bus, m.db, m.jobs, m.relay)
	stopService := s.start(t) // first, so that the broker has its queue
	stopShop := m.start(t)

	require.NoError(t, shop.Place(t.Context(), 1, "Middlemarch", 2))
	m.await(t, "orders.mark_sent", 1)
	require.Equal(t, 98, s.shelf(t))

	// With the inbox, an event that is sent twice takes effect once.
	twice := tidings.Stamp(t.Context(), events.OrderPlaced{OrderID: 2, Item: "Middlemarch", Copies: 5})
	for range 2 {
		require.NoError(t, tidings.Publish(t.Context(), m.bus, twice))
	}
	s.await(t, "shipping.pack", 3)
	stopService()
	stopShop()
	require.Equal(t, 93, s.shelf(t))
	require.Equal(t, 1, m.sent(t))
}

func TestMoving(t *testing.T) {
	t.Parallel()
	m, s := newPrograms(t)
	// The previous release stored a job, and no worker ran it.
	older := newProcessOn(t, newBroker(), m.db)
	require.NoError(t, stored(older.bus, older.db, older.jobs).Place(t.Context(), 1, "Middlemarch", 2))

	shop := moving(m.bus, m.db, m.jobs, m.relay)
	s.start(t)
	m.start(t)
	require.NoError(t, shop.Place(t.Context(), 2, "Middlemarch", 5))
	m.await(t, "orders.mark_sent", 2)
	require.Equal(t, 93, s.shelf(t), "both orders have reached the service")
}
