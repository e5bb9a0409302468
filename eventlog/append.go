package eventlog

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog/internal/backend"
)

// A row is an event to be appended.
type row struct {
	tidings.Envelope
	stream     string    // "": none
	version    int64     // within the stream
	recordedAt time.Time // zero: now
	during     *token    // of a published event, see publishers; else nil
}

// recorded returns when r is recorded, if it is now.
func (r *row) recorded(now time.Time) time.Time {
	if r.recordedAt.IsZero() {
		return now
	}
	return r.recordedAt
}

const insertInto = `INSERT INTO tidings_events (id, type, version, data, occurred_at, recorded_at, correlation_id, causation_id, stream, stream_version) `

// columns is the number of those that insertInto names.
const columns = 10

// A conflict says what becomes of an event that the log has already.
type conflict string

const (
	conflictFails conflict = ""
	conflictSkips conflict = ` ON CONFLICT (id) DO NOTHING`
)

// sqliteRows is how many rows go into one statement. More are not faster:
// the driver looks for each parameter in the list of all of them.
const sqliteRows = 25

// append appends rows in the transaction of ctx, and outside of any all of
// them or none.
func (l *Log) append(ctx context.Context, rows []row, on conflict) error {
	tx, err := l.db.Tx(ctx)
	switch {
	case err != nil:
		return err
	case tx != nil:
		return l.insert(ctx, tx, rows, on)
	case len(rows) == 1:
		return l.insert(ctx, l.db.Pool(), rows, on)
	}
	return l.db.InTx(ctx, func(ctx context.Context, tx backend.Querier) error { return l.insert(ctx, tx, rows, on) })
}

// insert runs the statements for rows, in order.
func (l *Log) insert(ctx context.Context, q backend.Querier, rows []row, on conflict) error {
	return l.statements(rows, time.Now(), func(query string, args []any) error {
		_, err := q.Exec(ctx, query+string(on), args...)
		return err
	})
}

// statements calls run with each of those that insert rows, in order.
func (l *Log) statements(rows []row, now time.Time, run func(query string, args []any) error) error {
	most, build := sqliteRows, insertSQLite
	if l.dialect == backend.Postgres {
		most, build = 5000, insertPostgres
	}
	for len(rows) > 0 {
		n := chunk(rows, most)
		query, args := build(rows[:n], now)
		if err := run(query, args); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

// chunkBytes bounds the data in one statement: a parameter of Postgres ends
// at a gigabyte, and what is built has to be held in memory.
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

var sqliteValues = func() (values [sqliteRows + 1]string) {
	tuple := "(?" + strings.Repeat(", ?", columns-1) + ")"
	for n := 1; n <= sqliteRows; n++ {
		values[n] = insertInto + "VALUES " + tuple + strings.Repeat(", "+tuple, n-1)
	}
	return values
}()

func insertSQLite(rows []row, now time.Time) (query string, args []any) {
	args = make([]any, 0, len(rows)*columns)
	for i := range rows {
		r := &rows[i]
		args = append(args, r.ID.String(), r.Type, r.Version, string(r.Data), r.OccurredAt.UnixMicro(), r.recorded(now).UnixMicro(), r.CorrelationID.String())
		args = appendNullable(args, r)
	}
	return sqliteValues[len(rows)], args
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

const (
	postgresOne  = insertInto + `VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`
	postgresMany = insertInto + `SELECT * FROM unnest($1::text::uuid[], $2::text::text[], $3::text::integer[], $4::text::json[], $5::text::timestamptz[], $6::text::timestamptz[], $7::text::uuid[], $8::text::uuid[], $9::text::text[], $10::text::bigint[])`
)

// insertPostgres sends arrays as text, which every driver can.
func insertPostgres(rows []row, now time.Time) (query string, args []any) {
	if len(rows) == 1 {
		r := &rows[0]
		args = []any{r.ID.String(), r.Type, r.Version, string(r.Data), r.OccurredAt, r.recorded(now), r.CorrelationID.String()}
		return postgresOne, appendNullable(args, r)
	}
	var arrays [columns]array
	const format = "2006-01-02T15:04:05.999999Z07:00"
	appended := now.Format(format)
	for i := range rows {
		r, recorded := &rows[i], appended
		if !r.recordedAt.IsZero() {
			recorded = r.recordedAt.Format(format)
		}
		arrays[0].plain(r.ID.String())
		arrays[1].quoted(r.Type)
		arrays[2].plain(strconv.Itoa(r.Version))
		arrays[3].quoted(string(r.Data))
		arrays[4].plain(r.OccurredAt.Format(format))
		arrays[5].plain(recorded)
		arrays[6].plain(r.CorrelationID.String())
		if r.CausationID != uuid.Nil {
			arrays[7].plain(r.CausationID.String())
		} else {
			arrays[7].plain("NULL")
		}
		if r.stream != "" {
			arrays[8].quoted(r.stream)
			arrays[9].plain(strconv.FormatInt(r.version, 10))
		} else {
			arrays[8].plain("NULL")
			arrays[9].plain("NULL")
		}
	}
	for i := range arrays {
		args = append(args, arrays[i].String())
	}
	return postgresMany, args
}

// An array is a Postgres array literal in the making, see
// https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO.
type array struct{ b []byte }

func (a *array) begin() {
	if a.b == nil {
		a.b = append(a.b, '{')
	} else {
		a.b = append(a.b, ',')
	}
}

func (a *array) plain(s string) {
	a.begin()
	a.b = append(a.b, s...)
}

func (a *array) quoted(s string) {
	a.begin()
	a.b = append(a.b, '"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			a.b = append(a.b, '\\')
		}
		a.b = append(a.b, s[i])
	}
	a.b = append(a.b, '"')
}

func (a *array) String() string { return string(append(a.b, '}')) }
