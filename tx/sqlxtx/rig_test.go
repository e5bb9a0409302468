package sqlxtx_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/testdb"
	"github.com/tidings-go/tidings/internal/testmain"
	"github.com/tidings-go/tidings/tidingstest"
	"github.com/tidings-go/tidings/tx/sqlxtx"
)

func TestMain(m *testing.M) { testmain.Run(m) }

// payments.note_id is checked by COMMIT, so that a test can make COMMIT fail.
const tables = `
	CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL);
	CREATE TABLE payments (note_id INTEGER REFERENCES notes (id) DEFERRABLE INITIALLY DEFERRED)`

// A Noted is published for each row of notes.
type Noted struct {
	tidings.DomainEvent
	ID int
}

var errNo = errors.New("changed my mind")

// A rig is a database whose pool has one connection, so that code hangs that uses another
// one, with a bus.
type rig struct {
	db       *sqlx.DB
	observer *sqlx.DB // another pool
	bus      *tidings.EventBus
	rec      *tidingstest.Recorder
}

// each runs test with SQLite and with Postgres.
func each(t *testing.T, test func(t *testing.T, r *rig)) {
	t.Helper()
	t.Parallel()
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		test(t, newRig(t, "sqlite", testdb.SQLite(filepath.Join(t.TempDir(), "test.db"), "_txlock=immediate", "_pragma=foreign_keys(1)")))
	})
	t.Run("Postgres", func(t *testing.T) {
		t.Parallel()
		test(t, newRig(t, "pgx", testdb.Postgres(t)))
	})
}

func newRig(t *testing.T, driver, dsn string) *rig {
	t.Helper()
	r := &rig{db: open(t, driver, dsn), observer: open(t, driver, dsn), bus: tidingstest.NewBus(t)}
	for statement := range strings.SplitSeq(tables, ";") {
		_, err := r.db.Exec(statement)
		require.NoError(t, err)
	}
	r.rec = tidingstest.Record(r.bus)
	return r
}

func open(t *testing.T, driver, dsn string) *sqlx.DB {
	t.Helper()
	db, err := sqlx.Open(driver, dsn)
	require.NoError(t, err)
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// note inserts a row where From says, and publishes its event.
func (r *rig) note(ctx context.Context, id int) error {
	if err := insert(ctx, sqlxtx.From(ctx, r.db), id); err != nil {
		return err
	}
	return tidings.Publish(ctx, r.bus, Noted{ID: id})
}

func insert(ctx context.Context, db sqlxtx.Ext, id int) error {
	_, err := db.NamedExecContext(ctx, "INSERT INTO notes (id, text) VALUES (:id, 'note')", map[string]any{"id": id})
	return err
}

// in runs fn in InTx without options.
func (r *rig) in(ctx context.Context, fn func(ctx context.Context) error) error {
	return sqlxtx.InTx(ctx, r.db, nil, func(ctx context.Context, _ *sqlx.Tx) error { return fn(ctx) })
}

// requireCommitted checks that these rows are stored and these events delivered, and no
// others.
func (r *rig) requireCommitted(t *testing.T, ids ...int) {
	t.Helper()
	var stored []int
	require.NoError(t, r.observer.Select(&stored, "SELECT id FROM notes ORDER BY id"))
	require.Equal(t, ids, stored, "rows")
	require.Equal(t, ids, idsOf(r.rec.Delivered()), "events")
}

func (r *rig) requireDropped(t *testing.T, ids ...int) {
	t.Helper()
	require.Equal(t, ids, idsOf(r.rec.RolledBack()))
}

func idsOf(events tidingstest.Events) (ids []int) {
	for _, e := range tidingstest.All[Noted](events) {
		ids = append(ids, e.ID)
	}
	return ids
}
