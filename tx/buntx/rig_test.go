package buntx_test

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"github.com/uptrace/bun/dialect/sqlitedialect"
	_ "github.com/uptrace/bun/driver/pgdriver"
	"github.com/uptrace/bun/schema"
	_ "modernc.org/sqlite"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/testdb"
	"github.com/tidings-go/tidings/internal/testmain"
	"github.com/tidings-go/tidings/tidingstest"
	"github.com/tidings-go/tidings/tx/buntx"
)

func TestMain(m *testing.M) { testmain.Run(m) }

// payments.note_id is checked by COMMIT, so that a test can make COMMIT fail.
const tables = `
	CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT);
	CREATE TABLE payments (note_id INTEGER REFERENCES notes (id) DEFERRABLE INITIALLY DEFERRED)`

// A Note is a row.
type Note struct {
	ID   int `bun:",pk"`
	Text string
}

// A Noted is published for each row of notes.
type Noted struct {
	tidings.DomainEvent
	ID int
}

var errNo = errors.New("changed my mind")

// A rig is a database whose pool has one connection, so that code hangs that uses another
// one, with a bus.
type rig struct {
	db       *bun.DB
	driver   string
	observer *sql.DB // another pool
	bus      *tidings.EventBus
	rec      *tidingstest.Recorder
}

// each runs test with SQLite, and with Postgres through two drivers.
func each(t *testing.T, test func(t *testing.T, r *rig)) {
	t.Helper()
	t.Parallel()
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		dsn := testdb.SQLite(filepath.Join(t.TempDir(), "test.db"), "_txlock=immediate", "_pragma=foreign_keys(1)")
		test(t, newRig(t, "sqlite", dsn, sqlitedialect.New()))
	})
	t.Run("Postgres", func(t *testing.T) {
		t.Parallel()
		test(t, newRig(t, "pgx", testdb.Postgres(t), pgdialect.New()))
	})
	t.Run("Postgres with pgdriver", func(t *testing.T) {
		t.Parallel()
		test(t, newRig(t, "pg", testdb.Postgres(t), pgdialect.New()))
	})
}

func newRig(t *testing.T, driver, dsn string, dialect schema.Dialect) *rig {
	t.Helper()
	r := &rig{db: bun.NewDB(open(t, driver, dsn), dialect), driver: driver, observer: open(t, driver, dsn), bus: tidingstest.NewBus(t)}
	for statement := range strings.SplitSeq(tables, ";") {
		_, err := r.db.Exec(statement)
		require.NoError(t, err)
	}
	r.rec = tidingstest.Record(r.bus)
	return r
}

func open(t *testing.T, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	require.NoError(t, err)
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// note inserts a row where From says, and publishes its event.
func (r *rig) note(ctx context.Context, id int) error {
	if err := insert(ctx, buntx.From(ctx, r.db), id); err != nil {
		return err
	}
	return tidings.Publish(ctx, r.bus, Noted{ID: id})
}

func insert(ctx context.Context, db bun.IDB, id int) error {
	_, err := db.NewInsert().Model(&Note{ID: id}).Exec(ctx)
	return err
}

// in runs fn in InTx without options.
func (r *rig) in(ctx context.Context, fn func(ctx context.Context) error) error {
	return buntx.InTx(ctx, r.db, nil, func(ctx context.Context, _ bun.Tx) error { return fn(ctx) })
}

// requireCommitted checks that these rows are stored and these events delivered, and no
// others.
func (r *rig) requireCommitted(t *testing.T, ids ...int) {
	t.Helper()
	require.Equal(t, ids, r.stored(t), "rows")
	require.Equal(t, ids, idsOf(r.rec.Delivered()), "events")
}

func (r *rig) requireDropped(t *testing.T, ids ...int) {
	t.Helper()
	require.Equal(t, ids, idsOf(r.rec.RolledBack()))
}

func (r *rig) stored(t *testing.T) (ids []int) {
	t.Helper()
	rows, err := r.observer.QueryContext(t.Context(), "SELECT id FROM notes ORDER BY id")
	require.NoError(t, err)
	require.NoError(t, r.db.ScanRows(t.Context(), rows, &ids))
	return ids
}

func idsOf(events tidingstest.Events) (ids []int) {
	for _, e := range tidingstest.All[Noted](events) {
		ids = append(ids, e.ID)
	}
	return ids
}
