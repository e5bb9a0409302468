package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/riverqueue/river"
)

const (
	keyJobSQLite      = "durable-publish-sqlite"
	keyJobSQLiteFull  = "durable-publish-sqlite-full"
	keyJobPgx         = "durable-publish-pgx"
	keyJob1000SQLite  = "durable-publish-1000-sqlite"
	keyJob1000Pgx     = "durable-publish-1000-pgx"
	bareInsertTx      = "river-insert-tx"
	bareInsertMany    = "river-insert-many-fast-tx"
	marshalled        = "-marshalled"
	batchJobs         = 1000
	publishTurns      = 20
	publishBatchTurns = 1

	alsoSQL     = Tidings + "-database-sql"
	alsoSQLNote = "the same in a *sql.Tx, through which River cannot insert"
)

func durablePublishCases() []Case {
	return []Case{
		publishOneJob(keyJobSQLite, "SQLite, synchronous=NORMAL", "", jobsOnSQLite("NORMAL")),
		publishOneJob(keyJobSQLiteFull, "SQLite, synchronous=FULL", "", jobsOnSQLite("FULL")),
		publishOneJob(keyJobPgx, "Postgres, pgx", withoutPostgres(), jobsOnPgx, publishSubject(alsoSQL, alsoSQLNote, jobsOnPgxAndSQL, 1)),
		publishJobs(keyJob1000SQLite, "SQLite, synchronous=NORMAL", "", jobsOnSQLite("NORMAL")),
		publishJobs(keyJob1000Pgx, "Postgres, pgx", withoutPostgres(), jobsOnPgx, publishSubject(alsoSQL, alsoSQLNote, jobsOnPgxAndSQL, batchJobs)),
	}
}

func publishOneJob[TTx any](key, database, skip string, open jobDBFunc[TTx], others ...Subject) Case {
	return Case{
		Key:   key,
		Title: "Durable handlers: one event in a transaction, " + database,
		Note: "BEGIN, the INSERT of the job, COMMIT; each into a database of its own. Bare is River's InsertTx of the same kind and the same JSON, but for IDs and times: a struct with the fields of the event. " +
			"tidings publishes in the transaction, on a bus with one durable handler; its tables have the indexes of Jobs.Migrate besides. Nobody works the jobs. " +
			fmt.Sprintf("The subjects take turns every %d transactions.", publishTurns),
		Baseline: bareInsertTx,
		Turns:    publishTurns,
		Skip:     skip,
		Subjects: append([]Subject{
			bareSubject(bareInsertTx, "begin, InsertTx, commit", open, insertOneJob[TTx], (*billWriter).jobArgs),
			bareSubject(bareInsertTx+marshalled, "the same, the event marshalled beforehand", open, insertOneJob[TTx], (*billWriter).nextRaw),
			publishSubject(Tidings, "a transaction with one Publish", open, 1),
		}, others...),
	}
}

func publishJobs[TTx any](key, database, skip string, open jobDBFunc[TTx], others ...Subject) Case {
	return Case{
		Key:   key,
		Title: fmt.Sprintf("Durable handlers: %s events in a transaction, %s", Whole(batchJobs), database),
		Note: fmt.Sprintf("One op is BEGIN, the INSERT of %s jobs, COMMIT; each into a database of its own. Bare is one InsertManyFastTx of River with the same JSON. ", Whole(batchJobs)) +
			fmt.Sprintf("tidings publishes %s events, on a bus with one durable handler; its tables have the indexes of Jobs.Migrate besides. Nobody works the jobs.", Whole(batchJobs)),
		Baseline: bareInsertMany,
		Turns:    publishBatchTurns,
		Skip:     skip,
		Subjects: append([]Subject{
			bareSubject(bareInsertMany, "begin, InsertManyFastTx, commit", open, insertManyJobs[TTx](batchJobs), (*billWriter).jobArgs),
			bareSubject(bareInsertMany+marshalled, "the same, the events marshalled beforehand", open, insertManyJobs[TTx](batchJobs), (*billWriter).nextRaw),
			publishSubject(Tidings, fmt.Sprintf("a transaction with %s times Publish", Whole(batchJobs)), open, batchJobs),
		}, others...),
	}
}

// An insertFunc inserts jobs with the arguments that next returns, without
// tidings.
type insertFunc[TTx any] func(ctx context.Context, client *river.Client[TTx], tx TTx, next func() river.JobArgs) error

func insertOneJob[TTx any](ctx context.Context, client *river.Client[TTx], tx TTx, next func() river.JobArgs) error {
	_, err := client.InsertTx(ctx, tx, next(), nil)
	return err
}

func insertManyJobs[TTx any](n int) insertFunc[TTx] {
	return func(ctx context.Context, client *river.Client[TTx], tx TTx, next func() river.JobArgs) error {
		params := make([]river.InsertManyParams, n)
		for i := range params {
			params[i].Args = next()
		}
		_, err := client.InsertManyFastTx(ctx, tx, params)
		return err
	}
}

func (w *billWriter) jobArgs() func() river.JobArgs {
	return func() river.JobArgs { return w.args() }
}

// nextRaw copies one JSON and writes new IDs into it.
func (w *billWriter) nextRaw() func() river.JobArgs {
	first := w.args()
	text, err := json.Marshal(first)
	if err != nil {
		panic(err) // a struct of strings, numbers and times
	}
	last := []byte(first.ID.String())
	return func() river.JobArgs {
		id := []byte(uuid.UUID(w.nextID()).String())
		text = bytes.ReplaceAll(text, last, id)
		last = id
		return rawArgs(text)
	}
}

func bareSubject[TTx any](name, note string, open jobDBFunc[TTx], insert insertFunc[TTx], args func(*billWriter) func() river.JobArgs) Subject {
	return Subject{Name: name, Note: note, Setup: func() (*Runner, error) {
		w, err := newBillWriter(false)
		if err != nil {
			return nil, err
		}
		next := args(w)
		d, err := open()
		if err != nil {
			return nil, err
		}
		client, err := d.client(nil)
		if err != nil {
			return nil, errors.Join(err, d.remove())
		}
		return perTransaction(func(ctx context.Context) error {
			return d.bare(ctx, func(tx TTx) error { return insert(ctx, client, tx, next) })
		}, d.counter(countJobs), d.remove), nil
	}}
}

// publishSubject publishes so many events in a transaction.
func publishSubject[TTx any](name, note string, open jobDBFunc[TTx], events int) Subject {
	return Subject{Name: name, Note: note, Setup: func() (*Runner, error) {
		d, err := open()
		if err != nil {
			return nil, err
		}
		bus, _, err := d.durably(nil, func(context.Context, Billed) error { return nil })
		if err != nil {
			return nil, errors.Join(err, d.remove())
		}
		publish := func(ctx context.Context) error { return publishBills(ctx, bus, events) }
		return perTransaction(
			func(ctx context.Context) error { return d.transact(ctx, publish) },
			d.counter(countJobs),
			func() error { return errors.Join(bus.Close(context.Background()), d.remove()) },
		), nil
	}}
}
