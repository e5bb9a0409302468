package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/tidings-go/tidings"
)

const (
	keyInTxFull   = "in-tx-full"
	keyInTxNormal = "in-tx-normal"
	bareSQL       = "database-sql"
)

func inTxFull() Case {
	return inTx(keyInTxFull, "FULL", "the default: a commit waits for the disk")
}

// inTxNormal is the hard case for whatever comes on top of a commit.
func inTxNormal() Case {
	return inTx(keyInTxNormal, "NORMAL", "a commit does not wait for the disk")
}

// inTx compares transactions that differ by a few percent at most, hence the
// short turns.
func inTx(key, synchronous, meaning string) Case {
	return Case{
		Key:   key,
		Title: "A transaction on SQLite, synchronous=" + synchronous,
		Note: "BEGIN IMMEDIATE, one INSERT, COMMIT, on a database file each; WAL, busy_timeout, synchronous=" + synchronous + " (" + meaning + "). " +
			"With tidings, an event is published in the transaction and one handler runs after the commit. The two take turns every 20 transactions.",
		Baseline: bareSQL,
		Turns:    20,
		Subjects: []Subject{
			{Name: bareSQL, Note: "BeginTx, ExecContext, Commit", Setup: func() (*Runner, error) { return setupBareSQL(synchronous) }},
			{Name: Tidings, Note: "InTx, ExecContext, Publish; one handler", Setup: func() (*Runner, error) { return setupInTx(synchronous) }},
		},
	}
}

const insertOrder = `INSERT INTO orders (customer, total) VALUES (?, ?)`

func setupBareSQL(synchronous string) (*Runner, error) {
	db, remove, err := openOrders(synchronous)
	if err != nil {
		return nil, err
	}
	return &Runner{
		Do: func(_, n int) error {
			ctx := context.Background()
			for range n {
				if err := insertBare(ctx, db); err != nil {
					return err
				}
			}
			return nil
		},
		Release: remove,
	}, nil
}

func insertBare(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, insertOrder, "c-1", 4200); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

func setupInTx(synchronous string) (*Runner, error) {
	db, remove, err := openOrders(synchronous)
	if err != nil {
		return nil, err
	}
	bus := tidings.New()
	tidings.Subscribe(bus, handle)
	return &Runner{
		Do: func(lane, n int) error {
			ctx, e := context.Background(), orders[lane]
			for range n {
				err := tidings.InTx(ctx, db, nil, func(ctx context.Context, tx *sql.Tx) error {
					if _, err := tx.ExecContext(ctx, insertOrder, "c-1", 4200); err != nil {
						return err
					}
					return tidings.Publish(ctx, bus, e)
				})
				if err != nil {
					return err
				}
			}
			return nil
		},
		Release:   func() error { return errors.Join(bus.Close(context.Background()), remove()) },
		Delivered: counted,
	}, nil
}

// openOrders opens a new database with a table of orders; remove closes it and
// takes it away.
func openOrders(synchronous string) (_ *sql.DB, remove func() error, err error) {
	db, remove, err := openSQLite(synchronous)
	if err != nil {
		return nil, nil, err
	}
	const schema = `CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT NOT NULL, total INTEGER NOT NULL)`
	if _, err := db.Exec(schema); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("create the table of orders: %w", err), remove())
	}
	return db, remove, nil
}
