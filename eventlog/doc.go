// Package eventlog keeps events in an append-only log, in SQLite or Postgres.
package eventlog
