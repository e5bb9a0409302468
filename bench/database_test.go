package bench_test

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite" // the driver sqlite

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
	"github.com/tidings-go/tidings/eventlog/pgxlog"
	"github.com/tidings-go/tidings/tx/pgxtx"
)

// service returns the URL of a server, which the variable has. Without one the
// benchmark is skipped, and says so also where package testing does not.
func service(b *testing.B, variable string) string {
	text := os.Getenv(variable)
	if text == "" {
		why := "no server: " + variable + ` is not set: scripts/services up, then eval "$(scripts/services env)"`
		if os.Getenv("TIDINGS_REQUIRE_SERVICES") == "1" {
			b.Fatal(why)
		}
		fmt.Fprintln(os.Stderr, "SKIPPED,", b.Name(), why)
		b.SkipNow()
	}
	return text
}

// openPostgres opens a pool whose connections use a new schema.
func openPostgres(b *testing.B) *pgxpool.Pool {
	ctx := context.Background()
	config := must(pgxpool.ParseConfig(service(b, "TIDINGS_POSTGRES_URL")))
	schema := fmt.Sprintf("bench_%d_%d", os.Getpid(), time.Now().UnixNano())
	config.ConnConfig.RuntimeParams["search_path"] = schema
	config.MaxConns = mostConns
	pool := must(pgxpool.NewWithConfig(ctx, config))
	must(pool.Exec(ctx, "CREATE SCHEMA "+schema))
	b.Cleanup(func() {
		must(pool.Exec(ctx, "DROP SCHEMA "+schema+" CASCADE"))
		pool.Close()
	})
	return pool
}

// A database is a new one, with the tables of the log, seen through one driver.
type database[TTx any] struct {
	postgres bool
	log      eventlog.Database
	sql      *sql.DB // of SQLite, or of Postgres
	pool     *pgxpool.Pool
	inTx     tidings.TxFunc // a transaction of tidings
	// bare runs fn in a transaction, as one does without tidings.
	bare func(ctx context.Context, fn func(TTx) error) error
	exec func(ctx context.Context, tx TTx, query string, args ...any) error
}

func onSQLite(synchronous string) func(*testing.B) *database[*sql.Tx] {
	return func(b *testing.B) *database[*sql.Tx] {
		source := url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(filepath.Join(b.TempDir(), "bench.db")), RawQuery: url.Values{
			"_txlock": {"immediate"},
			"_pragma": {"journal_mode(WAL)", "synchronous(" + synchronous + ")", "busy_timeout(5000)"},
		}.Encode()}
		db := must(sql.Open("sqlite", source.String()))
		b.Cleanup(func() { check(db.Close()) })
		db.SetMaxOpenConns(mostConns)
		db.SetMaxIdleConns(mostConns) // as a pool of pgx keeps them
		return onSQL(&database[*sql.Tx]{sql: db, log: eventlog.SQLite(db)})
	}
}

// onStdlib is Postgres through database/sql.
func onStdlib(b *testing.B) *database[*sql.Tx] {
	pool := openPostgres(b)
	db := stdlib.OpenDBFromPool(pool)
	b.Cleanup(func() { check(db.Close()) })
	return onSQL(&database[*sql.Tx]{postgres: true, sql: db, pool: pool, log: eventlog.Postgres(db)})
}

func onSQL(d *database[*sql.Tx]) *database[*sql.Tx] {
	check(eventlog.Migrate(context.Background(), d.log))
	d.inTx = func(ctx context.Context, body func(context.Context) error) error {
		return tidings.InTx(ctx, d.sql, nil, func(ctx context.Context, _ *sql.Tx) error { return body(ctx) })
	}
	d.bare = func(ctx context.Context, fn func(*sql.Tx) error) error {
		tx, err := d.sql.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback() // says so after a commit
		if err := fn(tx); err != nil {
			return err
		}
		return tx.Commit()
	}
	d.exec = func(ctx context.Context, tx *sql.Tx, query string, args ...any) error {
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	}
	return d
}

// onPgx is Postgres without database/sql.
func onPgx(b *testing.B) *database[pgx.Tx] {
	pool := openPostgres(b)
	log, run := pgxlog.Postgres(pool), pgxtx.Transactor(pool)
	check(eventlog.Migrate(context.Background(), log))
	return &database[pgx.Tx]{
		postgres: true, sql: stdlib.OpenDBFromPool(pool), pool: pool, log: log,
		inTx: func(ctx context.Context, body func(context.Context) error) error {
			return tidings.Transact(ctx, run, body)
		},
		bare: func(ctx context.Context, fn func(pgx.Tx) error) error { return pgx.BeginFunc(ctx, pool, fn) },
		exec: func(ctx context.Context, tx pgx.Tx, query string, args ...any) error {
			_, err := tx.Exec(ctx, query, args...)
			return err
		},
	}
}

func txFrom[TTx any](ctx context.Context) TTx {
	db, _ := tidings.TxDatabase(ctx)
	tx, ok := tidings.TxFrom[TTx](ctx, db)
	if !ok {
		panic("no transaction in the context")
	}
	return tx
}

// count returns what the query counts.
func (d *database[TTx]) count(query string) (n int) {
	check(d.sql.QueryRow(query).Scan(&n))
	return n
}

// stores runs a contender each op of which stores so many rows, which the query
// counts.
func stores[DB interface{ count(query string) int }](b *testing.B, name string, rows int, query string,
	open func(*testing.B) DB, contender func(DB) func(context.Context) error) {
	b.Run(name, func(b *testing.B) {
		d := open(b)
		repeat(b, contender(d))
		require.Equal(b, b.N*rows, d.count(query))
	})
}
