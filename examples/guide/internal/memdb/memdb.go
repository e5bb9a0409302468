// Package memdb opens databases for the examples of the guides.
package memdb

import (
	"database/sql"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// Open returns a database in memory, in which schema has been executed. It
// panics if that fails: an example has no test to fail.
func Open(schema string) *sql.DB {
	db, err := sql.Open("sqlite", "file::memory:?_pragma=foreign_keys(1)")
	if err != nil {
		panic(err)
	}
	db.SetMaxOpenConns(1) // each connection would be another database
	db.SetConnMaxLifetime(0)
	if _, err := db.Exec(schema); err != nil {
		panic(err)
	}
	return db
}

// Count returns the number of rows that query counts.
func Count(db *sql.DB, query string) int {
	var n int
	if err := db.QueryRow(query).Scan(&n); err != nil {
		panic(err)
	}
	return n
}
