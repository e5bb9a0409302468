package main

import (
	"context"
	"database/sql"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/pharmacy/events"
	"github.com/tidings-go/tidings/internal/testport"
)

// hurry makes the server redeliver the events of a dead process after two seconds.
// A service that starts sets half a minute and more.
func hurry(t *testing.T, url string) {
	t.Helper()
	conn, err := nats.Connect(url)
	require.NoError(t, err)
	defer conn.Close()
	js, err := jetstream.New(conn)
	require.NoError(t, err)
	streams := js.ListStreams(t.Context())
	for info := range streams.Info() {
		stream, err := js.Stream(t.Context(), info.Config.Name)
		require.NoError(t, err)
		consumers := stream.ListConsumers(t.Context())
		for consumer := range consumers.Info() {
			consumer.Config.AckWait = 2 * time.Second
			_, err := stream.UpdateConsumer(t.Context(), consumer.Config)
			require.NoError(t, err)
		}
		require.NoError(t, consumers.Err())
	}
	require.NoError(t, streams.Err())
}

// counts are the counts of orders in the database of a service.
type counts struct{ picked, shipped, parcels, calls int }

func count(t *testing.T, db *sql.DB) (c counts) {
	t.Helper()
	require.NoError(t, db.QueryRowContext(t.Context(), `
		SELECT (SELECT coalesce(sum(boxes), 0) FROM picked),
		       (SELECT count(*) FROM shipments),
		       (SELECT count(*) FROM carrier_parcels),
		       (SELECT coalesce(sum(calls), 0) FROM carrier_parcels)`).
		Scan(&c.picked, &c.shipped, &c.parcels, &c.calls))
	return c
}

func openTestMonolith(t *testing.T, broker string) *monolith {
	t.Helper()
	m, err := openMonolith(t.Context(), filepath.Join(t.TempDir(), "monolith.db"), broker, "test.")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.close(context.Background())) })
	return m
}

// The fulfilment is killed while its handlers run, and starts again.
func TestKilled(t *testing.T) {
	t.Parallel()
	server, err := startNATS(t.TempDir(), 0)
	require.NoError(t, err)
	t.Cleanup(func() { stopNATS(server) })
	broker := server.ClientURL()
	file := filepath.Join(t.TempDir(), "fulfilment.db")
	serve := func() *process {
		p, err := startProcess(t.Context(), "-serve", "fulfilment", "-broker", broker, "-prefix", "test.", "-db", file)
		require.NoError(t, err)
		t.Cleanup(func() { _ = p.cmd.Process.Kill() })
		require.NoError(t, p.await("fulfilment: listening; Ctrl-C stops it"))
		hurry(t, broker)
		return p
	}

	service := serve()
	db, err := openDatabase(t.Context(), file, "")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	m := openTestMonolith(t, broker)
	require.NoError(t, m.start(t.Context()))
	// New orders are approved until it is killed, so that it always has work.
	var over atomic.Bool
	approved := make(chan int, 1)
	go func() {
		n := 60
		for err := m.approve(t.Context(), n); !over.Load() && assert.NoError(t, err); n++ {
			<-time.After(pace)
			err = m.approve(t.Context(), 1)
		}
		approved <- n
	}()
	stop := sync.OnceValue(func() int { over.Store(true); return <-approved })
	defer stop()

	require.Eventually(t, func() bool {
		if count(t, db).shipped < 5 {
			return false
		}
		// What it has done stays as it is while the test may write, and so it
		// is killed with what is seen here.
		tx, err := db.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		defer tx.Rollback()
		if c := count(t, db); c.parcels == c.shipped { // no handler waits for the carrier
			return false
		}
		require.NoError(t, service.kill())
		return true
	}, time.Minute, 5*time.Millisecond)
	killed := count(t, db)
	orders := stop()
	t.Logf("killed: %+v, of %d", killed, orders)
	require.Less(t, killed.shipped, orders)
	require.Greater(t, killed.parcels, killed.shipped)

	service = serve()
	require.Eventually(t, func() bool { // neither handler waits for the other
		c := count(t, db)
		return c.shipped == orders && c.picked == orders
	}, time.Minute, 20*time.Millisecond)
	_, err = service.stop()
	require.NoError(t, err)
	end := count(t, db)
	t.Logf("at the end: %+v", end)
	require.Equal(t, counts{orders, orders, orders, end.calls}, end)
	require.GreaterOrEqual(t, end.calls, orders+killed.parcels-killed.shipped, "the carrier is called again for those whose answer the dead process did not hear")
}

