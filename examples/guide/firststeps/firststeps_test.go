// Package firststeps_test holds the code of docs/first-steps.md.
package firststeps_test

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/tidings-go/tidings"
)

type OrderPlaced struct {
	tidings.DomainEvent
	OrderID int64
	Item    string
}

func Example_firstEvent() {
	bus := tidings.New()
	tidings.Subscribe(bus, func(_ context.Context, e OrderPlaced) error {
		fmt.Println("shipping", e.Item)
		return nil
	})

	err := tidings.Publish(context.Background(), bus, OrderPlaced{OrderID: 1, Item: "Middlemarch"})
	fmt.Println(err)
	// Output:
	// shipping Middlemarch
	// <nil>
}

func Example_header() {
	bus := tidings.New()
	tidings.Subscribe(bus, func(_ context.Context, e OrderPlaced) error {
		fmt.Println("version of the ID:", e.EventID().Version())
		fmt.Println("this year or later:", e.OccurredAt().Year() >= 2025)
		fmt.Println("starts a workflow:", e.CorrelationID() == e.EventID())
		return nil
	})

	fmt.Println(tidings.Publish(context.Background(), bus, OrderPlaced{OrderID: 1}))
	// Output:
	// version of the ID: VERSION_7
	// this year or later: true
	// starts a workflow: true
	// <nil>
}

// OrderShipped is what shipping says in turn.
type OrderShipped struct {
	tidings.DomainEvent
	OrderID int64
}

// A shipping module. In a program it would be a package of its own, and the
// events one that both sides import.
type shipping struct {
	bus *tidings.EventBus
}

func registerShipping(bus *tidings.EventBus) {
	s := &shipping{bus}
	tidings.Subscribe(bus, s.ship, tidings.Named("shipping.ship"))
}

func (s *shipping) ship(ctx context.Context, e OrderPlaced) error {
	fmt.Println("shipping", e.Item)
	return tidings.Publish(ctx, s.bus, OrderShipped{OrderID: e.OrderID})
}

// A mail module, which knows of neither.
func registerMail(bus *tidings.EventBus) {
	tidings.Subscribe(bus, func(_ context.Context, e OrderShipped) error {
		fmt.Println("mail: order", e.OrderID, "is on its way")
		return nil
	}, tidings.Named("mail.shipped"), tidings.Async())
}

// run is main, as far as the bus is concerned.
func run(ctx context.Context) error {
	bus := tidings.New()
	registerShipping(bus)
	registerMail(bus)

	if err := tidings.Publish(ctx, bus, OrderPlaced{OrderID: 1, Item: "Middlemarch"}); err != nil {
		return err
	}

	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return bus.Close(ctx) // refuses new events, and waits for those that are under way
}

func Example_modules() {
	fmt.Println(run(context.Background()))
	// Output:
	// shipping Middlemarch
	// mail: order 1 is on its way
	// <nil>
}

// openDatabase opens a file that many requests use at once.
func openDatabase(file string) (*sql.DB, error) {
	path := url.URL{Path: filepath.ToSlash(file)} // in a URI a "#" or "?" has another meaning
	return sql.Open("sqlite", "file:"+path.EscapedPath()+
		"?_txlock=immediate"+ // a transaction takes the write lock when it begins
		"&_pragma=busy_timeout(10000)"+ // and waits up to 10 s for it
		"&_pragma=journal_mode(WAL)") // readers and the writer do not wait for each other
}

// Requests that come at once, each of which reads and then writes.
func TestRequestsAtOnce(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "100% #1?.db")
	db, err := openDatabase(file)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	_, err = db.ExecContext(t.Context(), "CREATE TABLE orders (item TEXT, number INTEGER)")
	require.NoError(t, err)
	require.FileExists(t, file)

	const requests = 40
	bus := tidings.New()
	var shipped atomic.Int64
	tidings.Subscribe(bus, func(context.Context, OrderPlaced) error { shipped.Add(1); return nil })
	failed := make(chan error, requests)
	var all sync.WaitGroup
	for range requests {
		all.Go(func() {
			err := tidings.InTx(t.Context(), db, nil, func(ctx context.Context, tx *sql.Tx) error {
				var number int64
				if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM orders").Scan(&number); err != nil {
					return err
				}
				if _, err := tx.ExecContext(ctx, "INSERT INTO orders VALUES ('Middlemarch', ?)", number); err != nil {
					return err
				}
				return tidings.Publish(ctx, bus, OrderPlaced{OrderID: number})
			})
			if err != nil {
				failed <- err
			}
		})
	}
	all.Wait()
	close(failed)
	for err := range failed {
		t.Errorf("a request fails: %v", err)
	}
	require.EqualValues(t, requests, shipped.Load())
}
