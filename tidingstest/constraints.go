package tidingstest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/tidings-go/tidings/internal/deferred"
)

// constraints checks, at the end of what counts as a transaction, what a
// database checks at COMMIT, which never happens in a test: deferred
// constraints, on Postgres and SQLite. MySQL and SQL Server have none.
type constraints struct {
	tx       *sql.Tx
	database func(*constraints, context.Context) (commitCheck, error) // implements begin for that database; nil: not known yet
}

// A commitCheck fails as the COMMIT would.
type commitCheck = func(context.Context) error

// checksOf returns the Begin of a testhook.Base with tx.
func checksOf(tx any) func(context.Context) (commitCheck, error) {
	c := &constraints{database: (*constraints).none}
	if tx, ok := tx.(*sql.Tx); ok && tx != nil {
		c = &constraints{tx: tx}
	}
	return c.begin
}

// begin returns the function to call in place of a COMMIT. It is called in a
// transaction in which no statement has failed.
func (c *constraints) begin(ctx context.Context) (check commitCheck, err error) {
	if c.database == nil {
		if c.database, err = c.detect(ctx); err != nil {
			return nil, err
		}
	}
	return c.database(c, ctx)
}

// detect asks for the version with the function of Postgres first, where an
// error would abort the transaction, and then with the one of SQLite.
func (c *constraints) detect(ctx context.Context) (func(*constraints, context.Context) (commitCheck, error), error) {
	var version string
	if err := c.tx.QueryRowContext(ctx, "SELECT version()").Scan(&version); err == nil {
		if strings.Contains(version, "PostgreSQL") {
			return (*constraints).postgres, nil
		}
		return (*constraints).none, nil
	}
	if err := ctx.Err(); err != nil { // says nothing about the database
		return nil, err
	}
	if err := c.tx.QueryRowContext(ctx, "SELECT sqlite_version()").Scan(&version); err == nil {
		return (*constraints).sqlite, nil
	}
	return (*constraints).none, ctx.Err()
}

func (c *constraints) none(context.Context) (commitCheck, error) {
	return func(context.Context) error { return nil }, nil
}

// postgres checks the constraints that may be deferred.
func (c *constraints) postgres(context.Context) (commitCheck, error) {
	return func(ctx context.Context) error {
		return deferred.CheckPostgres(
			func(query string, dest ...any) error { return c.tx.QueryRowContext(ctx, query).Scan(dest...) },
			func(statement string) error {
				_, err := c.tx.ExecContext(ctx, statement)
				return err
			})
	}, nil
}

// sqlite looks for foreign keys that the transaction has broken. It ignores
// rows that were broken before.
func (c *constraints) sqlite(ctx context.Context) (commitCheck, error) {
	before, err := c.broken(ctx)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		after, err := c.broken(ctx)
		if err != nil {
			return err
		}
		for row := range after {
			if !before[row] {
				return fmt.Errorf("FOREIGN KEY constraint failed: a row of the table %s refers to one that is not in %s", row.table, row.parent)
			}
		}
		// A deferral until the COMMIT ends here.
		_, err = c.tx.ExecContext(ctx, "PRAGMA defer_foreign_keys = OFF")
		return err
	}, nil
}

// A brokenKey is a row of SQLite's PRAGMA foreign_key_check.
type brokenKey struct {
	table  string
	rowid  sql.NullInt64
	parent string
	key    int
}

// broken returns the foreign keys that do not hold, if the connection enforces
// them.
func (c *constraints) broken(ctx context.Context) (keys map[brokenKey]bool, err error) {
	var enforced bool
	if err := c.tx.QueryRowContext(ctx, "PRAGMA foreign_keys").Scan(&enforced); err != nil || !enforced {
		return nil, err
	}
	rows, err := c.tx.QueryContext(ctx, "PRAGMA foreign_key_check")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	keys = map[brokenKey]bool{}
	for rows.Next() {
		var k brokenKey
		if err := rows.Scan(&k.table, &k.rowid, &k.parent, &k.key); err != nil {
			return nil, err
		}
		keys[k] = true
	}
	return keys, rows.Err()
}
