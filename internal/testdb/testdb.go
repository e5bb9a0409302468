// Package testdb gives each test its own database: a schema on the Postgres server of
// scripts/services, or an SQLite file. The test must import the drivers.
package testdb

import (
	"context"
	"crypto/rand"
	"database/sql"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Postgres creates a schema and returns a connection string that uses it. The schema
// is dropped at the end of the test. If there is no server, Postgres skips the test,
// or fails it if TIDINGS_REQUIRE_SERVICES is 1.
func Postgres(t testing.TB) string {
	t.Helper()
	return Schema(t, Server(t))
}

// Server returns the connection string of the server, for its default schema. Like
// Postgres, it skips the test or fails it if there is no server.
func Server(t testing.TB) string {
	t.Helper()
	const remedy = `TIDINGS_POSTGRES_URL is not set: run scripts/services up, then eval "$(scripts/services env)"`
	server := os.Getenv("TIDINGS_POSTGRES_URL")
	if server == "" {
		if os.Getenv("TIDINGS_REQUIRE_SERVICES") == "1" {
			t.Fatal(remedy)
		}
		t.Skip("SKIPPED, NO POSTGRES: " + remedy)
	}
	return server
}

// Schema does what Postgres does, on another server. It uses the driver "pgx" of
// database/sql.
func Schema(t testing.TB, server string) string {
	t.Helper()
	db := admin(t, server)
	schema := "test_" + strings.ToLower(rand.Text())
	_, err := db.ExecContext(t.Context(), "CREATE SCHEMA "+schema)
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := db.ExecContext(context.Background(), "DROP SCHEMA "+schema+" CASCADE")
		require.NoError(t, err)
	})
	return InSchema(t, server, schema)
}

// InSchema returns a connection string for a schema on server.
func InSchema(t testing.TB, server, schema string) string {
	t.Helper()
	u, err := url.Parse(server)
	require.NoError(t, err)
	q := u.Query()
	q.Set("search_path", schema)
	u.RawQuery = q.Encode()
	return u.String()
}

// SchemaOf returns the schema of a connection string that Postgres, Schema or
// InSchema returned.
func SchemaOf(t testing.TB, dsn string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	require.NoError(t, err)
	return u.Query().Get("search_path")
}

var admins struct {
	sync.Mutex
	byServer map[string]*sql.DB
}

// admin returns a pool that creates and drops the schemas of all tests of the
// process: a connection for each test would cost more time than most tests take.
func admin(t testing.TB, server string) *sql.DB {
	t.Helper()
	admins.Lock()
	defer admins.Unlock()
	if db := admins.byServer[server]; db != nil {
		return db
	}
	db, err := sql.Open("pgx", server)
	require.NoError(t, err)
	db.SetMaxOpenConns(4)
	if admins.byServer == nil {
		admins.byServer = map[string]*sql.DB{}
	}
	admins.byServer[server] = db
	return db
}

// SQLite returns the data source name of a database file, with parameters of the
// driver modernc.org/sqlite such as "_txlock=immediate". path is escaped, since the
// name of a test may be part of it and may contain a "#". Connections wait up to a
// minute for the lock: SQLite does not queue connections that wait for it, and on a
// busy machine some wait for more than ten seconds.
func SQLite(path string, params ...string) string {
	params = append([]string{"_pragma=busy_timeout(60000)", "_pragma=journal_mode(WAL)"}, params...)
	return "file:" + (&url.URL{Path: filepath.ToSlash(path)}).EscapedPath() + "?" + strings.Join(params, "&")
}
