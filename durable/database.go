package durable

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/notifier"
)

// A Transactor runs fn in a database transaction: it commits if fn returns nil,
// and rolls back otherwise. Events published with fn's ctx wait for that.
type Transactor func(ctx context.Context, fn func(context.Context) error) error

// InTx is the [Transactor] for database/sql: it calls [tidings.InTx] on db. A
// handler that calls it again gets a savepoint of the same transaction.
func InTx(db *sql.DB) Transactor {
	if db == nil {
		panic("durable: InTx(nil): pass the *sql.DB of the application")
	}
	return func(ctx context.Context, fn func(context.Context) error) error {
		return tidings.InTx(ctx, db, nil, func(ctx context.Context, _ *sql.Tx) error { return fn(ctx) })
	}
}

// Transact is the [Transactor] for other libraries: it calls [tidings.Transact]
// with run, which must add its transaction to ctx with [tidings.WithTx].
func Transact(run tidings.TxFunc) Transactor {
	if run == nil {
		panic("durable: Transact(nil): pass the tidings.TxFunc of the application")
	}
	return func(ctx context.Context, fn func(context.Context) error) error {
		return tidings.Transact(ctx, run, fn)
	}
}

// A querier runs SQL that returns one row.
type querier interface {
	row(ctx context.Context, query string, args []any, dest ...any) error
}

// An engine wraps a River client of any transaction type.
type engine interface {
	onSQLite() bool
	schema() string // "": the search path of the connection

	// tx returns the transaction that ctx is in, or nil if there is none. It
	// returns an error for a transaction that the engine cannot write in.
	tx(ctx context.Context) (transaction, error)
	pool() querier
	exec(ctx context.Context, query string) error

	insert(ctx context.Context, jobs []river.InsertManyParams) error

	// notifyOnCommit tells River's workers on Postgres that there is work in
	// queues, once tx, the transaction of ctx, has committed.
	notifyOnCommit(ctx context.Context, tx querier, queues []string) error

	// refuses reports whether the client has workers but none for that kind: it
	// does not store such a job.
	refuses(kind string) bool

	subscribe(config *river.SubscribeConfig) (<-chan *river.Event, func())
	start(ctx context.Context) error
	stop(ctx context.Context) error
	stopAndCancel(ctx context.Context) error
	stopped() <-chan struct{} // of the last start
}

// A transaction is opened by a publisher or for a handler.
type transaction interface {
	querier

	// change runs a statement of changing, and returns how many rows it has
	// changed.
	change(ctx context.Context, s statement, args ...any) (int, error)
	insert(ctx context.Context, jobs []river.InsertManyParams) error
}

// A riverEngine is the engine of one client. River's driver has no stable API;
// only the methods below use it.
type riverEngine[TTx any] struct {
	client *river.Client[TTx]
	driver riverdriver.Driver[TTx]
	clock  func() time.Time // nil: the database's

	notifier notifier.Notifier[string] // by queue
}

func newEngine[TTx any](client *river.Client[TTx], clock func() time.Time) engine {
	return &riverEngine[TTx]{client: client, driver: client.Driver(), clock: clock}
}

func (e *riverEngine[TTx]) onSQLite() bool {
	return e.driver.DatabaseName() == riverdriver.DatabaseNameSQLite
}

func (e *riverEngine[TTx]) schema() string { return e.client.Schema() }

func (e *riverEngine[TTx]) pool() querier { return riverQuerier{e.driver.GetExecutor()} }

func (e *riverEngine[TTx]) exec(ctx context.Context, query string) error {
	return withRemedy(e.driver.GetExecutor().Exec(ctx, query))
}

