package durable_test

import (
	"context"
	"database/sql"
	"errors"
	"log"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/tidings-go/tidings/durable"
)

// openSQLiteFile opens a database that many connections use at once.
func openSQLiteFile(file string) (*sql.DB, error) {
	path := url.URL{Path: filepath.ToSlash(file)} // in a URI a "#" or "?" has another meaning
	return sql.Open("sqlite", "file:"+path.EscapedPath()+
		"?_txlock=immediate"+ // a transaction takes the write lock when it begins
		"&_pragma=busy_timeout(10000)"+ // and waits up to 10 s for it
		"&_pragma=journal_mode(WAL)") // readers and the writer do not wait for each other
}

// openShop opens a database of the example's own, which has 100 copies of
// Middlemarch in stock.
func openShop() (db *sql.DB, cleanUp func()) {
	dir, err := os.MkdirTemp("", "shop")
	if err != nil {
		log.Fatal(err)
	}
	if db, err = openSQLiteFile(filepath.Join(dir, "shop.db")); err != nil {
		log.Fatal(err)
	}
	_, err = db.Exec(`
		CREATE TABLE stock (item TEXT PRIMARY KEY, copies INTEGER NOT NULL);
		INSERT INTO stock VALUES ('Middlemarch', 100)`)
	if err != nil {
		log.Fatal(err)
	}
	return db, func() {
		if err := errors.Join(db.Close(), os.RemoveAll(dir)); err != nil {
			log.Fatal(err)
		}
	}
}

func inStock(db *sql.DB) (copies int) {
	if err := db.QueryRow("SELECT copies FROM stock WHERE item = 'Middlemarch'").Scan(&copies); err != nil {
		log.Fatal(err)
	}
	return copies
}

// waitUntilDone waits until nothing is left to do.
func waitUntilDone(ctx context.Context, jobs *durable.Jobs) {
	waitFor(ctx, jobs, func(c durable.Counts) bool { return c.Waiting+c.Held+c.Running+c.Retrying == 0 })
}

// waitFor waits until it is so for every handler that has jobs.
func waitFor(ctx context.Context, jobs *durable.Jobs, isSo func(durable.Counts) bool) {
	for {
		counts, err := jobs.Counts(ctx)
		if err != nil {
			log.Fatal(err)
		}
		so := true
		for _, c := range counts {
			so = so && isSo(c)
		}
		if so {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}
