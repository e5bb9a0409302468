package bench_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
	"github.com/tidings-go/tidings/tx/pgxtx"
)

const (
	workers       = 20
	mostConns     = workers + 10 // and for River itself
	fetchCooldown = 5 * time.Millisecond
	jobKind       = "bench.pay_bill" // the name of the handler
	countJobs     = `SELECT count(*) FROM river_job`
)

func jobsOnSQLite(synchronous string) func(*testing.B) *jobDB[*sql.Tx] {
	return func(b *testing.B) *jobDB[*sql.Tx] {
		d := onSQLite(synchronous)(b)
		return migrated(&jobDB[*sql.Tx]{d, riversqlite.New(d.sql), tidings.SQL(d.sql)}, "INTEGER PRIMARY KEY")
	}
}

func jobsOnPgx(b *testing.B) *jobDB[pgx.Tx] {
	d := onPgx(b)
	return migrated(&jobDB[pgx.Tx]{d, riverpgxv5.New(d.pool), pgxtx.Transactor(d.pool)}, "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY")
}

// A jobDB is a new database with River's tables, and one for what handlers write.
type jobDB[TTx any] struct {
	*database[TTx]
	driver     riverdriver.Driver[TTx]
	transactor tidings.Transactor
}

func migrated[TTx any](d *jobDB[TTx], id string) *jobDB[TTx] {
	migrator := must(rivermigrate.New(d.driver, &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)}))
	must(migrator.Migrate(context.Background(), rivermigrate.DirectionUp, nil))
	must(d.sql.Exec(`CREATE TABLE bills_paid (id ` + id + `, customer TEXT NOT NULL, cents BIGINT NOT NULL)`))
	return d
}

func (d *jobDB[TTx]) pay(ctx context.Context, tx TTx, bill bill) error {
	return d.exec(ctx, tx, `INSERT INTO bills_paid (customer, cents) VALUES ($1, $2)`, bill.Customer, bill.Cents)
}

// client returns a client that works the jobs for which there are workers.
func (d *jobDB[TTx]) client(config *river.Config) *river.Client[TTx] {
	config.Logger = slog.New(slog.DiscardHandler)
	return must(river.NewClient(d.driver, config))
}

// durably subscribes the handler on a new bus. The tables have the indexes of
// Jobs.Migrate then.
func (d *jobDB[TTx]) durably(config *river.Config, handler func(context.Context, billed) error) (*tidings.EventBus, *durable.Jobs) {
	jobs := must(durable.New(d.client(config), config.Workers, d.transactor, newRegistry()))
	check(jobs.Migrate(context.Background()))
	bus := tidings.New()
	tidings.Subscribe(bus, handler, tidings.Named(jobKind), tidings.Via(jobs))
	return bus, jobs
}

// billArgs are the arguments of a bare job: the same JSON as the event of a
// durable handler.
type billArgs cloudEvent

func (billArgs) Kind() string { return jobKind }

// rawArgs are the same, marshalled beforehand.
type rawArgs struct{ json.RawMessage }

func (rawArgs) Kind() string { return jobKind }

func nextArgs(marshalled bool) func() river.JobArgs {
	w := newBillWriter(false)
	if marshalled {
		text := must(json.Marshal(newCloudEvent(w.id, w.bill)))
		return func() river.JobArgs { return rawArgs{text} }
	}
	return func() river.JobArgs { return billArgs(newCloudEvent(w.nextID(), w.bill)) }
}

// insertJobs inserts jobs without tidings.
func insertJobs[TTx any](ctx context.Context, client *river.Client[TTx], tx TTx, next func() river.JobArgs, n int) error {
	if n == 1 {
		_, err := client.InsertTx(ctx, tx, next(), nil)
		return err
	}
	params := make([]river.InsertManyParams, n)
	for i := range params {
		params[i].Args = next()
	}
	_, err := client.InsertManyFastTx(ctx, tx, params)
	return err
}

