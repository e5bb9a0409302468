package transactions_test

import (
	"context"
	"database/sql"
	"testing"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	"github.com/jackc/pgx/v5"
	"github.com/jmoiron/sqlx"
	"github.com/ncruces/go-sqlite3/gormlite"
	"github.com/stretchr/testify/require"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"github.com/uptrace/bun/dialect/sqlitedialect"
	"github.com/uptrace/bun/schema"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/transactions"
	"github.com/tidings-go/tidings/examples/transactions/ent"
	"github.com/tidings-go/tidings/internal/testdb"
	"github.com/tidings-go/tidings/tx/buntx"
	"github.com/tidings-go/tidings/tx/gormtx"
	"github.com/tidings-go/tidings/tx/pgxtx"
)

// newDB is newSQLite or newPostgres.
type newDB func(*testing.T) (db, observer *sql.DB)

func TestPGX(t *testing.T) {
	testdb.Server(t)
	exerciseTransactor(t, func(t *testing.T) library {
		pool, observer := newPGX(t)
		exec := func(ctx context.Context, query string, args ...any) error {
			return inTx(ctx, pool, func(tx pgx.Tx) error {
				_, err := tx.Exec(ctx, query, args...)
				return err
			})
		}
		return withTransactor(library{
			insert: func(ctx context.Context, number string) error {
				return exec(ctx, "INSERT INTO invoices (number) VALUES ($1)", number)
			},
			exec: func(ctx context.Context, query string) error { return exec(ctx, query) },
			sandbox: func(t *testing.T) (any, any) {
				tx, err := pool.Begin(t.Context())
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, tx.Rollback(context.Background())) })
				return pool, tx
			},
			stored: numbers(observer),
		}, pgxtx.Transactor(pool))
	})
}

func TestGORM_SQLite(t *testing.T) {
	testGORM(t, newSQLite, func(db *sql.DB) gorm.Dialector { return gormlite.OpenDB(db) })
}

func TestGORM_Postgres(t *testing.T) {
	testdb.Server(t)
	testGORM(t, newPostgres, func(db *sql.DB) gorm.Dialector { return postgres.New(postgres.Config{Conn: db}) })
}

func testGORM(t *testing.T, open newDB, dialector func(*sql.DB) gorm.Dialector) {
	type Invoice struct {
		ID     int64
		Number string
	}
	exerciseTransactor(t, func(t *testing.T) library {
		conn, observer := open(t)
		db, err := gorm.Open(dialector(conn), &gorm.Config{Logger: logger.Discard})
		require.NoError(t, err)
		return withTransactor(library{
			insert: func(ctx context.Context, number string) error {
				return inTx(ctx, conn, func(*sql.Tx) error {
					return gormtx.From(ctx, db).Create(&Invoice{Number: number}).Error
				})
			},
			exec: func(ctx context.Context, query string) error {
				return inTx(ctx, conn, func(*sql.Tx) error { return gormtx.From(ctx, db).Exec(query).Error })
			},
			kept: func(ctx context.Context) context.Context {
				return gormtx.From(ctx, db).Statement.Context
			},
			sandbox: func(t *testing.T) (any, any) {
				tx, err := conn.Begin()
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, tx.Rollback()) })
				return conn, tx
			},
			stored: numbers(observer),
		}, gormtx.Transactor(db))
	})
}

func TestBun_SQLite(t *testing.T) { testBun(t, newSQLite, sqlitedialect.New()) }

func TestBun_Postgres(t *testing.T) {
	testdb.Server(t)
	testBun(t, newPostgres, pgdialect.New())
}

func testBun(t *testing.T, open newDB, dialect schema.Dialect) {
	type Invoice struct {
		ID     int64 `bun:",pk,autoincrement"`
		Number string
	}
	exerciseTransactor(t, func(t *testing.T) library {
		conn, observer := open(t)
		db := bun.NewDB(conn, dialect)
		return withTransactor(library{
			insert: func(ctx context.Context, number string) error {
				return inTx(ctx, conn, func(tx bun.Tx) error {
					_, err := tx.NewInsert().Model(&Invoice{Number: number}).Exec(ctx)
					return err
				})
			},
			exec: func(ctx context.Context, query string) error {
				return inTx(ctx, conn, func(tx bun.Tx) error {
					_, err := tx.ExecContext(ctx, query)
					return err
				})
			},
			sandbox: func(t *testing.T) (any, any) {
				tx, err := db.BeginTx(context.Background(), nil)
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, tx.Rollback()) })
				return conn, tx
			},
			stored: numbers(observer),
		}, buntx.Transactor(db))
	})
}

func TestEnt_SQLite(t *testing.T) { testEnt(t, newSQLite, dialect.SQLite) }

func TestEnt_Postgres(t *testing.T) {
	testdb.Server(t)
	testEnt(t, newPostgres, dialect.Postgres)
}

func testEnt(t *testing.T, open newDB, dialect string) {
	exerciseTransactor(t, func(t *testing.T) library {
		conn, observer := open(t)
		client := ent.NewClient(ent.Driver(entsql.OpenDB(dialect, conn)))
		return withTransactor(library{
			insert: func(ctx context.Context, number string) error {
				return inTx(ctx, client, func(tx *ent.Tx) error {
					return tx.Invoice.Create().SetNumber(number).Exec(ctx)
				})
			},
			exec: func(ctx context.Context, query string) error {
				return inTx(ctx, client, func(tx *ent.Tx) error {
					_, err := tx.ExecContext(ctx, query)
					return err
				})
			},
			sandbox: func(t *testing.T) (any, any) {
				tx, err := client.Tx(context.Background())
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, tx.Rollback()) })
				return client, tx
			},
			stored: numbers(observer),
		}, transactions.Ent(client))
	})
}

