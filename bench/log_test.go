package bench_test

import (
	"context"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	watermillsql "github.com/ThreeDotsLabs/watermill-sql/v4/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/hallgren/eventsourcing/core"
	sqlstore "github.com/hallgren/eventsourcing/eventstore/sql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
)

// BenchmarkInTx is BEGIN IMMEDIATE, an INSERT and COMMIT on SQLite. With tidings,
// an event is published in it and one handler runs after the commit.
func BenchmarkInTx(b *testing.B) {
	const insert = `INSERT INTO orders (customer, total) VALUES ('c-1', ?)`
	for _, synchronous := range []string{"FULL", "NORMAL"} {
		run := func(contender string, transaction func(context.Context, *database[*sql.Tx]) error) {
			stores(b, "synchronous="+synchronous+"/contender="+contender, 1, `SELECT count(*) FROM orders`, onSQLite(synchronous),
				func(d *database[*sql.Tx]) func(context.Context) error {
					must(d.sql.Exec(`CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT NOT NULL, total INTEGER NOT NULL)`))
					return func(ctx context.Context) error { return transaction(ctx, d) }
				})
		}
		run("bare", func(ctx context.Context, d *database[*sql.Tx]) error {
			return d.bare(ctx, func(tx *sql.Tx) error { return d.exec(ctx, tx, insert, 4200) })
		})
		bus := tidings.New()
		tidings.Subscribe(bus, handle)
		run("tidings", func(ctx context.Context, d *database[*sql.Tx]) error {
			return tidings.InTx(ctx, d.sql, nil, func(ctx context.Context, tx *sql.Tx) error {
				if err := d.exec(ctx, tx, insert, 4200); err != nil {
					return err
				}
				return tidings.Publish(ctx, bus, orders[0])
			})
		})
	}
}

// BenchmarkLogAppend is a transaction with one event, or with a hundred, into the
// tables of the log. The bare contenders have an INSERT with all its columns: of
// one event, marshalled beforehand, or of a hundred that are marshalled then, the
// fastest that was found. With tidings the log is attached to a bus without a
// handler. The peers have tables of their own, with fewer indexes.
func BenchmarkLogAppend(b *testing.B) {
	appendTo(b, "sqlite", onSQLite("NORMAL"), "hallgren-eventsourcing", "events", saveHallgren)
	appendTo(b, "sqlite-full", onSQLite("FULL"), "hallgren-eventsourcing", "events", saveHallgren)
	appendTo(b, "postgres-stdlib", onStdlib, "watermill-sql", "watermill_orders",
		publishWatermill(func(tx *sql.Tx) watermillsql.ContextExecutor { return watermillsql.TxFromStdSQL(tx) }))
	appendTo(b, "postgres-pgx", onPgx, "watermill-sql", "watermill_orders",
		publishWatermill(func(tx pgx.Tx) watermillsql.ContextExecutor { return watermillsql.TxFromPgx(tx) }))
}

func appendTo[TTx any](b *testing.B, db string, open func(*testing.B) *database[TTx], peer, table string, save func(*database[TTx], int) func(context.Context) error) {
	for _, events := range []int{1, 100} {
		run := func(contender, table string, setup func(*database[TTx]) func(context.Context) error) {
			stores(b, fmt.Sprintf("db=%s/events=%d/contender=%s", db, events, contender), events, "SELECT count(*) FROM "+table, open, setup)
		}
		bare := func(contender string, rows int, marshalled bool) {
			run(contender, "tidings_events", func(d *database[TTx]) func(context.Context) error {
				begin, w := d.bare, newBillWriter(marshalled)
				if contender == "in-tx" {
					begin = func(ctx context.Context, fn func(TTx) error) error {
						return d.inTx(ctx, func(ctx context.Context) error { return fn(txFrom[TTx](ctx)) })
					}
				}
				return func(ctx context.Context) error {
					return begin(ctx, func(tx TTx) error { return insert(ctx, d, tx, w, events, rows) })
				}
			})
		}
		switch {
		case events == 1:
			bare("bare", 1, true)
			bare("in-tx", 1, true) // a transaction of tidings, without the log
		case strings.HasPrefix(db, "sqlite"):
			bare("bare", 25, false)
			bare("bare-one-statement", events, false)
			bare("bare-marshalled", 25, true)
		default:
			bare("bare", events, false)
			bare("bare-marshalled", events, true)
		}
		run("tidings", "tidings_events", func(d *database[TTx]) func(context.Context) error {
			bus := tidings.New()
			must(eventlog.Open(context.Background(), d.log, newRegistry())).Attach(bus)
			publish := func(ctx context.Context) error { return publishBills(ctx, bus, events) }
			return func(ctx context.Context) error { return d.inTx(ctx, publish) }
		})
		run(peer, table, func(d *database[TTx]) func(context.Context) error { return save(d, events) })
	}
}