// The broker ends and starts again while orders are approved. The approvals do not
// fail.
func TestBrokerStops(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	port := testport.Reserve(t)
	server, err := startNATS(dir, port)
	require.NoError(t, err)
	defer func() { stopNATS(server) }()
	broker := server.ClientURL()
	m := openTestMonolith(t, broker)
	s, err := openService(t.Context(), filepath.Join(t.TempDir(), "fulfilment.db"), broker, "test.")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.close(context.Background())) })
	require.NoError(t, s.start(t.Context()))
	require.NoError(t, m.start(t.Context()))

	tally := func() string {
		line, err := m.tally(t.Context())
		require.NoError(t, err)
		return line
	}

	require.NoError(t, m.approve(t.Context(), 20))
	require.Eventually(t, func() bool { return strings.Contains(tally(), " 20 sent ") }, time.Minute, 20*time.Millisecond)
	stopNATS(server)
	require.NoError(t, m.approve(t.Context(), 5))
	require.Eventually(t, func() bool { // the outbox waits for the broker
		counts, err := m.jobs.Counts(t.Context())
		require.NoError(t, err)
		running := 0
		for _, c := range counts {
			running += c.Running
		}
		return running > 0
	}, time.Minute, 5*time.Millisecond)
	start := time.Now()
	require.NoError(t, m.approve(t.Context(), 15))
	require.Less(t, time.Since(start), 30*time.Second, "no commit waits for the broker")
	require.Equal(t, "40 orders ready, 20 sent to the broker, 20 to send", tally())

	again, err := startNATS(dir, port)
	require.NoError(t, err)
	server = again
	require.NoError(t, m.approve(t.Context(), 20))
	require.Eventually(t, func() bool { return count(t, s.db).shipped == 60 }, time.Minute, 20*time.Millisecond)
	require.Eventually(t, func() bool { return count(t, s.db).picked == 60 }, time.Minute, 20*time.Millisecond)
	require.Eventually(t, func() bool { return tally() == "60 orders ready, 60 sent to the broker, 0 to send" }, time.Minute, 20*time.Millisecond)
}

// Events that the monolith sends twice are picked and shipped once.
func TestDuplicates(t *testing.T) {
	t.Parallel()
	broker := "memory://" + t.Name()
	m := openTestMonolith(t, broker)
	s, err := openService(t.Context(), filepath.Join(t.TempDir(), "fulfilment.db"), broker, "test.")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.close(context.Background())) })
	require.NoError(t, s.start(t.Context()))
	require.NoError(t, m.start(t.Context()))
	var mu sync.Mutex
	var ready []events.OrderReadyForFulfillment
	recording := tidings.Subscribe(m.bus, func(_ context.Context, e events.OrderReadyForFulfillment) error {
		mu.Lock()
		defer mu.Unlock()
		ready = append(ready, e)
		return nil
	})
	require.NoError(t, m.approve(t.Context(), 5))
	recording.Unsubscribe()
	require.Len(t, ready, 5)
	for _, e := range ready {
		require.NoError(t, tidings.Publish(t.Context(), m.bus, e))
	}
	sent := func() string {
		line, err := m.tally(t.Context())
		require.NoError(t, err)
		return line
	}
	require.Eventually(t, func() bool { return sent() == "5 orders ready, 10 sent to the broker, 0 to send" }, time.Minute, 20*time.Millisecond)
	require.NoError(t, m.approve(t.Context(), 1)) // behind the others in the queue of fulfilment.pick
	require.Eventually(t, func() bool { return count(t, s.db).shipped == 6 }, time.Minute, 20*time.Millisecond)
	require.Eventually(t, func() bool {
		var last bool
		require.NoError(t, s.db.QueryRowContext(t.Context(),
			"SELECT EXISTS (SELECT * FROM journal WHERE handler = 'fulfilment.pick' AND order_id = 'O-6')").Scan(&last))
		return last
	}, time.Minute, 20*time.Millisecond)
	require.NoError(t, s.relay.Close(t.Context())) // the journal is ahead of the handler
	end := count(t, s.db)
	require.Equal(t, counts{6, 6, 6, end.calls}, end, "two workers may call the carrier for the same order at once")
}
