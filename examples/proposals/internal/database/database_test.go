package database_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/examples/proposals/internal/database"
	"github.com/tidings-go/tidings/examples/proposals/internal/database/databasetest"
)

func TestOpen_OddFileNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"plain.db", "with space.db", "a?b#c%20d&e=f.db", "ünï.db"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), name)
			db, err := database.Open(t.Context(), file)
			require.NoError(t, err)
			_, err = db.ExecContext(t.Context(), `CREATE TABLE t (x)`)
			require.NoError(t, err)
			require.NoError(t, db.Close())
			require.FileExists(t, file)
		})
	}
}

func TestOpen_Settings(t *testing.T) {
	t.Parallel()
	db := databasetest.New(t)
	for pragma, want := range map[string]string{"journal_mode": "wal", "busy_timeout": "5000", "foreign_keys": "1"} {
		var got string
		require.NoError(t, db.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got))
		require.Equal(t, want, got, pragma)
	}
}

func TestOpen_Fails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text := filepath.Join(dir, "letter.txt")
	require.NoError(t, os.WriteFile(text, []byte("Dear Sir or Madam, this is a letter and no database."), 0o600))
	for _, tt := range []struct {
		reason string
		file   string
	}{
		{"no such directory", filepath.Join(dir, "none", "x.db")},
		{"a directory", dir},
		{"no database", text},
	} {
		_, err := database.Open(t.Context(), tt.file)
		require.ErrorContains(t, err, "open database "+tt.file, tt.reason)
	}
}

func TestTables(t *testing.T) {
	t.Parallel()
	db := databasetest.New(t)
	tables := func() []database.Table {
		tables, err := database.Tables(t.Context(), db)
		require.NoError(t, err)
		return tables
	}
	exec(t, db, `CREATE TABLE b_x (id INTEGER PRIMARY KEY, v)`)
	exec(t, db, `CREATE TABLE a_y (v TEXT)`)
	exec(t, db, `INSERT INTO a_y VALUES ('1'), (NULL)`)

	first := tables()
	require.Equal(t, "b_x", first[0].Name, "in the order of their creation")
	require.Zero(t, first[0].Rows)
	require.Equal(t, "a_y", first[1].Name)
	require.Equal(t, 2, first[1].Rows)
	require.Equal(t, first, tables(), "nothing has changed")

	exec(t, db, `UPDATE a_y SET v = '2' WHERE v = '1'`)
	second := tables()
	require.Equal(t, first[0], second[0])
	require.NotEqual(t, first[1], second[1], "as many rows, but another value")
}

func exec(t *testing.T, db *sql.DB, query string) {
	t.Helper()
	_, err := db.ExecContext(t.Context(), query)
	require.NoError(t, err)
}
