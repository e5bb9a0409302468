package bench

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
)

const (
	keyAppendSQLite      = "log-append-sqlite"
	keyAppendSQLiteFull  = "log-append-sqlite-full"
	keyAppendPostgres    = "log-append-postgres"
	keyAppendPgx         = "log-append-pgx"
	keyAppend100SQLite   = "log-append-100-sqlite"
	keyAppend100Postgres = "log-append-100-postgres"
	keyAppend100Pgx      = "log-append-100-pgx"

	bareInsert  = "insert"
	bareUnnest  = "insert-unnest"
	inTxByHand  = "in-tx"
	batchEvents = 100
	smallChunk  = 25
	appendTurns = 20 // transactions of one event; fewer of many
)

// bareValues is the hand-written multi-row INSERT, by rows in a statement.
func bareValues(rows int) string { return "insert-values-" + strconv.Itoa(rows) }

func appendOneCases() []Case {
	return []Case{
		appendOne(keyAppendSQLite, "SQLite, synchronous=NORMAL", "", logOnSQLite("NORMAL"), hallgren("NORMAL", 1)),
		appendOne(keyAppendSQLiteFull, "SQLite, synchronous=FULL", "", logOnSQLite("FULL"), hallgren("FULL", 1)),
		appendOne(keyAppendPostgres, "Postgres, database/sql", withoutPostgres(), logOnPostgres, watermillSQL(logOnPostgres, 1)),
		appendOne(keyAppendPgx, "Postgres, pgx", withoutPostgres(), logOnPgx, watermillSQL(logOnPgx, 1)),
	}
}

func appendHundredCases() []Case {
	sqlite := logOnSQLite("NORMAL")
	return []Case{
		appendHundred(keyAppend100SQLite, "SQLite, synchronous=NORMAL", "", bareValues(smallChunk), []Subject{
			valuesSubject(sqlite, smallChunk, false),
			valuesSubject(sqlite, batchEvents, false),
			valuesSubject(sqlite, smallChunk, true),
			logSubject(sqlite, batchEvents),
			hallgren("NORMAL", batchEvents),
		}),
		appendHundred(keyAppend100Postgres, "Postgres, database/sql", withoutPostgres(), bareUnnest, []Subject{
			unnestSubject(logOnPostgres, false),
			unnestSubject(logOnPostgres, true),
			logSubject(logOnPostgres, batchEvents),
			watermillSQL(logOnPostgres, batchEvents),
		}),
		appendHundred(keyAppend100Pgx, "Postgres, pgx", withoutPostgres(), bareUnnest, []Subject{
			unnestSubject(logOnPgx, false),
			unnestSubject(logOnPgx, true),
			logSubject(logOnPgx, batchEvents),
			watermillSQL(logOnPgx, batchEvents),
		}),
	}
}

func appendOne(key, database, skip string, open logDBFunc, peer Subject) Case {
	return Case{
		Key:   key,
		Title: "The log: one event in a transaction, " + database,
		Note: "BEGIN, the INSERT of the event, COMMIT; each into a database of its own, with the tables and indexes of the log. " +
			"By hand the row is made beforehand, JSON included, all but its ID and its time. " +
			"tidings publishes in the transaction, on a bus that has the log attached and no handler. Peers keep the event in tables of their own. " +
			fmt.Sprintf("The subjects take turns every %d transactions.", appendTurns),
		Baseline: bareInsert,
		Turns:    appendTurns,
		Skip:     skip,
		Subjects: []Subject{
			{Name: bareInsert, Note: "begin, exec, commit, with the same driver", Setup: func() (*Runner, error) { return setupInsert(open, false) }},
			{Name: inTxByHand, Note: "the same INSERT in a transaction of tidings, without the log", Setup: func() (*Runner, error) { return setupInsert(open, true) }},
			logSubject(open, 1),
			peer,
		},
	}
}

