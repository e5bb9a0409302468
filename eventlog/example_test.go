package eventlog_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"net/url"
	"os"
	"path/filepath"

	_ "modernc.org/sqlite"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
)

type OrderPlaced struct {
	tidings.DomainEvent
	Item   string `json:"item"`
	Copies int    `json:"copies"`
}

// What is published in a transaction is in the log if, and only if, the
// transaction commits.
func Example() {
	ctx := context.Background()
	db, cleanUp := openDatabase()
	defer cleanUp()

	var registry tidings.Registry
	tidings.Register[OrderPlaced](&registry, "orders.order_placed", 1)

	events, err := eventlog.Open(ctx, eventlog.SQLite(db), &registry)
	if err != nil {
		log.Fatal(err)
	}
	bus := tidings.New()
	events.Attach(bus)

	place := func(item string, copies int) error {
		return tidings.InTx(ctx, db, nil, func(ctx context.Context, tx *sql.Tx) error {
			if err := tidings.Publish(ctx, bus, OrderPlaced{Item: item, Copies: copies}); err != nil {
				return err
			}
			if copies > 10 {
				return errors.New("not enough on the shelf")
			}
			return nil
		})
	}
	fmt.Println("20 copies:", place("Middlemarch", 20))
	fmt.Println(" 2 copies:", place("Middlemarch", 2))

	for recorded, err := range events.Read(ctx, eventlog.Types("orders.order_placed")) {
		if err != nil {
			log.Fatal(err)
		}
		e := recorded.Event.(OrderPlaced)
		fmt.Println("in the log:", e.Copies, e.Item)
	}
	// Output:
	// 20 copies: not enough on the shelf
	//  2 copies: <nil>
	// in the log: 2 Middlemarch
}

// openDatabase opens a new SQLite file, for the examples.
func openDatabase() (db *sql.DB, cleanUp func()) {
	dir, err := os.MkdirTemp("", "eventlog-")
	if err != nil {
		log.Fatal(err)
	}
	path := url.URL{Path: filepath.ToSlash(filepath.Join(dir, "app.db"))}
	db, err = sql.Open("sqlite", "file:"+path.EscapedPath()+"?_txlock=immediate&_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)")
	if err != nil {
		log.Fatal(err)
	}
	return db, func() {
		_ = db.Close()
		_ = os.RemoveAll(dir)
	}
}
