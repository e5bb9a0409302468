package eventlog

import (
	"database/sql"

	"github.com/tidings-go/tidings/eventlog/internal/backend"
)

// A Database holds a log: [SQLite], [Postgres], or the one of package pgxlog.
// It is safe for concurrent use.
type Database interface{ backend.DB }

// SQLite returns the SQLite database db. Give its connections a busy_timeout
// and _txlock=immediate, or transactions that read before they write fail
// when another one writes:
//
//	sql.Open("sqlite", "file:app.db?_txlock=immediate&_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)")
func SQLite(db *sql.DB) Database { return sqlDatabase("SQLite", backend.SQLite, db) }

// Postgres returns the Postgres database db, 13 or newer.
func Postgres(db *sql.DB) Database { return sqlDatabase("Postgres", backend.Postgres, db) }

func sqlDatabase(function string, dialect backend.Dialect, db *sql.DB) Database {
	if db == nil {
		panic("eventlog: " + function + " with a nil *sql.DB")
	}
	return backend.SQL(dialect, db)
}
