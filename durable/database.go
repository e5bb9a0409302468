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
	db     any              // stands for the database, as in tidings.WithTx
	clock  func() time.Time // nil: the database's

	notifier notifier.Notifier[string] // by queue
}

func newEngine[TTx any](client *river.Client[TTx], db any, clock func() time.Time) engine {
	return &riverEngine[TTx]{client: client, driver: client.Driver(), db: db, clock: clock}
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
	if tx, ok := tidings.TxFrom[TTx](ctx, e.db); ok {
		return riverTx[TTx]{riverQuerier{e.driver.UnwrapExecutor(tx)}, e, tx}, nil
	}
	if tx, ok := tidings.TxFrom[*sql.Tx](ctx, e.db); ok {
		return sqlTx{tx, e, e.clock}, nil
	}
	var want TTx
	other, in := tidings.TxDatabase(ctx)
	switch {
	case !in:
		return nil, nil
	case other == e.db:
		return nil, fmt.Errorf("durable: the transaction in ctx has no %T and no *sql.Tx: let the TxFunc, or the code that calls tidings.NewTxHook, add it with tidings.WithTx", want)
	}
	return nil, fmt.Errorf("durable: ctx is in a transaction of another database than the jobs': of a %T, and the jobs are on a %T. Publish with a ctx from outside, or store the jobs in that database (if they are one database, let DB of its Transactor be the %[2]T)", other, e.db)
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
	if _, in := tidings.TxDatabase(ctx); in {
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
