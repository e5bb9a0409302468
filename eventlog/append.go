package eventlog

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog/internal/backend"
)

// A row is an event to append.
type row struct {
	tidings.Envelope
	stream     string    // "": none
	version    int64     // within the stream
	recordedAt time.Time // zero: now
}

// recorded returns the time when r is recorded, if it is recorded now.
func (r *row) recorded(now time.Time) time.Time {
	if r.recordedAt.IsZero() {
		return now
	}
	return r.recordedAt
}

const insertInto = `INSERT INTO tidings_events (id, type, version, data, occurred_at, recorded_at, correlation_id, causation_id, stream, stream_version) `

// columns is the number of columns that insertInto names.
const columns = 10

// orSkip skips an event that the log has already. That can happen even to an
// event that is new to its publisher: a handler in the same transaction may
// have appended it to a stream, through this Log or another one.
const orSkip = ` ON CONFLICT (id) DO NOTHING`

// append appends the rows that the log does not have: in the transaction of
// ctx, or, outside a transaction, all of them or none.
func (l *Log) append(ctx context.Context, rows []row) error {
	tx, err := l.db.Tx(ctx)
	switch {
	case err != nil:
		return err
	case tx != nil:
		if err := l.insert(ctx, tx, rows); err != nil {
			return err
		}
		l.wakeOnCommit(ctx)
		return nil
	case len(rows) == 1:
		err = l.insert(ctx, l.db.Pool(), rows)
	default:
		err = l.db.InTx(ctx, func(ctx context.Context, tx backend.Querier) error { return l.insert(ctx, tx, rows) })
	}
	if err == nil {
		l.wake()
	}
	return err
}

// insert runs the statements that insert rows, in order.
func (l *Log) insert(ctx context.Context, q backend.Querier, rows []row) error {
	return l.statements(rows, time.Now(), func(query string, args []any) error {
		_, err := q.Exec(ctx, query+orSkip, args...)
		return err
	})
}

// statements calls run with each statement that inserts rows, in order.
func (l *Log) statements(rows []row, now time.Time, run func(query string, args []any) error) error {
	most, one, many := sqliteRows, insertSQLite, insertSQLite
	if l.dialect == backend.Postgres {
		most, one, many = 5000, insertPostgresOne, insertPostgresText
		if l.db.TakesSlices() {
			many = insertPostgresSlices
		}
	}
	for len(rows) > 0 {
		n := chunk(rows, most)
		build := many
		if n == 1 {
			build = one
		}
		if err := run(build(rows[:n], now)); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

// chunkBytes limits the data in one statement: Postgres limits a parameter to a
// gigabyte, and the statement is held in memory.
const chunkBytes = 8 << 20

// chunk returns how many rows go into the next statement.
func chunk(rows []row, most int) int {
	most = min(len(rows), most)
	size := 0
	for i := range most {
		if size += len(rows[i].Data); size > chunkBytes && i > 0 {
			return i
		}
	}
	return most
}

// appendNullable appends the last three columns.
func appendNullable(args []any, r *row) []any {
	var causation, stream, version any
	if r.CausationID != uuid.Nil {
		causation = r.CausationID.String()
	}
	if r.stream != "" {
		stream, version = r.stream, r.version
	}
	return append(args, causation, stream, version)
}
