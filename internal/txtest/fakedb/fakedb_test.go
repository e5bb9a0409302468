package fakedb_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/internal/txtest/fakedb"
)

func exec(t *testing.T, tx *sql.Tx, statements ...string) {
	t.Helper()
	for _, s := range statements {
		_, err := tx.Exec(s)
		require.NoError(t, err, s)
	}
}

func TestLog(t *testing.T) {
	t.Parallel()
	db, log := fakedb.Open(t)

	_, err := db.Exec("INSERT INTO orders VALUES (?, ?)", 7, "new")
	require.NoError(t, err)
	tx, err := db.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelSerializable, ReadOnly: true})
	require.NoError(t, err)
	exec(t, tx, "INSERT 1", "SAVEPOINT tidings_41", "INSERT 2", "SAVEPOINT mine", "INSERT 3",
		"ROLLBACK TO SAVEPOINT tidings_41", "INSERT 4", "RELEASE SAVEPOINT tidings_41")
	_, err = tx.Exec("RELEASE SAVEPOINT mine")
	require.ErrorContains(t, err, "no such savepoint")
	require.NoError(t, tx.Commit())

	tx, err = db.Begin()
	require.NoError(t, err)
	exec(t, tx, "INSERT 5")
	require.NoError(t, tx.Rollback())

	rows, err := db.Query("SELECT * FROM orders")
	require.NoError(t, err)
	require.False(t, rows.Next())
	require.NoError(t, rows.Close())

	require.Equal(t, []string{
		"INSERT INTO orders VALUES (?, ?) 7 new",
		"BEGIN SERIALIZABLE READ ONLY", "INSERT 1", "SAVEPOINT tidings_1", "INSERT 2", "SAVEPOINT mine", "INSERT 3",
		"ROLLBACK TO SAVEPOINT tidings_1", "INSERT 4", "RELEASE SAVEPOINT tidings_1",
		"RELEASE SAVEPOINT mine", "COMMIT",
		"BEGIN", "INSERT 5", "ROLLBACK",
		"SELECT * FROM orders",
	}, log.Statements())
	require.Equal(t, []string{
		"INSERT INTO orders VALUES (?, ?) 7 new", "INSERT 1", "INSERT 4",
	}, log.Committed())

	log.Reset()
	require.Empty(t, log.Statements())
	require.Empty(t, log.Committed())
}

func TestFail(t *testing.T) {
	t.Parallel()
	db, log := fakedb.Open(t)
	db.SetMaxOpenConns(1) // a failed COMMIT gives the connection back
	broken := errors.New("disk full")

	log.Fail("COMMIT", broken)
	tx, err := db.Begin()
	require.NoError(t, err)
	exec(t, tx, "INSERT 1")
	require.ErrorIs(t, tx.Commit(), broken)
	require.Empty(t, log.Committed())

	log.Fail("COMMIT", nil)
	tx, err = db.Begin()
	require.NoError(t, err)
	exec(t, tx, "INSERT 2")
	require.NoError(t, tx.Commit())
	require.Equal(t, []string{"INSERT 2"}, log.Committed())

	ctx, cancel := context.WithCancel(t.Context())
	log.On("INSERT", func() error { cancel(); return nil })
	_, err = db.ExecContext(ctx, "INSERT 3")
	require.NoError(t, err)
	_, err = db.ExecContext(ctx, "INSERT 4")
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, []string{"INSERT 2", "INSERT 3"}, log.Committed())
}
