package sqlxtx

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"runtime"
	"sync"
	"weak"

	"github.com/jmoiron/sqlx"
)

// wrap returns tx as a transaction of db. sqlx exports no function for that: the driver's
// name, which says how placeholders look, and the setting of Unsafe are in fields that only
// DB.BeginTxx copies. So wrap calls it on a copy of db without a server, and replaces the
// *sql.Tx. This costs a few microseconds, so the result is kept as long as db is.
func wrap(db *sqlx.DB, tx *sql.Tx) *sqlx.Tx {
	key := weak.Make(db)
	kept, ok := templates.Load(key)
	if !ok {
		var other bool
		if kept, other = templates.LoadOrStore(key, template(db)); !other {
			runtime.AddCleanup(db, func(key weak.Pointer[sqlx.DB]) { templates.Delete(key) }, key)
		}
	}
	wrapped := *kept.(*sqlx.Tx)
	wrapped.Tx, wrapped.Mapper = tx, db.Mapper // which db.MapperFunc replaces
	return &wrapped
}

// templates has a *sqlx.Tx without a transaction for each weak.Pointer[sqlx.DB].
var templates sync.Map

func template(db *sqlx.DB) *sqlx.Tx {
	idle := *db
	idle.DB = sql.OpenDB(nowhere{}) // not kept, since it has a goroutine
	defer idle.DB.Close()
	wrapped, err := idle.BeginTxx(context.Background(), nil)
	if err != nil {
		panic(err) // nowhere has no errors
	}
	_ = wrapped.Tx.Rollback() // gives the connection back
	wrapped.Tx = nil
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
