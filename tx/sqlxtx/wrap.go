package sqlxtx

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"

	"github.com/jmoiron/sqlx"
)

// wrap returns tx as a transaction of db. sqlx exports no function for that: the driver's
// name, which says how placeholders look, and the setting of Unsafe are in fields that only
// DB.BeginTxx copies. So wrap calls it on a copy of db without a server, and replaces the
// *sql.Tx. This costs a few microseconds.
func wrap(db *sqlx.DB, tx *sql.Tx) *sqlx.Tx {
	idle := *db
	idle.DB = sql.OpenDB(nowhere{}) // not kept, since it has a goroutine
	defer idle.DB.Close()
	wrapped, err := idle.BeginTxx(context.Background(), nil)
	if err != nil {
		panic(err) // nowhere has no errors
	}
	_ = wrapped.Tx.Rollback() // gives the connection back
	wrapped.Tx = tx
	return wrapped
}

// nowhere is a driver without a server, its connections, and their transactions.
type nowhere struct{}

func (nowhere) Connect(context.Context) (driver.Conn, error) { return nowhere{}, nil }
func (nowhere) Driver() driver.Driver                        { return nowhere{} }
func (nowhere) Open(string) (driver.Conn, error)             { return nowhere{}, nil }
func (nowhere) Begin() (driver.Tx, error)                    { return nowhere{}, nil }
func (nowhere) Commit() error                                { return nil }
func (nowhere) Rollback() error                              { return nil }
func (nowhere) Close() error                                 { return nil }

func (nowhere) Prepare(string) (driver.Stmt, error) {
	return nil, errors.New("tx/sqlxtx: a statement on no database")
}
