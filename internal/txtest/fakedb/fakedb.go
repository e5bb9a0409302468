// Package fakedb is a database for tests of transactions. It stores only the
// statements that it gets. It understands transactions and savepoints just enough to
// tell which statements were committed, and fails where a test tells it to.
package fakedb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

// Open returns an empty database, which is closed at the end of the test,
// and the log of its statements. It takes any statement; queries return no
// rows. Like those of any driver, its connections are pooled, and bounded
// by [sql.DB.SetMaxOpenConns].
func Open(t testing.TB) (*sql.DB, *Log) {
	t.Helper()
	log := &Log{names: map[string]string{}}
	db := sql.OpenDB(connector{log})
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("fakedb: close: %v", err)
		}
	})
	return db, log
}

type connector struct{ log *Log }

func (c connector) Connect(context.Context) (driver.Conn, error) { return &conn{log: c.log}, nil }
func (c connector) Driver() driver.Driver                        { return fakeDriver{} }

// fakeDriver is there for [driver.Connector] alone: databases come from Open.
type fakeDriver struct{}

func (fakeDriver) Open(string) (driver.Conn, error) {
	return nil, errors.New("fakedb: use fakedb.Open")
}

// A conn is used by one goroutine at a time, as database/sql promises.
type conn struct {
	log        *Log
	open       bool     // a transaction is
	pending    []string // its statements so far
	savepoints []savepoint
}

type savepoint struct {
	name string
	at   int // length of pending when it was set
}

func (c *conn) Close() error { return nil }

func (c *conn) Begin() (driver.Tx, error) {
	return c.BeginTx(context.Background(), driver.TxOptions{})
}

func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	begin := "BEGIN"
	if level := sql.IsolationLevel(opts.Isolation); level != sql.LevelDefault {
		begin += " " + strings.ToUpper(level.String())
	}
	if opts.ReadOnly {
		begin += " READ ONLY"
	}
	if c.open {
		return nil, errors.New("fakedb: BEGIN inside a transaction")
	}
	if err := c.log.reached(ctx, begin); err != nil {
		return nil, err
	}
	c.open = true
	return c, nil
}

// Commit ends the transaction also where it fails, as databases do.
func (c *conn) Commit() error {
	err := c.log.reached(context.Background(), "COMMIT")
	if err == nil {
		c.log.commit(c.pending)
	}
	c.open, c.pending, c.savepoints = false, nil, nil
	return err
}

func (c *conn) Rollback() error {
	err := c.log.reached(context.Background(), "ROLLBACK")
	c.open, c.pending, c.savepoints = false, nil, nil
	return err
}

func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	statement, err := c.reached(ctx, query, args)
	if err != nil {
		return nil, err
	}
	return driver.RowsAffected(1), c.apply(statement)
}

func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if _, err := c.reached(ctx, query, args); err != nil {
		return nil, err
	}
	return noRows{}, nil
}

func (c *conn) Prepare(query string) (driver.Stmt, error) { return &stmt{c, query}, nil }

// reached logs a statement, and returns it as it is in the log.
func (c *conn) reached(ctx context.Context, query string, args []driver.NamedValue) (string, error) {
	statement := c.log.rename(query)
	for _, arg := range args {
		statement += fmt.Sprintf(" %v", arg.Value)
	}
	return statement, c.log.reached(ctx, statement)
}

// apply applies a statement that did not fail.
func (c *conn) apply(statement string) error {
	verb, name, _ := cutSavepoint(statement)
	switch verb {
	case "":
		if c.open {
			c.pending = append(c.pending, statement)
		} else {
			c.log.commit([]string{statement})
		}
		return nil
	case "SAVEPOINT ":
		if !c.open {
			return errors.New("fakedb: SAVEPOINT outside a transaction")
		}
		c.savepoints = append(c.savepoints, savepoint{name, len(c.pending)})
		return nil
	}
	i := len(c.savepoints) - 1 // of several with one name, the last counts
	for i >= 0 && c.savepoints[i].name != name {
		i--
	}
	if i < 0 {
		return fmt.Errorf("fakedb: %s: no such savepoint", statement)
	}
	if verb == "RELEASE SAVEPOINT " {
		c.savepoints = c.savepoints[:i]
	} else {
		c.pending = c.pending[:c.savepoints[i].at]
		c.savepoints = c.savepoints[:i+1] // it stays set
	}
	return nil
}

// cutSavepoint splits a statement about a savepoint.
func cutSavepoint(statement string) (verb, name string, ok bool) {
	for _, verb := range []string{"SAVEPOINT ", "RELEASE SAVEPOINT ", "ROLLBACK TO SAVEPOINT "} {
		if name, ok := strings.CutPrefix(statement, verb); ok {
			return verb, name, true
		}
	}
	return "", "", false
}

type stmt struct {
	conn  *conn
	query string
}

func (s *stmt) Close() error  { return nil }
func (s *stmt) NumInput() int { return -1 }

func (s *stmt) Exec(args []driver.Value) (driver.Result, error) {
	return s.conn.ExecContext(context.Background(), s.query, numbered(args))
}

func (s *stmt) Query(args []driver.Value) (driver.Rows, error) {
	return s.conn.QueryContext(context.Background(), s.query, numbered(args))
}

func numbered(args []driver.Value) []driver.NamedValue {
	named := make([]driver.NamedValue, len(args))
	for i, arg := range args {
		named[i] = driver.NamedValue{Ordinal: i + 1, Value: arg}
	}
	return named
}

type noRows struct{}

func (noRows) Columns() []string         { return nil }
func (noRows) Close() error              { return nil }
func (noRows) Next([]driver.Value) error { return io.EOF }