// A billWriter makes the rows of hand-written code. Its IDs are UUIDv7 that
// count up, but cost no clock and no random bits.
type billWriter struct {
	bill bill
	more int64 // is added to the cents after each
	id   uuid.UUID
	data string // the JSON, if it is marshalled beforehand
}

func newBillWriter(marshalled bool) *billWriter {
	w := &billWriter{bill: aBill, id: randomV7(time.Now())}
	if marshalled {
		w.data = w.marshal()
	}
	return w
}

func (w *billWriter) nextID() uuid.UUID {
	binary.BigEndian.PutUint64(w.id[8:], 1<<63|(binary.BigEndian.Uint64(w.id[8:])+1)<<2>>2)
	return w.id
}

func (w *billWriter) marshal() string {
	if w.data != "" {
		return w.data
	}
	data := must(json.Marshal(&w.bill))
	w.bill.Cents += w.more
	return string(data)
}

const insertBill = `INSERT INTO tidings_events (id, type, version, data, occurred_at, recorded_at, correlation_id, causation_id, stream, stream_version) `

// insert inserts events, so many rows with a statement; events is a multiple of
// that.
func insert[TTx any](ctx context.Context, d *database[TTx], tx TTx, w *billWriter, events, rows int) error {
	statement := insertValues[TTx]
	if d.postgres && rows > 1 {
		statement = insertUnnest[TTx]
	}
	for ; events > 0; events -= rows {
		if err := statement(ctx, d, tx, w, rows); err != nil {
			return err
		}
	}
	return nil
}

func insertValues[TTx any](ctx context.Context, d *database[TTx], tx TTx, w *billWriter, rows int) error {
	const row, more = "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)", ", (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
	args := make([]any, 0, 10*rows)
	for range rows {
		id, now := w.nextID().String(), time.Now()
		at := any(now)
		if !d.postgres {
			at = now.UnixMicro()
		}
		args = append(args, id, billedName, billedVersion, w.marshal(), at, at, id, nil, nil, nil)
	}
	return d.exec(ctx, tx, insertBill+row+strings.Repeat(more, rows-1), args...)
}

// insertUnnest has arrays, which go over the wire in binary, in pgx and through
// its database/sql.
func insertUnnest[TTx any](ctx context.Context, d *database[TTx], tx TTx, w *billWriter, rows int) error {
	var (
		ids, causations = make([]pgtype.UUID, rows), make([]pgtype.UUID, rows)
		types, datas    = make([]string, rows), make([]string, rows)
		versions, times = make([]int32, rows), make([]time.Time, rows)
	)
	for i := range rows {
		ids[i] = pgtype.UUID{Bytes: w.nextID(), Valid: true}
		types[i], versions[i], datas[i], times[i] = billedName, billedVersion, w.marshal(), time.Now()
	}
	return d.exec(ctx, tx, insertBill+`SELECT * FROM unnest($1::uuid[], $2::text[], $3::integer[], $4::text[]::json[], $5::timestamptz[], $6::timestamptz[], $7::uuid[], $8::uuid[], $9::text[], $10::bigint[])`,
		ids, types, versions, datas, times, times, ids, causations, make([]pgtype.Text, rows), make([]pgtype.Int8, rows))
}

// saveHallgren saves the events of a new aggregate each time, with the header of an
// event as their metadata.
func saveHallgren(d *database[*sql.Tx], events int) func(context.Context) error {
	store, w := must(sqlstore.NewSQLite(d.sql)), newBillWriter(false)
	return func(context.Context) error {
		id, now := w.nextID().String(), time.Now()
		list := make([]core.Event, events)
		for i := range list {
			list[i] = core.Event{
				AggregateID: id, AggregateType: "Order", Version: core.Version(i + 1), Reason: "Billed", Timestamp: now,
				Data: []byte(w.marshal()), Metadata: must(json.Marshal(struct{ ID, Correlation uuid.UUID }{w.nextID(), w.id})),
			}
		}
		return store.Save(list)
	}
}

// publishWatermill publishes messages in a transaction, with the header of an event
// as their metadata. There are tables for Postgres and MySQL.
func publishWatermill[TTx any](executor func(TTx) watermillsql.ContextExecutor) func(*database[TTx], int) func(context.Context) error {
	config := watermillsql.PublisherConfig{SchemaAdapter: watermillsql.DefaultPostgreSQLSchema{}}
	return func(d *database[TTx], events int) func(context.Context) error {
		for _, q := range must(config.SchemaAdapter.SchemaInitializingQueries(watermillsql.SchemaInitializingQueriesParams{Topic: "orders"})) {
			must(d.sql.Exec(q.Query, q.Args...))
		}
		w := newBillWriter(false)
		return func(ctx context.Context) error {
			return d.bare(ctx, func(tx TTx) error {
				messages := make([]*message.Message, events)
				for i := range messages {
					id := w.nextID().String()
					messages[i] = message.NewMessageWithContext(ctx, id, []byte(w.marshal()))
					messages[i].Metadata = message.Metadata{
						"type": billedName, "version": strconv.Itoa(billedVersion),
						"occurred_at": time.Now().UTC().Format(time.RFC3339Nano), "correlation_id": id,
					}
				}
				return must(watermillsql.NewPublisher(executor(tx), config, quiet)).Publish("orders", messages...)
			})
		}
	}
}

