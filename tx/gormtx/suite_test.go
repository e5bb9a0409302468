package gormtx_test

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver pgx
	"github.com/ncruces/go-sqlite3/gormlite"
	"github.com/stretchr/testify/require"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
	_ "modernc.org/sqlite" // the driver sqlite

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/testdb"
	"github.com/tidings-go/tidings/tx/gormtx"
)

// InvoiceIssued is the event of all tests.
type InvoiceIssued struct {
	tidings.DomainEvent
	Number string `json:"number"`
}

// An Invoice has payments. Its hooks publish if the context says so, see hooked.
type Invoice struct {
	ID       int64
	Number   string
	Payments []Payment
}

type Payment struct {
	ID        int64
	InvoiceID int64
}

// COMMIT checks payments.invoice_id, so that a test can make it fail.
const tables = `
	CREATE TABLE invoices (id SERIAL PRIMARY KEY, number TEXT NOT NULL UNIQUE);
	CREATE TABLE payments (id SERIAL PRIMARY KEY, invoice_id BIGINT REFERENCES invoices (id) DEFERRABLE INITIALLY DEFERRED)`

// A kind is a database.
type kind struct {
	name string
	// open returns a new database with the tables, through a pool of one connection, and
	// another pool for it.
	open      func(t *testing.T) (db, observer *sql.DB)
	dialector func(*sql.DB) gorm.Dialector
}

var (
	onSQLite = kind{"SQLite", func(t *testing.T) (db, observer *sql.DB) {
		// A writer waits at BEGIN for other writers. Readers do not wait.
		dsn := testdb.SQLite(filepath.Join(t.TempDir(), "test.db"), "_txlock=immediate", "_pragma=foreign_keys(1)")
		db, observer = openSQL(t, "sqlite", dsn), openSQL(t, "sqlite", dsn)
		_, err := db.Exec(strings.ReplaceAll(tables, "SERIAL", "INTEGER"))
		require.NoError(t, err)
		return db, observer
	}, func(db *sql.DB) gorm.Dialector { return gormlite.OpenDB(db) }}

	onPostgres = kind{"Postgres", func(t *testing.T) (db, observer *sql.DB) {
		dsn := testdb.Postgres(t) + "&synchronous_commit=off" // faster, and the tests do not depend on it
		db, observer = openSQL(t, "pgx", dsn), openSQL(t, "pgx", dsn)
		for statement := range strings.SplitSeq(tables, ";") {
			_, err := db.Exec(statement)
			require.NoError(t, err)
		}
		return db, observer
	}, func(db *sql.DB) gorm.Dialector { return postgres.New(postgres.Config{Conn: db}) }}
)

// openSQL opens a pool of one connection: what runs before the connection is given back,
// and needs another, hangs.
func openSQL(t *testing.T, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	require.NoError(t, err)
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// A fixture is a database with a bus, and what happened on it.
type fixture struct {
	kind
	config   gorm.Config
	sql      *sql.DB
	db       *gorm.DB
	observer *sql.DB
	bus      *tidings.EventBus

	mu        sync.Mutex
	delivered []string // by AfterCommit handlers
	dropped   []string // by AfterRollback handlers
	failed    []error  // reported
}

func newFixture(t *testing.T, on kind, config gorm.Config) *fixture {
	t.Helper()
	config.Logger = logger.Discard
	f := &fixture{kind: on, config: config}
	f.sql, f.observer = on.open(t)
	f.db = f.gorm(t, f.sql)
	f.bus = tidings.New(tidings.WithErrorHandler(func(_ context.Context, err error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.failed = append(f.failed, err)
	}))
	note := func(to *[]string) func(context.Context, InvoiceIssued) error {
		return func(_ context.Context, e InvoiceIssued) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			*to = append(*to, e.Number)
			return nil
		}
	}
	tidings.Subscribe(f.bus, note(&f.delivered))
	tidings.Subscribe(f.bus, note(&f.dropped), tidings.AfterRollback)
	t.Cleanup(func() { require.NoError(t, f.bus.Close(context.Background())) })
	return f
}

// gorm opens db with the settings of f.
func (f *fixture) gorm(t *testing.T, db *sql.DB) *gorm.DB {
	t.Helper()
	config := f.config
	opened, err := gorm.Open(f.dialector(db), &config)
	require.NoError(t, err)
	return opened
}

// inTx is gormtx.InTx on the database of f.
func (f *fixture) inTx(ctx context.Context, fn func(ctx context.Context, tx *gorm.DB) error) error {
	return gormtx.InTx(ctx, f.db, nil, fn)
}

// transact is tidings.Transact on the database of f.
func (f *fixture) transact(ctx context.Context, fn func(ctx context.Context) error) error {
	return tidings.Transact(ctx, gormtx.Transactor(f.db), fn)
}

// issue inserts an invoice in tx, and publishes its event with ctx.
func (f *fixture) issue(ctx context.Context, tx *gorm.DB, number string) error {
	if err := tx.Create(&Invoice{Number: number}).Error; err != nil {
		return err
	}
	return tidings.Publish(ctx, f.bus, InvoiceIssued{Number: number})
}

// stored returns the invoices that are committed.
func (f *fixture) stored(t *testing.T) (numbers []string) {
	t.Helper()
	rows, err := f.observer.Query("SELECT number FROM invoices ORDER BY id")
	require.NoError(t, err)
	defer rows.Close()
	for rows.Next() {
		var number string
		require.NoError(t, rows.Scan(&number))
		numbers = append(numbers, number)
	}
	require.NoError(t, rows.Err())
	return numbers
}

// requireCommitted checks that these invoices are stored and delivered, and no others.
func (f *fixture) requireCommitted(t *testing.T, numbers ...string) {
	t.Helper()
	require.Equal(t, numbers, f.stored(t), "rows")
	require.Equal(t, numbers, f.delivered, "events")
	require.Empty(t, f.failed)
}

func (f *fixture) requireDropped(t *testing.T, numbers ...string) {
	t.Helper()
	require.Equal(t, numbers, f.dropped, "AfterRollback handlers")
}

// nests reports whether tx.Transaction of GORM sets savepoints.
func (f *fixture) nests() bool { return !f.config.DisableNestedTransaction }

var errChangedMind = errors.New("changed my mind")

// A test is run with each database and each setting of GORM that changes how it runs
// transactions.
type test struct {
	name string
	run  func(t *testing.T, f *fixture)
}

func run(t *testing.T, tests []test) {
	t.Parallel()
	for _, on := range []kind{onSQLite, onPostgres} {
		for _, c := range []struct {
			name   string
			config gorm.Config
		}{
			{"none", gorm.Config{}},
			{"PrepareStmt", gorm.Config{PrepareStmt: true}},
			{"SkipDefaultTransaction", gorm.Config{SkipDefaultTransaction: true}},
			{"DisableNestedTransaction", gorm.Config{DisableNestedTransaction: true}},
		} {
			t.Run(on.name+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				if on.name == onPostgres.name {
					testdb.Server(t)
				}
				for _, tt := range tests {
					t.Run(tt.name, func(t *testing.T) {
						t.Parallel()
						tt.run(t, newFixture(t, on, c.config))
					})
				}
			})
		}
	}
}
