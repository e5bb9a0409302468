package txtest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime/debug"
	"testing"
	"time"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/txtest/fakedb"
)

// A SQLRig is a bus whose handlers write their words into a database, which has one
// connection. I and B write into the publisher's transaction, C and R into the
// database itself. So the log of the database shows the order of everything, and a
// handler that runs before the connection is back in the pool hangs.
type SQLRig struct {
	*Rig
	DB  *sql.DB
	SQL *fakedb.Log
}

// NewSQLRig returns a rig with handlers of every phase, and limits the time of the
// test, for it may hang.
func NewSQLRig(t testing.TB) *SQLRig {
	t.Helper()
	TimeLimit(t)
	r := &SQLRig{Rig: NewRig()}
	r.DB, r.SQL = fakedb.Open(t)
	r.DB.SetMaxOpenConns(1)
	for phase, word := range map[tidings.Phase]string{tidings.InTransaction: "I", tidings.BeforeCommit: "B"} {
		tidings.Subscribe(r.Bus, func(ctx context.Context, e Event) error {
			tx, ok := tidings.TxFrom[*sql.Tx](ctx, r.DB)
			if !ok {
				return errors.New("not in a transaction")
			}
			_, err := tx.ExecContext(ctx, fmt.Sprintf("%s%d", word, e.N))
			return err
		}, phase)
	}
	for phase, word := range map[tidings.Phase]string{tidings.AfterCommit: "C", tidings.AfterRollback: "R"} {
		tidings.Subscribe(r.Bus, func(ctx context.Context, e Event) error {
			if _, ok := tidings.TxFrom[*sql.Tx](ctx, r.DB); ok {
				return errors.New("in a transaction")
			}
			_, err := r.DB.ExecContext(ctx, fmt.Sprintf("%s%d", word, e.N))
			return err
		}, phase)
	}
	return r
}

// TimeLimit turns a deadlock into a failure that shows every goroutine, long
// before the limit of go test does.
func TimeLimit(t testing.TB) {
	t.Helper()
	timer := time.AfterFunc(30*time.Second, func() {
		debug.SetTraceback("all")
		panic(t.Name() + " is deadlocked")
	})
	t.Cleanup(func() { timer.Stop() })
}

// InTx runs fn in a transaction of the database.
func (r *SQLRig) InTx(ctx context.Context, fn func(context.Context, *sql.Tx) error) error {
	return tidings.InTx(ctx, r.DB, nil, fn)
}

// Statements returns the statements that reached the database so far, and clears
// them.
func (r *SQLRig) Statements() []string {
	defer r.SQL.Reset()
	return r.SQL.Statements()
}
