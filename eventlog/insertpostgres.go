package eventlog

import (
	"strconv"
	"time"

	"github.com/google/uuid"
)

const (
	postgresOne    = insertInto + `VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`
	postgresSlices = insertInto + `SELECT * FROM unnest($1::text[]::uuid[], $2::text[], $3::integer[], $4::text[]::json[], $5::timestamptz[], $6::timestamptz[], $7::text[]::uuid[], $8::text[]::uuid[], $9::text[], $10::bigint[])`
	postgresText   = insertInto + `SELECT * FROM unnest($1::text::uuid[], $2::text::text[], $3::text::integer[], $4::text::json[], $5::text::timestamptz[], $6::text::timestamptz[], $7::text::uuid[], $8::text::uuid[], $9::text::text[], $10::text::bigint[])`
)

func insertPostgresOne(rows []row, now time.Time) (query string, args []any) {
	r := &rows[0]
	args = []any{r.ID.String(), r.Type, r.Version, string(r.Data), postgresTime(r.OccurredAt), postgresTime(r.recorded(now)), r.CorrelationID.String()}
	return postgresOne, appendNullable(args, r)
}

// insertPostgresSlices is for drivers that take slices, as pgx does. It uses
// only types whose array type pgx knows without asking the server, since it
// cannot ask in the simple protocol.
func insertPostgresSlices(rows []row, now time.Time) (query string, args []any) {
	n := len(rows)
	ids, types, versions, data := make([]string, n), make([]string, n), make([]int32, n), make([]string, n)
	occurred, recorded := make([]time.Time, n), make([]time.Time, n)
	correlations, causations := make([]string, n), make([]*string, n)
	streams, streamVersions := make([]*string, n), make([]*int64, n)
	for i := range rows {
		r := &rows[i]
		ids[i], types[i], versions[i], data[i] = r.ID.String(), r.Type, int32(r.Version), string(r.Data)
		occurred[i], recorded[i] = r.OccurredAt, r.recorded(now)
		correlations[i] = r.CorrelationID.String()
		if r.CausationID != uuid.Nil {
			causation := r.CausationID.String()
			causations[i] = &causation
		}
		if r.stream != "" {
			streams[i], streamVersions[i] = &r.stream, &r.version
		}
	}
	return postgresSlices, []any{ids, types, versions, data, occurred, recorded, correlations, causations, streams, streamVersions}
}

// insertPostgresText sends arrays as text, which works with every driver.
func insertPostgresText(rows []row, now time.Time) (query string, args []any) {
	var arrays [columns]array
	appended := postgresTime(now)
	for i := range rows {
		r, recorded := &rows[i], appended
		if !r.recordedAt.IsZero() {
			recorded = postgresTime(r.recordedAt)
		}
		arrays[0].plain(r.ID.String())
		arrays[1].quoted(r.Type)
		arrays[2].plain(strconv.Itoa(r.Version))
		arrays[3].quoted(string(r.Data))
		arrays[4].quoted(postgresTime(r.OccurredAt))
		arrays[5].quoted(recorded)
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
	return postgresText, args
}

// An array builds a Postgres array literal, see
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
