package bench

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/stdlib"

	"github.com/tidings-go/tidings/eventlog"
)

const keyRead = "log-read"

// LogEvents is how many events the log holds that is read, unless the plan
// says otherwise.
const LogEvents = 1_000_000

// fewEvents is the share of them that is read besides, to compare the memory.
const fewEvents = 100 // a hundredth

func (p Plan) events() int {
	if p.Events > 0 {
		return p.Events
	}
	return LogEvents
}

// A LogReadCost is what reading and decoding events takes.
type LogReadCost struct {
	Database  string
	Events    int     // that were read
	Of        int     // so many, from the first on
	Bare      Sample  // per event: a scan and json.Unmarshal
	Ours      Sample  // per event: Log.Read
	HeapBytes float64 // the most that was in use on top while Log.Read was reading
}

// Ratio returns how many times as long as the bare reader ours takes.
func (c LogReadCost) Ratio() float64 { return c.Ours.NS / c.Bare.NS }

// The names of the databases, and drivers, that bars speak of.
const (
	onSQLite   = "SQLite"
	onPostgres = "Postgres, database/sql"
	onPgx      = "Postgres, pgx"
)

// mostRounds is enough where a round reads all there is.
const mostRounds = 3

// LogReadCosts measures on every database that there is: medians over
// plan.Count rounds, but no more than three, in which the two readers take
// turns. left is what it has
// left out, and why.
func LogReadCosts(plan Plan) (costs []LogReadCost, left []string, err error) {
	if costs, err = readCosts(plan, logOnSQLite("OFF")); err != nil { // how it was written does not matter here
		return nil, nil, fmt.Errorf("case %s: SQLite: %w", keyRead, err)
	}
	if why := withoutPostgres(); why != "" {
		return costs, []string{fmt.Sprintf("%s on Postgres: %s", keyRead, why)}, nil
	}
	more, err := readCosts(plan, logOnPgx)
	if err != nil {
		return nil, nil, fmt.Errorf("case %s: Postgres: %w", keyRead, err)
	}
	return append(costs, more...), nil, nil
}

// readCosts measures on one database, on Postgres through both drivers.
func readCosts(plan Plan, open logDBFunc) (costs []LogReadCost, err error) {
	ctx := context.Background()
	d, err := open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.remove()) }()
	if err := d.fill(ctx, plan.events()); err != nil {
		return nil, fmt.Errorf("filling the log: %w", err)
	}
	if !d.postgres {
		return d.readCosts(ctx, plan, onSQLite)
	}
	db := stdlib.OpenDBFromPool(d.pool)
	defer func() { err = errors.Join(err, db.Close()) }()
	costs, err = (&logDB{postgres: true, sql: db, database: eventlog.Postgres(db)}).readCosts(ctx, plan, onPostgres)
	if err != nil {
		return nil, err
	}
	more, err := d.readCosts(ctx, plan, onPgx)
	return append(costs, more...), err
}

func (d *logDB) readCosts(ctx context.Context, plan Plan, name string) ([]LogReadCost, error) {
	log, err := eventlog.Open(ctx, d.database, logRegistry())
	if err != nil {
		return nil, err
	}
	ours := func(ctx context.Context, n int, each func()) (int64, error) { return readLog(ctx, log, n, each) }
	readers := []reader{d.readBare, ours}
	var costs []LogReadCost
	for _, events := range []int{max(plan.events()/fewEvents, 1), plan.events()} {
		samples := make([][]Sample, len(readers))
		for round := range min(plan.Count, mostRounds) {
			for i := range readers {
				i = (i + round) % len(readers)
				sample, err := readers[i].measure(ctx, events)
				if err != nil {
					return nil, err
				}
				samples[i] = append(samples[i], sample)
			}
		}
		heap, err := reader(ours).heap(ctx, events)
		if err != nil {
			return nil, err
		}
		costs = append(costs, LogReadCost{
			Database: name, Events: events, Of: plan.events(),
			Bare: medianSample(samples[0]), Ours: medianSample(samples[1]), HeapBytes: heap,
		})
	}
	return costs, nil
}

// A reader reads the first n events, calls each for every one, and returns
// the sum of their cents.
type reader func(ctx context.Context, n int, each func()) (int64, error)