func (e *riverEngine[TTx]) tx(ctx context.Context) (transaction, error) {
	if tx, ok := tidings.TxFrom[TTx](ctx); ok {
		return riverTx[TTx]{riverQuerier{e.driver.UnwrapExecutor(tx)}, e, tx}, nil
	}
	if tx, ok := tidings.TxFrom[*sql.Tx](ctx); ok {
		return sqlTx{tx, e, e.clock}, nil
	}
	if other, ok := tidings.TxFrom[any](ctx); ok {
		var want TTx
		return nil, fmt.Errorf("durable: the transaction in ctx is a %T, but River writes through %T: let the TxFunc add that one as well, with tidings.WithTx", other, want)
	}
	if tidings.HasTx(ctx) {
		return nil, fmt.Errorf("durable: ctx is in a transaction, but does not have it: let the TxFunc, or the code that calls tidings.NewTxHook, add it with tidings.WithTx")
	}
	return nil, nil
}

func (e *riverEngine[TTx]) insert(ctx context.Context, jobs []river.InsertManyParams) error {
	_, err := e.client.InsertManyFast(ctx, jobs)
	return withRemedy(err)
}

// refuses inserts a job that cannot be inserted: River checks the kind first,
// then the priority, and only then uses the transaction, which is missing.
func (e *riverEngine[TTx]) refuses(kind string) bool {
	var none TTx
	_, err := e.client.InsertTx(context.Background(), none, delivery{kind: kind, event: []byte("{}")}, &river.InsertOpts{Priority: -1})
	var unknown *river.UnknownJobKindError
	return errors.As(err, &unknown)
}

func (e *riverEngine[TTx]) notifyOnCommit(ctx context.Context, tx querier, queues []string) error {
	// Where the end of the transaction cannot be observed, and if callbacks are
	// nested too deeply, the transaction itself sends the notification.
	if tidings.HasTx(ctx) {
		err := tidings.OnCommit(ctx, tidings.Default(), func(context.Context) error {
			e.notifier.Notify(e.notifyWorkers, queues...)
			return nil
		})
		if err == nil {
			return nil
		}
	}
	return notifyQueues(ctx, tx, e.schema(), queues)
}

func (e *riverEngine[TTx]) subscribe(config *river.SubscribeConfig) (<-chan *river.Event, func()) {
	return e.client.SubscribeConfig(config)
}

func (e *riverEngine[TTx]) start(ctx context.Context) error { return e.client.Start(ctx) }
func (e *riverEngine[TTx]) stop(ctx context.Context) error  { return e.client.Stop(ctx) }
func (e *riverEngine[TTx]) stopAndCancel(ctx context.Context) error {
	return e.client.StopAndCancel(ctx)
}
func (e *riverEngine[TTx]) stopped() <-chan struct{} { return e.client.Stopped() }

type riverQuerier struct{ executor riverdriver.Executor }

func (q riverQuerier) row(ctx context.Context, query string, args []any, dest ...any) error {
	return withRemedy(q.executor.QueryRow(ctx, query, args...).Scan(dest...))
}

// A riverTx is a transaction of the client's own type.
type riverTx[TTx any] struct {
	riverQuerier
	engine *riverEngine[TTx]
	tx     TTx
}

func (t riverTx[TTx]) change(ctx context.Context, s statement, args ...any) (int, error) {
	if t.engine.onSQLite() {
		tx, ok := any(t.tx).(*sql.Tx)
		if !ok {
			return 0, fmt.Errorf("durable: a transaction on SQLite is a *sql.Tx, not a %T", t.tx)
		}
		return changeSQLite(ctx, tx, t.engine.schema(), s.text(t.engine), args)
	}
	return changePostgres(ctx, t, t.engine, s.text(t.engine), args)
}

func (t riverTx[TTx]) insert(ctx context.Context, jobs []river.InsertManyParams) error {
	if len(jobs) == 1 { // COPY, which the other one uses, takes another round trip
		_, err := t.engine.client.InsertTx(ctx, t.tx, jobs[0].Args, jobs[0].InsertOpts)
		return withRemedy(err)
	}
	_, err := t.engine.client.InsertManyFastTx(ctx, t.tx, jobs)
	return withRemedy(err)
}