// BenchmarkDurablePublish is a transaction with the INSERT of a job, or of a
// thousand: by InsertTx of River, or InsertManyFastTx; with tidings, by publishing
// on a bus with a durable handler. Nobody works the jobs.
func BenchmarkDurablePublish(b *testing.B) {
	publishDurably(b, "db=sqlite-full", jobsOnSQLite("FULL"), 1)
	for _, events := range []int{1, 1000} {
		publishDurably(b, "db=sqlite", jobsOnSQLite("NORMAL"), events)
		publishDurably(b, "db=postgres-pgx", jobsOnPgx, events)
		// For an application with transactions of database/sql, through which River
		// cannot insert.
		publishTidings(b, "db=postgres-pgx", "tidings-stdlib", func(b *testing.B) *jobDB[pgx.Tx] {
			d := jobsOnPgx(b)
			d.transactor = tidings.SQL(d.sql)
			return d
		}, events)
	}
}

func publishDurably[TTx any](b *testing.B, name string, open func(*testing.B) *jobDB[TTx], events int) {
	for _, contender := range []string{"bare", "bare-marshalled"} {
		stores(b, fmt.Sprintf("%s/events=%d/contender=%s", name, events, contender), events, countJobs, open, func(d *jobDB[TTx]) func(context.Context) error {
			client, next := d.client(&river.Config{}), nextArgs(contender == "bare-marshalled")
			return func(ctx context.Context) error {
				return d.bare(ctx, func(tx TTx) error { return insertJobs(ctx, client, tx, next, events) })
			}
		})
	}
	publishTidings(b, name, "tidings", open, events)
}

func publishTidings[TTx any](b *testing.B, name, contender string, open func(*testing.B) *jobDB[TTx], events int) {
	stores(b, fmt.Sprintf("%s/events=%d/contender=%s", name, events, contender), events, countJobs, open, func(d *jobDB[TTx]) func(context.Context) error {
		bus, _ := d.durably(&river.Config{}, func(context.Context, billed) error { return nil })
		publish := func(ctx context.Context) error { return publishBills(ctx, bus, events) }
		return func(ctx context.Context) error { return tidings.Transact(ctx, d.transactor, publish) }
	})
}

// A crew inserts jobs, in one transaction, and works them.
type crew struct {
	insert      func(ctx context.Context, n int) error
	start, stop func(ctx context.Context) error
	count       func(query string) int
}

// crews makes them on new databases. They call begun first thing in each handler,
// and paid when that has written.
var crews = []struct {
	name string
	open func(b *testing.B, begun, paid func()) crew
}{
	{"db=sqlite/contender=bare", func(b *testing.B, begun, paid func()) crew { return bareCrew(jobsOnSQLite("NORMAL")(b), begun, paid) }},
	{"db=sqlite/contender=tidings", func(b *testing.B, begun, paid func()) crew {
		return durableCrew(jobsOnSQLite("NORMAL")(b), begun, paid)
	}},
	{"db=postgres-pgx/contender=bare", func(b *testing.B, begun, paid func()) crew { return bareCrew(jobsOnPgx(b), begun, paid) }},
	{"db=postgres-pgx/contender=tidings", func(b *testing.B, begun, paid func()) crew { return durableCrew(jobsOnPgx(b), begun, paid) }},
}

func workConfig() *river.Config {
	return durable.Configure(&river.Config{
		Queues:            map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: workers}},
		FetchCooldown:     fetchCooldown,
		FetchPollInterval: 100 * time.Millisecond,
	})
}

