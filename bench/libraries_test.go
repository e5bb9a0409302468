package bench_test

import (
	"context"
	"database/sql"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/tx/pgxtx"
)

const insertTask = `INSERT INTO tasks (title) VALUES ($1)`

// BenchmarkLibraries is a transaction that inserts a row, without events: with a library
// alone, and with InTx for it.
func BenchmarkLibraries(b *testing.B) {
	createTasks := func(db *sql.DB, id string) {
		must(db.Exec(`CREATE TABLE tasks (id ` + id + `, title TEXT NOT NULL)`))
	}
	const serial, integer = "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY", "INTEGER PRIMARY KEY"
	compare := func(b *testing.B, name string, bare, tidings func(ctx context.Context) error) {
		b.Run(name+"/contender=bare", func(b *testing.B) { repeat(b, bare) })
		b.Run(name+"/contender=tidings", func(b *testing.B) { repeat(b, tidings) })
	}

	onSQLDB := func(b *testing.B, name string, d *database[*sql.Tx]) {
		compare(b, name, func(ctx context.Context) error {
			return d.bare(ctx, func(tx *sql.Tx) error { return d.exec(ctx, tx, insertTask, "call") })
		}, func(ctx context.Context) error {
			return tidings.InTx(ctx, d.sql, nil, func(ctx context.Context, tx *sql.Tx) error {
				return d.exec(ctx, tx, insertTask, "call")
			})
		})
	}
	lite := onSQLite("NORMAL")(b)
	createTasks(lite.sql, integer)
	onSQLDB(b, "db=sqlite/library=sql", lite)
	stdlib := onStdlib(b)
	createTasks(stdlib.sql, serial)
	onSQLDB(b, "db=postgres/library=sql", stdlib)

	pool := onPgx(b)
	createTasks(pool.sql, serial)
	compare(b, "db=postgres/library=pgx", func(ctx context.Context) error {
		return pool.bare(ctx, func(tx pgx.Tx) error { return pool.exec(ctx, tx, insertTask, "call") })
	}, func(ctx context.Context) error {
		return pgxtx.InTx(ctx, pool.pool, pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
			return pool.exec(ctx, tx, insertTask, "call")
		})
	})
}
