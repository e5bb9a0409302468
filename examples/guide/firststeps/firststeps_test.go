// Package firststeps_test holds the code of docs/first-steps.md.
package firststeps_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
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

// OrderShipped is published by shipping.
type OrderShipped struct {
	tidings.DomainEvent
	OrderID int64
}

// The module shipping. In a program it is a package, and the events are in
// another package, which both modules import.
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

// The module mail imports neither orders nor shipping.
func registerMail(bus *tidings.EventBus) {
	tidings.Subscribe(bus, func(_ context.Context, e OrderShipped) error {
		fmt.Println("mail: order", e.OrderID, "is on its way")
		return nil
	}, tidings.Named("mail.shipped"), tidings.Async())
}

// run shows the part of main that concerns the bus.
func run(ctx context.Context) error {
	bus := tidings.New()
	registerShipping(bus)
	registerMail(bus)

	if err := tidings.Publish(ctx, bus, OrderPlaced{OrderID: 1, Item: "Middlemarch"}); err != nil {
		return err
	}

	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return bus.Close(ctx) // refuses new events, and waits for running handlers and queued events
}

func Example_modules() {
	fmt.Println(run(context.Background()))
	// Output:
	// shipping Middlemarch
	// mail: order 1 is on its way
	// <nil>
}

// The first order is rolled back, so no handler runs. The second one commits.
func Example_transaction() {
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1) // each connection to :memory: would be another database
	if _, err := db.Exec("CREATE TABLE orders (item TEXT, copies INTEGER)"); err != nil {
		log.Fatal(err)
	}

	bus := tidings.New()
	tidings.Subscribe(bus, func(ctx context.Context, e OrderPlaced) error {
		var orders int
		err := db.QueryRowContext(ctx, "SELECT count(*) FROM orders").Scan(&orders)
		fmt.Printf("shipping: %q, order %d\n", e.Item, orders)
		return err
	})

	place := func(ctx context.Context, item string, copies int) error {
		return tidings.InTx(ctx, db, nil, func(ctx context.Context, tx *sql.Tx) error {
			if _, err := tx.ExecContext(ctx, "INSERT INTO orders VALUES (?, ?)", item, copies); err != nil {
				return err
			}
			if err := tidings.Publish(ctx, bus, OrderPlaced{Item: item}); err != nil {
				return err
			}
			if copies > 10 { // a check that comes after the event
				return errors.New("not enough in stock")
			}
			return nil
		})
	}
	fmt.Println("20 copies:", place(context.Background(), "Middlemarch", 20))
	fmt.Println(" 2 copies:", place(context.Background(), "Middlemarch", 2))
	// Output:
	// 20 copies: not enough in stock
	// shipping: "Middlemarch", order 1
	//  2 copies: <nil>
}

// openDatabase opens a file for concurrent requests.
func openDatabase(file string) (*sql.DB, error) {
	path := url.URL{Path: filepath.ToSlash(file)} // in a URI a "#" or "?" has another meaning
	return sql.Open("sqlite", "file:"+path.EscapedPath()+
		"?_txlock=immediate"+ // take the write lock when a transaction begins
		"&_pragma=busy_timeout(10000)"+ // wait up to 10 s for the lock
		"&_pragma=journal_mode(WAL)") // readers and the writer do not wait for each other
}

// Concurrent requests, each of which reads and then writes.
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
