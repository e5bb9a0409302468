package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver pgx
	_ "modernc.org/sqlite"             // the driver sqlite

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
	"github.com/tidings-go/tidings/eventlog/pgxlog"
)

// postgresVariable names the server that the Postgres cases use.
const postgresVariable = "TIDINGS_POSTGRES_URL"

// withoutPostgres says why the Postgres cases are left out, "" if they are not.
func withoutPostgres() string {
	if os.Getenv(postgresVariable) != "" {
		return ""
	}
	return postgresVariable + ` is not set: scripts/services up, then eval "$(scripts/services env)"`
}

// exec runs a statement in a transaction.
type exec func(ctx context.Context, query string, args ...any) error

// A logDB is a new database with the tables of the log in it, seen through one
// driver.
type logDB struct {
	postgres bool
	sql      *sql.DB       // nil with pgx
	pool     *pgxpool.Pool // nil with database/sql
	database eventlog.Database
	remove   func() error // closes it and takes it away
	// bare runs fn in a transaction, as one does without tidings.
	bare func(ctx context.Context, fn func(exec) error) error
	// inTx runs fn in a transaction of tidings.
	inTx func(ctx context.Context, fn func(context.Context, exec) error) error
}

// A logDBFunc opens one.
type logDBFunc func() (*logDB, error)

func logOnSQLite(synchronous string) logDBFunc {
	return func() (*logDB, error) {
		db, remove, err := openSQLite(synchronous)
		if err != nil {
			return nil, err
		}
		return logOnSQL(db, eventlog.SQLite(db), remove)
	}
}

func logOnPostgres() (*logDB, error) {
	address, drop, err := newSchema()
	if err != nil {
		return nil, err
	}
	db, err := sql.Open("pgx", address)
	if err != nil {
		return nil, errors.Join(err, drop())
	}
	d, err := logOnSQL(db, eventlog.Postgres(db), func() error { return errors.Join(db.Close(), drop()) })
	if err == nil {
		d.postgres = true
	}
	return d, err
}

func logOnSQL(db *sql.DB, database eventlog.Database, remove func() error) (*logDB, error) {
	d := &logDB{sql: db, database: database, remove: remove}
	d.bare = func(ctx context.Context, fn func(exec) error) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		if err := fn(execSQL(tx)); err != nil {
			return errors.Join(err, tx.Rollback())
		}
		return tx.Commit()
	}
	d.inTx = func(ctx context.Context, fn func(context.Context, exec) error) error {
		return tidings.InTx(ctx, db, nil, func(ctx context.Context, tx *sql.Tx) error { return fn(ctx, execSQL(tx)) })
	}
	return d.migrated()
}

func execSQL(tx *sql.Tx) exec {
	return func(ctx context.Context, query string, args ...any) error {
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	}
}

// logOnPgx uses pgx as it is, without database/sql.
func logOnPgx() (*logDB, error) {
	address, drop, err := newSchema()
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.New(context.Background(), address)
	if err != nil {
		return nil, errors.Join(err, drop())
	}
	d := &logDB{postgres: true, pool: pool, database: pgxlog.Postgres(pool)}
	d.remove = func() error {
		pool.Close()
		return drop()
	}
	d.bare = func(ctx context.Context, fn func(exec) error) error {
		tx, err := pool.Begin(ctx)
		if err != nil {
			return err
		}
		if err := fn(execPgx(tx)); err != nil {
			return errors.Join(err, tx.Rollback(ctx))
		}
		return tx.Commit(ctx)
	}
	run := pgxlog.TxFunc(pool)
	d.inTx = func(ctx context.Context, fn func(context.Context, exec) error) error {
		return tidings.Transact(ctx, run, func(ctx context.Context) error {
			tx, ok := tidings.TxFrom[pgx.Tx](ctx)
			if !ok {
				return errors.New("no pgx.Tx in the transaction of pgxlog.TxFunc")
			}
			return fn(ctx, execPgx(tx))
		})
	}
	return d.migrated()
}

func execPgx(tx pgx.Tx) exec {
	return func(ctx context.Context, query string, args ...any) error {
		_, err := tx.Exec(ctx, query, args...)
		return err
	}
}

func (d *logDB) migrated() (*logDB, error) {
	if err := eventlog.Migrate(context.Background(), d.database); err != nil {
		return nil, errors.Join(err, d.remove())
	}
	return d, nil
}

const logTable = "tidings_events"

// counter returns a function that counts the rows of a table, -1 if it cannot.
func (d *logDB) counter(table string) func() int64 {
	return func() (n int64) {
		query, err := "SELECT count(*) FROM "+table, error(nil)
		if d.pool != nil {
			err = d.pool.QueryRow(context.Background(), query).Scan(&n)
		} else {
			err = d.sql.QueryRow(query).Scan(&n)
		}
		if err != nil {
			return -1
		}
		return n
	}
}

// openSQLite opens a new database in a directory of its own; remove closes it
// and takes the directory away.
func openSQLite(synchronous string) (_ *sql.DB, remove func() error, err error) {
	dir, err := os.MkdirTemp("", "tidings-bench-")
	if err != nil {
		return nil, nil, err
	}
	source := url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(filepath.Join(dir, "bench.db")), RawQuery: url.Values{
		"_txlock": {"immediate"},
		"_pragma": {"journal_mode(WAL)", "synchronous(" + synchronous + ")", "busy_timeout(5000)"},
	}.Encode()}
	db, err := sql.Open("sqlite", source.String())
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	return db, func() error { return errors.Join(db.Close(), os.RemoveAll(dir)) }, nil
}

// newSchema makes a schema on the Postgres server and returns a connection
// string that uses it; drop takes it away.
func newSchema() (address string, drop func() error, err error) {
	if why := withoutPostgres(); why != "" {
		return "", nil, errors.New(why)
	}
	u, err := url.Parse(os.Getenv(postgresVariable))
	if err != nil {
		return "", nil, fmt.Errorf("%s: %w", postgresVariable, err)
	}
	server := u.String()
	schema := fmt.Sprintf("bench_%s", strings.ReplaceAll(uuid.NewString(), "-", ""))
	if err := onServer(server, "CREATE SCHEMA "+schema); err != nil {
		return "", nil, err
	}
	query := u.Query()
	query.Set("search_path", schema)
	u.RawQuery = query.Encode()
	return u.String(), func() error { return onServer(server, "DROP SCHEMA "+schema+" CASCADE") }, nil
}

func onServer(address, statement string) error {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, statement)
	return errors.Join(err, conn.Close(ctx))
}