func (r reader) measure(ctx context.Context, events int) (Sample, error) {
	var w stopwatch
	read := 0
	heapInUse() // begin with a clean heap
	w.start()
	sum, err := r(ctx, events, func() { read++ })
	w.stop()
	if err == nil && (read != events || sum != sumOfCents(events)) {
		err = fmt.Errorf("read %d events with %d cents, want %d with %d", read, sum, events, sumOfCents(events))
	}
	return w.per(events), err
}

// heap returns how much more heap is in use while r reads, at most.
func (r reader) heap(ctx context.Context, events int) (float64, error) {
	const samples = 10
	before, most, read := heapInUse(), int64(0), 0
	_, err := r(ctx, events, func() {
		if read++; read%max(events/samples, 1) == 0 {
			most = max(most, heapInUse())
		}
	})
	// What was still in use before, and is not any more, has nothing to do with it.
	return float64(most - min(before, heapInUse())), err
}

func readLog(ctx context.Context, log *eventlog.Log, n int, each func()) (sum int64, err error) {
	for r, err := range log.Read(ctx, eventlog.Limit(n)) {
		if err != nil {
			return 0, err
		}
		sum += r.Event.(Billed).Cents
		each()
	}
	return sum, nil
}

// selectBills reads the columns that Log.Read does.
const selectBills = `SELECT position, id, type, version, data, occurred_at, recorded_at, correlation_id, causation_id, stream, stream_version FROM tidings_events ORDER BY `

// readBare scans one query into plain variables and unmarshals the data.
func (d *logDB) readBare(ctx context.Context, n int, each func()) (sum int64, err error) {
	order := "position"
	if d.postgres {
		order = "tx, position"
	}
	query := selectBills + order + fmt.Sprintf(" LIMIT %d", n)
	if d.pool != nil {
		rows, err := d.pool.Query(ctx, query)
		if err != nil {
			return 0, err
		}
		defer rows.Close()
		return scanBills[time.Time](rows, each)
	}
	rows, err := d.sql.QueryContext(ctx, query)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	if d.postgres {
		return scanBills[time.Time](rows, each)
	}
	return scanBills[int64](rows, each)
}

// scanBills scans rows. T is what the database has for a time.
func scanBills[T any](rows interface {
	Next() bool
	Scan(...any) error
	Err() error
}, each func()) (sum int64, err error) {
	var (
		position, version    int64
		id, typ, correlation string
		data                 []byte
		occurred, recorded   T
		causation, stream    sql.NullString
		streamVersion        sql.NullInt64
	)
	for rows.Next() {
		if err := rows.Scan(&position, &id, &typ, &version, &data, &occurred, &recorded, &correlation, &causation, &stream, &streamVersion); err != nil {
			return 0, err
		}
		var e Billed
		if err := json.Unmarshal(data, &e); err != nil {
			return 0, err
		}
		sum += e.Cents
		each()
	}
	return sum, rows.Err()
}

func sumOfCents(events int) int64 { return int64(events) * int64(events-1) / 2 }

// fill appends events by hand. The first has no cents, each other one a cent
// more than the one before.
func (d *logDB) fill(ctx context.Context, events int) error {
	w, err := newBillWriter(false)
	if err != nil {
		return err
	}
	w.bill.Cents, w.more = 0, 1
	if d.postgres {
		// Reading in order does not need them, and without them it takes half as long.
		const drop = `DROP INDEX tidings_events_type, tidings_events_correlation, tidings_events_causation, tidings_events_occurred`
		if _, err := d.pool.Exec(ctx, drop); err != nil {
			return err
		}
	}
	query := insertManySQLite(smallChunk)
	for left := events; left > 0; {
		n := min(left, 10_000)
		left -= n
		err := d.bare(ctx, func(do exec) error {
			if d.postgres {
				return w.insertPostgres(ctx, n, do)
			}
			return w.insertSQLite(ctx, query, n, smallChunk, do)
		})
		if err != nil {
			return err
		}
	}
	if d.postgres {
		// As autovacuum would: the first reader is not the one to note in every
		// row that it is committed.
		_, err = d.pool.Exec(ctx, "VACUUM ANALYZE tidings_events")
	}
	return err
}
