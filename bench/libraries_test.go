package bench_test

import (
	"context"
	"database/sql"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jmoiron/sqlx"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/tx/buntx"
	"github.com/tidings-go/tidings/tx/gormtx"
	"github.com/tidings-go/tidings/tx/pgxtx"
	"github.com/tidings-go/tidings/tx/sqlxtx"
)

// BenchmarkLibraries is a transaction that inserts a row, without events: with a library
// alone, and with InTx for it.
func BenchmarkLibraries(b *testing.B) {
	const insert = `INSERT INTO tasks (title) VALUES ('call')`
	compare := func(name string, bare, tidings func(ctx context.Context) error) {
		b.Run(name+"/contender=bare", func(b *testing.B) { repeat(b, bare) })
		b.Run(name+"/contender=tidings", func(b *testing.B) { repeat(b, tidings) })
	}
	onSQLDB := func(name, id string, d *database[*sql.Tx]) {
		must(d.sql.Exec(`CREATE TABLE tasks (id ` + id + `, title TEXT NOT NULL)`))
		compare(name, func(ctx context.Context) error {
			return d.bare(ctx, func(tx *sql.Tx) error { return d.exec(ctx, tx, insert) })
		}, func(ctx context.Context) error {
			return tidings.InTx(ctx, d.sql, nil, func(ctx context.Context, tx *sql.Tx) error { return d.exec(ctx, tx, insert) })
		})
	}
	onSQLDB("db=sqlite/library=sql", "INTEGER PRIMARY KEY", onSQLite("NORMAL")(b))
	std := onStdlib(b)
	onSQLDB("db=postgres/library=sql", "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY", std)

	pool := std.pool
	compare("db=postgres/library=pgx", func(ctx context.Context) error {
		return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, insert)
			return err
		})
	}, func(ctx context.Context) error {
		return pgxtx.InTx(ctx, pool, pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, insert)
			return err
		})
	})

	g := must(gorm.Open(postgres.New(postgres.Config{Conn: std.sql}), &gorm.Config{Logger: logger.Discard}))
	compare("db=postgres/library=gorm", func(ctx context.Context) error {
		return g.WithContext(ctx).Transaction(func(tx *gorm.DB) error { return tx.Exec(insert).Error })
	}, func(ctx context.Context) error {
		return gormtx.InTx(ctx, g, nil, func(_ context.Context, tx *gorm.DB) error { return tx.Exec(insert).Error })
	})

	bunDB := bun.NewDB(std.sql, pgdialect.New())
	compare("db=postgres/library=bun", func(ctx context.Context) error {
		return bunDB.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
			_, err := tx.ExecContext(ctx, insert)
			return err
		})
	}, func(ctx context.Context) error {
		return buntx.InTx(ctx, bunDB, nil, func(ctx context.Context, tx bun.Tx) error {
			_, err := tx.ExecContext(ctx, insert)
			return err
		})
	})

	x := sqlx.NewDb(std.sql, "pgx")
	compare("db=postgres/library=sqlx", func(ctx context.Context) error {
		tx, err := x.BeginTxx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback() // says so after a commit
		if _, err := tx.ExecContext(ctx, insert); err != nil {
			return err
		}
		return tx.Commit()
	}, func(ctx context.Context) error {
		return sqlxtx.InTx(ctx, x, nil, func(ctx context.Context, tx *sqlx.Tx) error {
			_, err := tx.ExecContext(ctx, insert)
			return err
		})
	})
}