func TestSqlx_SQLite(t *testing.T) { testSqlx(t, newSQLite, "sqlite3") }

func TestSqlx_Postgres(t *testing.T) {
	testdb.Server(t)
	testSqlx(t, newPostgres, "pgx")
}

// testSqlx tells sqlx which placeholders the driver has, by a name it knows.
func testSqlx(t *testing.T, open newDB, driver string) {
	type Invoice struct{ Number string }
	exerciseTransactor(t, func(t *testing.T) library {
		conn, observer := open(t)
		db := sqlx.NewDb(conn, driver)
		return withTransactor(library{
			insert: func(ctx context.Context, number string) error {
				return inTx(ctx, db, func(tx *sqlx.Tx) error {
					_, err := tx.NamedExecContext(ctx, "INSERT INTO invoices (number) VALUES (:number)", Invoice{Number: number})
					return err
				})
			},
			exec: func(ctx context.Context, query string) error {
				return inTx(ctx, db, func(tx *sqlx.Tx) error {
					_, err := tx.ExecContext(ctx, query)
					return err
				})
			},
			sandbox: func(t *testing.T) (any, any) {
				tx, err := db.Beginx()
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, tx.Rollback()) })
				return db, tx
			},
			stored: numbers(observer),
		}, transactions.Sqlx(db))
	})
}

func TestInTx_SQLite(t *testing.T) {
	testInTx(t, newSQLite, "INSERT INTO invoices (number) VALUES (?)")
}

func TestInTx_Postgres(t *testing.T) {
	testdb.Server(t)
	testInTx(t, newPostgres, "INSERT INTO invoices (number) VALUES ($1)")
}

func testInTx(t *testing.T, open newDB, insert string) {
	exerciseTransactor(t, func(t *testing.T) library {
		db, observer := open(t)
		exec := func(ctx context.Context, query string, args ...any) error {
			return inTx(ctx, db, func(tx *sql.Tx) error {
				_, err := tx.ExecContext(ctx, query, args...)
				return err
			})
		}
		return library{
			transactor: tidings.SQL(db),
			transact: func(ctx context.Context, fn func(context.Context) error) error {
				return tidings.InTx(ctx, db, nil, func(ctx context.Context, tx *sql.Tx) error {
					if found, _ := tidings.TxFrom[*sql.Tx](ctx, db); found != tx {
						return errNoTx
					}
					return fn(ctx)
				})
			},
			insert: func(ctx context.Context, number string) error { return exec(ctx, insert, number) },
			exec:   func(ctx context.Context, query string) error { return exec(ctx, query) },
			sandbox: func(t *testing.T) (any, any) {
				tx, err := db.Begin()
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, tx.Rollback()) })
				return db, tx
			},
			stored: numbers(observer),
		}
	})
}

func TestTxHook_SQLite(t *testing.T) { testTxHook(t, newSQLite) }

func TestTxHook_Postgres(t *testing.T) {
	testdb.Server(t)
	testTxHook(t, newPostgres)
}

// testTxHook is for transactions that are begun and committed by hand.
func testTxHook(t *testing.T, open newDB) {
	exercise(t, func(t *testing.T) library {
		db, observer := open(t)
		exec := func(ctx context.Context, query string) error {
			return inTx(ctx, db, func(tx *sql.Tx) error {
				_, err := tx.ExecContext(ctx, query)
				return err
			})
		}
		outermost := func(ctx context.Context, fn func(context.Context) error) error {
			ctx, hook := tidings.NewTxHook(ctx, db)
			defer hook.Rollback(ctx)
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			defer tx.Rollback()
			ctx = tidings.WithTx(ctx, db, tx)
			if err := fn(ctx); err != nil {
				return err
			}
			if err := hook.Prepare(ctx); err != nil {
				return err
			}
			if err := tx.Commit(); err != nil {
				return err
			}
			return hook.Commit(ctx)
		}
		nested := func(ctx context.Context, fn func(context.Context) error) error {
			ctx, hook := tidings.NewTxHook(ctx, db)
			defer hook.Rollback(ctx)
			if err := exec(ctx, "SAVEPOINT s"); err != nil {
				return err
			}
			kept := false
			defer func() {
				if !kept {
					require.NoError(t, exec(context.WithoutCancel(ctx), "ROLLBACK TO SAVEPOINT s"))
				}
				require.NoError(t, exec(context.WithoutCancel(ctx), "RELEASE SAVEPOINT s"))
			}()
			if err := fn(ctx); err != nil {
				return err
			}
			kept = true
			return hook.Commit(ctx)
		}
		return library{
			transact: func(ctx context.Context, fn func(context.Context) error) error {
				if _, ok := tidings.TxFrom[*sql.Tx](ctx, db); ok {
					return nested(ctx, fn)
				}
				return outermost(ctx, fn)
			},
			insert: func(ctx context.Context, number string) error {
				return exec(ctx, "INSERT INTO invoices (number) VALUES ('"+number+"')")
			},
			exec:   exec,
			stored: numbers(observer),
		}
	})
}