func appendHundred(key, database, skip, baseline string, subjects []Subject) Case {
	return Case{
		Key:   key,
		Title: "The log: 100 events in a transaction, " + database,
		Note: "One op is BEGIN, the INSERT of 100 events, COMMIT. By hand that is the fastest statement that was found, and as hand-written code would, it marshals each event with encoding/json; " +
			"how much that is shows in the row that was marshalled beforehand. tidings publishes 100 events, on a bus that has the log attached and no handler.",
		Baseline: baseline,
		Turns:    2,
		Skip:     skip,
		Subjects: subjects,
	}
}

// perTransaction is the runner of a subject whose op is a transaction.
// count counts the events that are stored.
func perTransaction(do func(context.Context) error, count func() int64, release func() error) *Runner {
	return &Runner{
		Do: func(_, n int) error {
			ctx := context.Background()
			for range n {
				if err := do(ctx); err != nil {
					return err
				}
			}
			return nil
		},
		Release:   release,
		Delivered: count,
	}
}

func setupInsert(open logDBFunc, inTx bool) (*Runner, error) {
	return setupBills(open, true, func(d *logDB, w *billWriter) func(context.Context) error {
		if inTx {
			return func(ctx context.Context) error {
				return d.inTx(ctx, func(ctx context.Context, do exec) error { return w.insertOne(ctx, d.postgres, do) })
			}
		}
		return func(ctx context.Context) error {
			return d.bare(ctx, func(do exec) error { return w.insertOne(ctx, d.postgres, do) })
		}
	})
}

func valuesSubject(open logDBFunc, chunk int, marshalled bool) Subject {
	name, note := bareValues(chunk), fmt.Sprintf("INSERT … VALUES, %d rows in a statement", chunk)
	if marshalled {
		name, note = name+"-marshalled", note+", marshalled beforehand"
	}
	query := insertManySQLite(chunk)
	return Subject{Name: name, Note: note, Setup: func() (*Runner, error) {
		return setupBills(open, marshalled, func(d *logDB, w *billWriter) func(context.Context) error {
			return func(ctx context.Context) error {
				return d.bare(ctx, func(do exec) error { return w.insertSQLite(ctx, query, batchEvents, chunk, do) })
			}
		})
	}}
}

func unnestSubject(open logDBFunc, marshalled bool) Subject {
	name, note := bareUnnest, "INSERT … SELECT … FROM unnest, arrays in the binary format of pgx"
	if marshalled {
		name, note = name+"-marshalled", note+", marshalled beforehand"
	}
	return Subject{Name: name, Note: note, Setup: func() (*Runner, error) {
		return setupBills(open, marshalled, func(d *logDB, w *billWriter) func(context.Context) error {
			return func(ctx context.Context) error {
				return d.bare(ctx, func(do exec) error { return w.insertPostgres(ctx, batchEvents, do) })
			}
		})
	}}
}

func setupBills(open logDBFunc, marshalled bool, do func(*logDB, *billWriter) func(context.Context) error) (*Runner, error) {
	w, err := newBillWriter(marshalled)
	if err != nil {
		return nil, err
	}
	d, err := open()
	if err != nil {
		return nil, err
	}
	return perTransaction(do(d, w), d.counter(logTable), d.remove), nil
}

// logSubject publishes so many events in a transaction.
func logSubject(open logDBFunc, events int) Subject {
	note := "a transaction with one Publish"
	if events > 1 {
		note = fmt.Sprintf("a transaction with %d times Publish", events)
	}
	return Subject{Name: Tidings, Note: note, Setup: func() (*Runner, error) {
		d, err := open()
		if err != nil {
			return nil, err
		}
		log, err := eventlog.Open(context.Background(), d.database, logRegistry())
		if err != nil {
			return nil, errors.Join(err, d.remove())
		}
		bus := tidings.New()
		log.Attach(bus)
		publish := func(ctx context.Context, _ exec) error { return publishBills(ctx, bus, events) }
		return perTransaction(
			func(ctx context.Context) error { return d.inTx(ctx, publish) },
			d.counter(logTable),
			func() error { return errors.Join(bus.Close(context.Background()), d.remove()) },
		), nil
	}}
}
