// Package database opens the SQLite file that the modules keep their tables in.
package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// Open opens the database file, and creates it if it does not exist.
func Open(ctx context.Context, file string) (*sql.DB, error) {
	dsn, err := dataSource(file)
	if err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", file, err)
	}
	if err := db.PingContext(ctx); err != nil {
		return nil, fmt.Errorf("open database %s: %w", file, errors.Join(err, db.Close()))
	}
	return db, nil
}

func dataSource(file string) (string, error) {
	path, err := filepath.Abs(file)
	if err != nil {
		return "", fmt.Errorf("open database %s: %w", file, err)
	}
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path // "/C:/...", as in a URI
	}
	settings := url.Values{
		// Readers do not block the writer. A transaction takes the write lock
		// when it begins, and waits for its turn. Otherwise one that reads before
		// it writes could fail.
		"_pragma":      {"journal_mode(WAL)", "busy_timeout(5000)", "foreign_keys(1)"},
		"_txlock":      {"immediate"},
		"_time_format": {"sqlite"},
	}
	dsn := url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: settings.Encode()}
	return dsn.String(), nil
}
