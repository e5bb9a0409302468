package database

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"fmt"
)

// A Table describes the rows of a table. Two values are equal if the table has not
// changed.
type Table struct {
	Name    string
	Rows    int
	content [sha256.Size]byte
}

// Tables describes the tables of db, in the order of their creation; of the event
// log only the table with the events. It is for the summary: no module reads the
// tables of another one.
func Tables(ctx context.Context, db *sql.DB) ([]Table, error) {
	names, err := tableNames(ctx, db)
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	tables := make([]Table, len(names))
	for i, name := range names {
		if tables[i], err = readTable(ctx, db, name); err != nil {
			return nil, fmt.Errorf("read table %s: %w", name, err)
		}
	}
	return tables, nil
}

// Rows returns how many rows a table has, 0 if there is no such table.
func Rows(tables []Table, name string) int {
	for _, t := range tables {
		if t.Name == name {
			return t.Rows
		}
	}
	return 0
}

func tableNames(ctx context.Context, db *sql.DB) (names []string, err error) {
	rows, err := db.QueryContext(ctx, `SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\'
		AND (name = 'tidings_events' OR name NOT LIKE 'tidings\_%' ESCAPE '\') ORDER BY rowid`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, rows.Err()
}

func readTable(ctx context.Context, db *sql.DB, name string) (Table, error) {
	rows, err := db.QueryContext(ctx, fmt.Sprintf(`SELECT * FROM %q ORDER BY rowid`, name))
	if err != nil {
		return Table{}, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return Table{}, err
	}
	values, targets := make([]any, len(columns)), make([]any, len(columns))
	for i := range values {
		targets[i] = &values[i]
	}
	table, content := Table{Name: name}, sha256.New()
	for rows.Next() {
		if err := rows.Scan(targets...); err != nil {
			return Table{}, err
		}
		fmt.Fprintf(content, "%q\n", values)
		table.Rows++
	}
	content.Sum(table.content[:0])
	return table, rows.Err()
}
