package wiring

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
	"github.com/tidings-go/tidings/examples/guide/scaling/events"
	"github.com/tidings-go/tidings/examples/guide/scaling/orders"
	"github.com/tidings-go/tidings/examples/guide/scaling/shipping"
	"github.com/tidings-go/tidings/relay"
)

func openDatabase(t *testing.T) *sql.DB {
	t.Helper()
	path := url.URL{Path: filepath.ToSlash(filepath.Join(t.TempDir(), "shop.db"))}
	db, err := sql.Open("sqlite", "file:"+path.EscapedPath()+
		"?_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	_, err = db.ExecContext(t.Context(), orders.Schema+shipping.Schema+`INSERT INTO shelf VALUES ('Middlemarch', 100);`)
	require.NoError(t, err)
	return db
}

// An order is logged, both durable handlers run, and another program receives the
// event that leaves this one.
func TestRun(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	db, broker := openDatabase(t), "memory://wiring"

	var registry tidings.Registry
	events.Register(&registry)
	other, err := relay.Open(ctx, broker, &registry)
	require.NoError(t, err)
	otherBus := tidings.New()
	sent := make(chan events.ParcelSent, 1)
	tidings.Subscribe(otherBus, func(_ context.Context, e events.ParcelSent) error {
		sent <- e
		return nil
	}, tidings.Named("mail.sent"), tidings.Via(other))
	services := tidings.Services{otherBus, other}
	require.NoError(t, services.Start(ctx))
	defer func() { require.NoError(t, services.Close(ctx)) }()

	err = run(ctx, db, broker, func(ctx context.Context, shop *orders.Orders) error {
		if err := shop.Place(ctx, 1, "Middlemarch", 2); err != nil {
			return err
		}
		select {
		case e := <-sent:
			require.EqualValues(t, 1, e.OrderID)
		case <-ctx.Done():
			return ctx.Err()
		}
		require.Eventually(t, func() bool {
			var n int
			require.NoError(t, db.QueryRowContext(ctx, "SELECT count(*) FROM orders WHERE sent").Scan(&n))
			return n == 1
		}, time.Minute, 10*time.Millisecond)
		return nil
	})
	require.NoError(t, err)

	log, err := eventlog.Open(ctx, eventlog.SQLite(db), &registry)
	require.NoError(t, err)
	var types []string
	for record, err := range log.Read(ctx) {
		require.NoError(t, err)
		types = append(types, record.Envelope.Type)
	}
	require.Equal(t, []string{"orders.order_placed", "shipping.parcel_sent"}, types)
}

// What fails after the parts were opened closes them.
func TestRunFails(t *testing.T) {
	t.Parallel()
	errServe := errors.New("the port is taken")
	db := openDatabase(t)
	for range 2 { // again, on what the first run has left
		err := run(t.Context(), db, "memory://"+t.Name(), func(context.Context, *orders.Orders) error { return errServe })
		require.Equal(t, errServe.Error(), err.Error())
	}
	require.Error(t, run(t.Context(), db, "gopher://nowhere", func(context.Context, *orders.Orders) error { return nil }))
}
