package bench

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
	"github.com/tidings-go/tidings/eventlog/pgxlog"
)

// A jobDB is a new database with River's tables, and one for what handlers
// write, seen through one driver.
type jobDB[TTx any] struct {
	driver riverdriver.Driver[TTx]
	settle string       // a statement that leaves the tables as they are after a while
	remove func() error // closes it and takes it away
	// bare runs fn in a transaction, as one does without tidings.
	bare func(ctx context.Context, fn func(TTx) error) error
	// transact is the same with tidings.
	transact durable.Transactor
	exec     func(ctx context.Context, tx TTx, query string, args ...any) error
	count    func(query string) (int64, error)
}

// A jobDBFunc opens one.
type jobDBFunc[TTx any] func() (*jobDB[TTx], error)

// mostConns is enough for all workers and for River itself.
const mostConns = workers + 10

func jobsOnSQLite(synchronous string) jobDBFunc[*sql.Tx] {
	return func() (*jobDB[*sql.Tx], error) {
		db, remove, err := openSQLite(synchronous)
		if err != nil {
			return nil, err
		}
		db.SetMaxOpenConns(mostConns)
		db.SetMaxIdleConns(mostConns) // as a pool of pgx keeps them
		d := &jobDB[*sql.Tx]{driver: riversqlite.New(db), settle: `PRAGMA wal_checkpoint(TRUNCATE)`, remove: remove, transact: durable.InTx(db)}
		d.bare = func(ctx context.Context, fn func(*sql.Tx) error) error {
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			if err := fn(tx); err != nil {
				return errors.Join(err, tx.Rollback())
			}
			return tx.Commit()
		}
		d.exec = func(ctx context.Context, tx *sql.Tx, query string, args ...any) error {
			_, err := tx.ExecContext(ctx, query, args...)
			return err
		}
		d.count = func(query string) (n int64, err error) {
			return n, db.QueryRow(query).Scan(&n)
		}
		return d.migrated(`CREATE TABLE bills_paid (id INTEGER PRIMARY KEY, customer TEXT NOT NULL, cents INTEGER NOT NULL)`)
	}
}

// jobsOnPgxAndSQL is jobsOnPgx for an application that publishes in
// transactions of database/sql, on connections of the same pool.
func jobsOnPgxAndSQL() (*jobDB[pgx.Tx], error) {
	d, pool, err := openJobsOnPgx()
	if err != nil {
		return nil, err
	}
	db := stdlib.OpenDBFromPool(pool)
	d.transact = durable.InTx(db)
	remove := d.remove
	d.remove = func() error { return errors.Join(db.Close(), remove()) }
	return d, nil
}

func jobsOnPgx() (*jobDB[pgx.Tx], error) {
	d, _, err := openJobsOnPgx()
	return d, err
}

func openJobsOnPgx() (*jobDB[pgx.Tx], *pgxpool.Pool, error) {
	address, drop, err := newSchema()
	if err != nil {
		return nil, nil, err
	}
	config, err := pgxpool.ParseConfig(address)
	if err != nil {
		return nil, nil, errors.Join(err, drop())
	}
	config.MaxConns = mostConns
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		return nil, nil, errors.Join(err, drop())
	}
	d := &jobDB[pgx.Tx]{driver: riverpgxv5.New(pool), settle: `VACUUM ANALYZE river_job`, transact: durable.Transact(pgxlog.TxFunc(pool))}
	d.remove = func() error {
		pool.Close()
		return drop()
	}
	d.bare = func(ctx context.Context, fn func(pgx.Tx) error) error {
		tx, err := pool.Begin(ctx)
		if err != nil {
			return err
		}
		if err := fn(tx); err != nil {
			return errors.Join(err, tx.Rollback(ctx))
		}
		return tx.Commit(ctx)
	}
	d.exec = func(ctx context.Context, tx pgx.Tx, query string, args ...any) error {
		_, err := tx.Exec(ctx, query, args...)
		return err
	}
	d.count = func(query string) (n int64, err error) {
		return n, pool.QueryRow(context.Background(), query).Scan(&n)
	}
	d, err = d.migrated(`CREATE TABLE bills_paid (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer TEXT NOT NULL, cents BIGINT NOT NULL)`)
	return d, pool, err
}

// insertPaid is what a handler writes.
const insertPaid = `INSERT INTO bills_paid (customer, cents) VALUES ($1, $2)`

func (d *jobDB[TTx]) migrated(paid string) (*jobDB[TTx], error) {
	ctx := context.Background()
	migrator, err := rivermigrate.New(d.driver, &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	if err == nil {
		_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	}
	if err == nil {
		err = d.driver.GetExecutor().Exec(ctx, paid)
	}
	if err != nil {
		return nil, errors.Join(err, d.remove())
	}
	return d, nil
}

func (d *jobDB[TTx]) pay(ctx context.Context, tx TTx, b Bill) error {
	return d.exec(ctx, tx, insertPaid, b.Customer, b.Cents)
}

// counter returns a function that counts what the query counts, -1 if it
// cannot.
func (d *jobDB[TTx]) counter(query string) func() int64 {
	return func() int64 {
		n, err := d.count(query)
		if err != nil {
			return -1
		}
		return n
	}
}

const (
	countJobs = `SELECT count(*) FROM river_job`
	countPaid = `SELECT count(*) FROM bills_paid`
)

// client returns a client of River that works nothing, if config is nil.
func (d *jobDB[TTx]) client(config *river.Config) (*river.Client[TTx], error) {
	if config == nil {
		config = &river.Config{}
	}
	config.Logger = slog.New(slog.DiscardHandler)
	return river.NewClient(d.driver, config)
}

// durably subscribes handler on a new bus, durably.
func (d *jobDB[TTx]) durably(config *river.Config, handler func(context.Context, Billed) error) (*tidings.EventBus, *durable.Jobs, error) {
	client, err := d.client(config)
	if err != nil {
		return nil, nil, err
	}
	var workers *river.Workers
	if config != nil {
		workers = config.Workers
	}
	jobs, err := durable.New(client, workers, d.transact, logRegistry())
	if err != nil {
		return nil, nil, err
	}
	if err := jobs.Migrate(context.Background()); err != nil {
		return nil, nil, err
	}
	bus := tidings.New()
	tidings.Subscribe(bus, handler, tidings.Named(jobKind), tidings.Via(jobs))
	return bus, jobs, nil
}