// bareCrew is River as its documentation has it: the worker's writes and the
// completion of the job in one transaction.
func bareCrew[TTx any](d *jobDB[TTx], begun, paid func()) crew {
	config, next := workConfig(), nextArgs(false)
	river.AddWorker(config.Workers, river.WorkFunc(func(ctx context.Context, job *river.Job[billArgs]) error {
		begun()
		return d.bare(ctx, func(tx TTx) error {
			if err := d.pay(ctx, tx, job.Args.Data); err != nil {
				return err
			}
			paid()
			_, err := river.JobCompleteTx[riverdriver.Driver[TTx]](ctx, tx, job)
			return err
		})
	}))
	client := d.client(config)
	return crew{func(ctx context.Context, n int) error {
		return d.bare(ctx, func(tx TTx) error { return insertJobs(ctx, client, tx, next, n) })
	}, client.Start, client.Stop, d.count}
}

// durableCrew is a durable handler.
func durableCrew[TTx any](d *jobDB[TTx], begun, paid func()) crew {
	bus, jobs := d.durably(workConfig(), func(ctx context.Context, e billed) error {
		begun()
		err := d.pay(ctx, txFrom[TTx](ctx), e.bill)
		if err == nil {
			paid()
		}
		return err
	})
	return crew{func(ctx context.Context, n int) error {
		return tidings.Transact(ctx, d.transactor, func(ctx context.Context) error { return publishBills(ctx, bus, n) })
	}, jobs.Start, jobs.Close, d.count}
}

// limit ends a benchmark that waits for what has been lost: go test does not.
func limit(b *testing.B) {
	timer := time.AfterFunc(5*time.Minute, func() { panic(b.Name() + " waits for what does not come") })
	b.Cleanup(func() { timer.Stop() })
}

// BenchmarkDurableWork lets jobs be worked, a hundred an op, that wait in a new
// database: the time from the start of the client until the last handler has
// written. Each writes a row.
func BenchmarkDurableWork(b *testing.B) {
	for _, c := range crews {
		b.Run(c.name, func(b *testing.B) {
			limit(b)
			ctx := context.Background()
			const atOnce = 100
			jobs := b.N * atOnce
			var paid atomic.Int64
			done := make(chan struct{})
			crew := c.open(b, func() {}, func() {
				if paid.Add(1) == int64(jobs) {
					close(done)
				}
			})
			for range b.N {
				check(crew.insert(ctx, atOnce))
			}
			heapInUse() // begin with a clean heap
			b.ReportAllocs()
			b.ResetTimer()
			check(crew.start(ctx))
			<-done
			b.StopTimer()
			check(crew.stop(ctx))
			require.Equal(b, jobs, crew.count(`SELECT count(*) FROM bills_paid`))
			require.Equal(b, jobs, crew.count(countJobs+` WHERE state = 'completed'`))
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(jobs), "ns/job")
		})
	}
}

// BenchmarkDurableStart is how long a job waits for an idle worker: from when the
// publisher's commit has returned to the first line of the handler.
func BenchmarkDurableStart(b *testing.B) {
	for _, c := range crews {
		b.Run(c.name, func(b *testing.B) {
			limit(b)
			ctx := context.Background()
			begun := make(chan time.Time, 100) // an attempt that is made again does not wait
			crew := c.open(b, func() { begun <- time.Now() }, func() {})
			check(crew.start(ctx))
			start := func() time.Duration {
				// At any time between two looks of River at the database, and later than
				// it would save itself a notification.
				time.Sleep(2*fetchCooldown + rand.N(10*fetchCooldown))
				check(crew.insert(ctx, 1))
				committed := time.Now()
				return (<-begun).Sub(committed)
			}
			start() // it prepares the statements
			var waits []time.Duration
			for b.Loop() {
				waits = append(waits, start())
			}
			check(crew.stop(ctx))
			reportLatency(b, waits)
			b.ReportMetric(0, "ns/op") // it has the pauses in it
		})
	}
}

func reportLatency(b *testing.B, waits []time.Duration) {
	slices.Sort(waits)
	b.ReportMetric(float64(waits[len(waits)/2]), "p50-ns")
	b.ReportMetric(float64(waits[len(waits)*99/100]), "p99-ns")
}
