package eventlog_test

import (
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
)

func TestMigrateTwice(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		require.NoError(t, eventlog.Migrate(t.Context(), h.db))
		require.NoError(t, eventlog.Migrate(t.Context(), h.db))
		require.Equal(t, h.newest(), h.count(t, `SELECT count(*) FROM tidings_schema`))
		h.open(t, eventlog.WithoutMigration())
	})
}

func TestMigrateManyAtOnce(t *testing.T) {
	t.Parallel()
	each(t, migrateManyAtOnce)
}

// Transactions that begin with reading, and read what another one changes,
// would fail at their first write.
func TestMigrateManyAtOnceDeferred(t *testing.T) {
	t.Parallel()
	for range 5 { // it is a matter of luck
		migrateManyAtOnce(t, sqliteWith(t, filepath.Join(t.TempDir(), "log.db"), "_txlock=deferred"))
	}
}

func migrateManyAtOnce(t *testing.T, h harness) {
	t.Helper()
	errs := make(chan error)
	for range 8 {
		go func() {
			_, err := eventlog.Open(t.Context(), h.db, newRegistry())
			errs <- err
		}()
	}
	for range 8 {
		require.NoError(t, <-errs)
	}
	require.Equal(t, h.newest(), h.count(t, `SELECT count(*) FROM tidings_schema`))
}

func TestMigrateInTwoProcesses(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		one, two := startChild(t, "open", h), startChild(t, "open", h)
		one.say("go")
		two.say("go")
		one.wait(t)
		two.wait(t)
		require.Equal(t, h.newest(), h.count(t, `SELECT count(*) FROM tidings_schema`))
		h.open(t, eventlog.WithoutMigration())
	})
}

// A failed migration leaves nothing, and can be repeated.
func TestMigrateIsATransaction(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		h.exec(t, `CREATE TABLE tidings_cursors (mine integer)`) // in the way
		err := eventlog.Migrate(t.Context(), h.db)
		require.ErrorContains(t, err, "eventlog: migrating: 0001_events.sql: ")
		require.ErrorContains(t, err, "already exists")
		_, err = eventlog.Open(t.Context(), h.db, newRegistry(), eventlog.WithoutMigration())
		require.ErrorIs(t, err, eventlog.ErrSchema)
		h.exec(t, `DROP TABLE tidings_cursors`)
		h.open(t)
	})
}

func TestMigrationsByHand(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		dir := "sqlite"
		if h.postgres() {
			dir = "postgres"
		}
		files, err := fs.Glob(eventlog.Migrations(), dir+"/*.sql")
		require.NoError(t, err)
		require.NotEmpty(t, files)
		for _, name := range files {
			text, err := fs.ReadFile(eventlog.Migrations(), name)
			require.NoError(t, err)
			h.exec(t, "BEGIN;\n"+string(text)+"\nCOMMIT;")
		}
		log := h.open(t, eventlog.WithoutMigration())
		bus := tidings.New()
		log.Attach(bus)
		require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{Number: "1"}))
		require.Equal(t, "1", numbers(all(t, h.open(t))))
	})
}

// Statement by statement, as some tools do it: no text holds a semicolon.
func TestMigrationsOfSQLiteSplitAtSemicolons(t *testing.T) {
	t.Parallel()
	h := openSQLite(t)
	text, err := fs.ReadFile(eventlog.Migrations(), "sqlite/0001_events.sql")
	require.NoError(t, err)
	for statement := range strings.SplitSeq(string(text), ";\n") {
		h.exec(t, statement)
	}
	h.open(t, eventlog.WithoutMigration())
}
