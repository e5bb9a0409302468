package transactions_test

import (
	"context"
	"database/sql"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/tidingstest"
)

// A test sees what a COMMIT would refuse, and a test that is to pass passes.
func TestSandboxChecksDeferredConstraints(t *testing.T) {
	t.Parallel()
	for _, database := range []struct {
		name     string
		open     func(*testing.T) (db, observer *sql.DB)
		postgres bool
	}{
		{"sqlite", newSQLite, false},
		{"postgres", newPostgres, true},
	} {
		t.Run(database.name, func(t *testing.T) {
			t.Parallel()
			for _, tt := range []struct {
				reason     string
				statements []string
				postgres   bool // only there
				fails      bool
			}{
				{"a reference to what is not there", []string{"INSERT INTO payments VALUES (7)"}, false, true},
				{"one that is mended in time", []string{"INSERT INTO payments VALUES (7)", "INSERT INTO invoices (id, number) VALUES (7, 'A')"}, false, false},
				{"one that is taken back", []string{"INSERT INTO payments VALUES (7)", "DELETE FROM payments"}, false, false},
				{"made by a DELETE", []string{"DELETE FROM invoices WHERE id = 1"}, false, true},
				{"nothing to check", []string{"INSERT INTO invoices (id, number) VALUES (2, 'A')"}, false, false},
				{"a unique key that is checked later", []string{"UPDATE places SET n = n + 1"}, true, false},
				{"a unique key that is broken", []string{"UPDATE places SET n = 1"}, true, true},
				{"a key that was deferred by hand", []string{"SET CONSTRAINTS ALL DEFERRED", "UPDATE rooms SET n = 1"}, true, true},
			} {
				if tt.postgres && !database.postgres {
					continue
				}
				t.Run(tt.reason, func(t *testing.T) {
					t.Parallel()
					db, _ := database.open(t)
					setUp := []string{"INSERT INTO invoices (id, number) VALUES (1, 'first')", "INSERT INTO payments VALUES (1)"}
					if database.postgres {
						setUp = append(setUp,
							"CREATE TABLE places (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)", "INSERT INTO places VALUES (1), (2)",
							"CREATE TABLE rooms (n int UNIQUE DEFERRABLE)", "INSERT INTO rooms VALUES (1), (2)")
					}
					exec(t, db, setUp...)
					work := func(bus *tidings.EventBus) func(context.Context, *sql.Tx) error {
						return func(ctx context.Context, tx *sql.Tx) error {
							for _, s := range tt.statements {
								if _, err := tx.ExecContext(ctx, s); err != nil {
									return err
								}
							}
							return tidings.Publish(ctx, bus, InvoiceIssued{})
						}
					}
					check := func(ctx context.Context, rec *tidingstest.Recorder, err error) {
						t.Helper()
						if tt.fails {
							require.Error(t, err)
							require.Empty(t, rec.Delivered())
							require.Len(t, rec.RolledBack(), 1)
						} else {
							require.NoError(t, err)
							require.Len(t, rec.Delivered(), 1)
						}
					}

					t.Run("InTx", func(t *testing.T) {
						ctx, tx := tidingstest.Sandbox(t, db)
						bus := tidingstest.NewBus(t)
						rec := tidingstest.Record(bus)
						check(ctx, rec, tidings.InTx(ctx, db, nil, work(bus)))

						// A new outermost transaction in the sandbox defers again.
						require.NoError(t, tidings.InTx(ctx, db, nil, func(ctx context.Context, tx *sql.Tx) error {
							if _, err := tx.ExecContext(ctx, "INSERT INTO payments VALUES (8)"); err != nil {
								return err
							}
							_, err := tx.ExecContext(ctx, "INSERT INTO invoices (id, number) VALUES (8, 'B')")
							return err
						}))
						require.ErrorContains(t, tidings.InTx(ctx, db, nil, func(ctx context.Context, tx *sql.Tx) error {
							_, err := tx.ExecContext(ctx, "INSERT INTO payments VALUES (9)")
							return err
						}), "constraint")
						var payments int
						require.NoError(t, tx.QueryRow("SELECT count(*) FROM payments WHERE invoice_id > 7").Scan(&payments))
						require.Equal(t, 1, payments)
					})
					t.Run("Commit", func(t *testing.T) {
						ctx, tx := tidingstest.Sandbox(t, db)
						bus := tidingstest.NewBus(t)
						rec := tidingstest.Record(bus)
						check(ctx, rec, tidingstest.Commit(t.Context(), db, tx, func(ctx context.Context) error {
							// A nested transaction is a savepoint, which checks nothing.
							return tidings.InTx(ctx, db, nil, work(bus))
						}))
					})
					t.Run("the program", func(t *testing.T) {
						bus := tidingstest.NewBus(t)
						rec := tidingstest.Record(bus)
						check(t.Context(), rec, tidings.InTx(t.Context(), db, nil, work(bus)))
					})
				})
			}
		})
	}
}

// A SQLite connection that enforces no foreign keys commits everything. Rows that
// violated a constraint before the test do not count.
func TestSandboxChecksWhatTheDatabaseWould(t *testing.T) {
	t.Parallel()
	db, _ := newSQLite(t)
	exec(t, db, "PRAGMA foreign_keys = OFF", "INSERT INTO payments VALUES (7)")
	pay := func(ctx context.Context, invoice int) error {
		return tidings.InTx(ctx, db, nil, func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, "INSERT INTO payments VALUES (?)", invoice)
			return err
		})
	}
	t.Run("off", func(t *testing.T) {
		ctx, _ := tidingstest.Sandbox(t, db)
		require.NoError(t, pay(ctx, 8))
	})
	exec(t, db, "PRAGMA foreign_keys = ON", "INSERT INTO invoices (id, number) VALUES (1, 'A')")
	t.Run("on", func(t *testing.T) {
		ctx, _ := tidingstest.Sandbox(t, db)
		require.NoError(t, pay(ctx, 1))
		require.ErrorContains(t, pay(ctx, 8), "tidingstest: a COMMIT would fail: FOREIGN KEY constraint failed: a row of the table payments refers to one that is not in invoices")
	})
}

func exec(t *testing.T, db *sql.DB, statements ...string) {
	t.Helper()
	for _, s := range statements {
		_, err := db.Exec(s)
		require.NoError(t, err, s)
	}
}