// BenchmarkLogRead reads and decodes the first events of a log: by hand one query,
// scanned into plain variables, and json.Unmarshal. B-heap is the most that was in
// use on top while one was reading, looked at ten times.
func BenchmarkLogRead(b *testing.B) {
	b.Run("db=sqlite", func(b *testing.B) { benchmarkRead(b, onSQLite("OFF")(b)) }) // how it was written does not matter
	b.Run("db=postgres-stdlib", func(b *testing.B) { benchmarkRead(b, onStdlib(b)) })
	b.Run("db=postgres-pgx", func(b *testing.B) { benchmarkRead(b, onPgx(b)) })
}

func benchmarkRead[TTx any](b *testing.B, d *database[TTx]) {
	all := sizes([]int{100, 10_000}, 1_000_000)
	fill(d, all[len(all)-1])
	log := must(eventlog.Open(context.Background(), d.log, newRegistry()))
	ours := func(ctx context.Context, n int, each func(cents int64)) error {
		for r, err := range log.Read(ctx, eventlog.Limit(n)) {
			if err != nil {
				return err
			}
			each(r.Event.(billed).Cents)
		}
		return nil
	}
	for _, events := range all {
		run := func(contender string, read func(ctx context.Context, n int, each func(cents int64)) error) {
			b.Run(fmt.Sprintf("events=%d/contender=%s", events, contender), func(b *testing.B) {
				before, most, n := heapInUse(), int64(0), 0
				check(read(context.Background(), events, func(int64) {
					if n++; n%(events/10) == 0 {
						most = max(most, heapInUse())
					}
				}))
				// What was in use before, and is not any more, has nothing to do with it.
				most -= min(before, heapInUse())
				var sum int64
				repeat(b, func(ctx context.Context) error {
					return read(ctx, events, func(cents int64) { sum += cents })
				})
				require.EqualValues(b, b.N*events*(events-1)/2, sum, "cents")
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*events), "ns/event")
				b.ReportMetric(float64(most), "B-heap")
			})
		}
		run("bare", d.readBare)
		run("tidings", ours)
	}
}

// fill appends events by hand. The first has no cents, each other one a cent more
// than the one before.
func fill[TTx any](d *database[TTx], events int) {
	ctx, w := context.Background(), newBillWriter(false)
	w.bill.Cents, w.more = 0, 1
	const atOnce = 10_000
	rows := 25
	if d.postgres {
		rows = atOnce
	}
	for n := 0; n < events; n += atOnce {
		check(d.bare(ctx, func(tx TTx) error { return insert(ctx, d, tx, w, atOnce, rows) }))
	}
	if d.postgres {
		// As autovacuum would: the first reader is not the one to note in every row
		// that it is committed.
		must(d.sql.Exec("VACUUM ANALYZE tidings_events"))
	}
}

// selectBills reads the columns that Log.Read does.
const selectBills = `SELECT position, id, type, version, data, occurred_at, recorded_at, correlation_id, causation_id, stream, stream_version FROM tidings_events ORDER BY `

func (d *database[TTx]) readBare(ctx context.Context, n int, each func(cents int64)) error {
	order, scan := "tx, position", scanBills[time.Time]
	if !d.postgres {
		order, scan = "position", scanBills[int64]
	}
	query := selectBills + order + " LIMIT $1"
	if _, native := any(d).(*database[pgx.Tx]); native {
		return scan(must(d.pool.Query(ctx, query, n)), each)
	}
	rows := must(d.sql.QueryContext(ctx, query, n))
	return errors.Join(scan(rows, each), rows.Close())
}

// rows are those of database/sql, and of pgx.
type rows interface {
	Next() bool
	Scan(...any) error
	Err() error
}

// scanBills scans rows. Time is what the database has for one.
func scanBills[Time any](rows rows, each func(cents int64)) error {
	var (
		position, version    int64
		id, typ, correlation string
		data                 []byte
		occurred, recorded   Time
		causation, stream    sql.NullString
		streamVersion        sql.NullInt64
	)
	for rows.Next() {
		if err := rows.Scan(&position, &id, &typ, &version, &data, &occurred, &recorded, &correlation, &causation, &stream, &streamVersion); err != nil {
			return err
		}
		var e billed
		if err := json.Unmarshal(data, &e); err != nil {
			return err
		}
		each(e.Cents)
	}
	return rows.Err()
}
