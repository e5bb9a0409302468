package eventlog_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"time"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
)

// A warehouse hears of orders.
type warehouse struct{ db *sql.DB }

// remember stores the last order of an item. It is idempotent: a second call writes
// the same values.
func (w *warehouse) remember(ctx context.Context, e OrderPlaced) error {
	_, err := w.db.ExecContext(ctx, `
		INSERT INTO last_orders (item, copies) VALUES (?, ?)
		ON CONFLICT (item) DO UPDATE SET copies = excluded.copies`, e.Item, e.Copies)
	return err
}

// reserve reduces the stock. It is not idempotent.
func (w *warehouse) reserve(ctx context.Context, e OrderPlaced) error {
	return tidings.InTx(ctx, w.db, nil, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE stock SET copies = copies - ? WHERE item = ?", e.Copies, e.Item)
		return err
	})
}

// The inbox makes a handler that counts take effect once for each event. Its
// InTx is a savepoint in the transaction of the inbox.
func ExampleLog_Inbox() {
	ctx := context.Background()
	db, cleanUp := openDatabase()
	defer cleanUp()
	_, err := db.Exec(`
		CREATE TABLE stock (item TEXT PRIMARY KEY, copies INTEGER NOT NULL);
		CREATE TABLE last_orders (item TEXT PRIMARY KEY, copies INTEGER NOT NULL);
		INSERT INTO stock VALUES ('Middlemarch', 100)`)
	if err != nil {
		log.Fatal(err)
	}

	var registry tidings.Registry
	tidings.Register[OrderPlaced](&registry, "orders.order_placed", 1)
	events, err := eventlog.Open(ctx, eventlog.SQLite(db), &registry)
	if err != nil {
		log.Fatal(err)
	}
	bus := tidings.New()
	w := &warehouse{db}
	tidings.Subscribe(bus, w.remember, tidings.Named("warehouse.remember"))
	tidings.Subscribe(bus, w.reserve, tidings.Named("warehouse.reserve"), events.Inbox())

	// An at-least-once transport may deliver an event twice.
	event := tidings.Stamp(ctx, OrderPlaced{Item: "Middlemarch", Copies: 2})
	for range 2 {
		for _, handler := range []string{"warehouse.remember", "warehouse.reserve"} {
			if err := bus.Deliver(ctx, handler, event); err != nil {
				log.Fatal(err)
			}
		}
	}

	var copies int
	if err := db.QueryRow("SELECT copies FROM stock").Scan(&copies); err != nil {
		log.Fatal(err)
	}
	fmt.Println(copies, "copies are left")
	// Output:
	// 98 copies are left
}

// Payments is another company's system. Like most of them it takes a key, and
// answers a second request that has the same one with the first result.
type Payments struct{ charged map[string]int }

func (p *Payments) Charge(_ context.Context, idempotencyKey string, amount int) error {
	if _, again := p.charged[idempotencyKey]; !again {
		p.charged[idempotencyKey] = amount
		fmt.Println("charged", amount)
	}
	return nil
}

type billing struct{ payments *Payments }

// charge may run twice, even with the inbox, if the process dies between the
// request and the commit. The event's ID is the same each time.
func (b *billing) charge(ctx context.Context, e OrderPlaced) error {
	return b.payments.Charge(ctx, e.EventID().String(), 12*e.Copies)
}

func ExampleLog_Inbox_otherSystems() {
	ctx, bus := context.Background(), tidings.New()
	b := &billing{&Payments{charged: map[string]int{}}}
	tidings.Subscribe(bus, b.charge, tidings.Named("billing.charge"))

	event := tidings.Stamp(ctx, OrderPlaced{Item: "Middlemarch", Copies: 2})
	fmt.Println(bus.Deliver(ctx, "billing.charge", event))
	fmt.Println(bus.Deliver(ctx, "billing.charge", event))
	// Output:
	// charged 24
	// <nil>
	// <nil>
}

// tidy is for a daily job.
func tidy(ctx context.Context, events *eventlog.Log) error {
	forgotten, err := events.ForgetHandledBefore(ctx, time.Now().AddDate(0, 0, -30))
	fmt.Println("forgotten:", forgotten)
	return err
}

func ExampleLog_ForgetHandledBefore() {
	ctx := context.Background()
	db, cleanUp := openDatabase()
	defer cleanUp()
	events, err := eventlog.Open(ctx, eventlog.SQLite(db), new(tidings.Registry))
	if err != nil {
		log.Fatal(err)
	}
	if err := tidy(ctx, events); err != nil {
		log.Fatal(err)
	}
	// Output:
	// forgotten: 0
}
