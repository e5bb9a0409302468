package bench

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// insertBill inserts into all the columns that the log does.
const insertBill = `INSERT INTO tidings_events (id, type, version, data, occurred_at, recorded_at, correlation_id, causation_id, stream, stream_version) `

const (
	insertOneSQLite   = insertBill + `VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	insertOnePostgres = insertBill + `VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`
	// The arrays go over the wire in binary, in pgx natively and through its
	// database/sql.
	insertManyPostgres = insertBill + `SELECT * FROM unnest($1::uuid[], $2::text[], $3::integer[], $4::text[]::json[], $5::timestamptz[], $6::timestamptz[], $7::uuid[], $8::uuid[], $9::text[], $10::bigint[])`
)

func insertManySQLite(rows int) string {
	const tuple = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
	return insertBill + "VALUES " + tuple + strings.Repeat(", "+tuple, rows-1)
}

// insertOne inserts one row.
func (w *billWriter) insertOne(ctx context.Context, postgres bool, do exec) error {
	data, err := w.marshal()
	if err != nil {
		return err
	}
	id, now := w.nextID().String(), time.Now()
	if postgres {
		return do(ctx, insertOnePostgres, id, billedName, billedVersion, data, now, now, id, nil, nil, nil)
	}
	at := now.UnixMicro()
	return do(ctx, insertOneSQLite, id, billedName, billedVersion, data, at, at, id, nil, nil, nil)
}

// insertSQLite inserts rows with a statement for each chunk of them; query is
// that of a chunk.
func (w *billWriter) insertSQLite(ctx context.Context, query string, rows, chunk int, do exec) error {
	for ; rows > 0; rows -= chunk {
		if rows < chunk {
			query, chunk = insertManySQLite(rows), rows
		}
		args := make([]any, 0, 10*chunk)
		for range chunk {
			data, err := w.marshal()
			if err != nil {
				return err
			}
			id, at := w.nextID().String(), time.Now().UnixMicro()
			args = append(args, id, billedName, billedVersion, data, at, at, id, nil, nil, nil)
		}
		if err := do(ctx, query, args...); err != nil {
			return err
		}
	}
	return nil
}

// insertPostgres inserts rows with one statement.
func (w *billWriter) insertPostgres(ctx context.Context, rows int, do exec) error {
	var (
		ids        = make([]pgtype.UUID, rows)
		types      = make([]string, rows)
		versions   = make([]int32, rows)
		datas      = make([]string, rows)
		times      = make([]time.Time, rows)
		causations = make([]pgtype.UUID, rows)
		streams    = make([]pgtype.Text, rows)
		numbers    = make([]pgtype.Int8, rows)
		err        error
	)
	for i := range rows {
		ids[i] = pgtype.UUID{Bytes: w.nextID(), Valid: true}
		types[i], versions[i], times[i] = billedName, billedVersion, time.Now()
		if datas[i], err = w.marshal(); err != nil {
			return err
		}
	}
	return do(ctx, insertManyPostgres, ids, types, versions, datas, times, times, ids, causations, streams, numbers)
}
