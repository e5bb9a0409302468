// Package drivers knows the drivers of database/sql whose Commit returns nil although
// nothing was committed.
package drivers

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"reflect"
)

// A Check finds out before the COMMIT whether the transaction is still that of the BEGIN.
// The zero Check does nothing.
type Check struct{ begin, commit string }

var (
	// Postgres answers the COMMIT of a failed transaction with ROLLBACK, which bun's
	// pgdriver ignores. It refuses any other statement.
	pgdriver = Check{commit: "SELECT 1"}

	// MySQL and MariaDB end the whole transaction after a deadlock, and commit it before
	// a statement such as CREATE TABLE. The savepoint is gone then.
	mysql = Check{begin: "SAVEPOINT tidings_0", commit: "RELEASE SAVEPOINT tidings_0"}
)

// CheckOf returns the check that db's driver needs. It does not know a driver that is
// wrapped in another one.
func CheckOf(db *sql.DB) Check {
	switch packageOf(db.Driver()) {
	case "github.com/uptrace/bun/driver/pgdriver":
		return pgdriver
	case "github.com/go-sql-driver/mysql":
		return mysql
	}
	return Check{}
}

func packageOf(d driver.Driver) string {
	t := reflect.TypeOf(d)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.PkgPath()
}

// Begin is called after the BEGIN.
func (c Check) Begin(ctx context.Context, tx *sql.Tx) error {
	if c.begin == "" {
		return nil
	}
	_, err := tx.ExecContext(ctx, c.begin)
	return err
}

// Commit is called before the COMMIT.
func (c Check) Commit(ctx context.Context, tx *sql.Tx) error {
	if c.commit == "" {
		return nil
	}
	if _, err := tx.ExecContext(ctx, c.commit); err != nil {
		return fmt.Errorf("the transaction has failed or ended before: %w", err)
	}
	return nil
}
