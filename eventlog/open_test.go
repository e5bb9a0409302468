package eventlog_test

import (
	"context"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
	"github.com/tidings-go/tidings/eventlog/pgxlog"
)

func TestOpenTwice(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		_, bus := h.attached(t)
		require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{Number: "1"}))
		require.Equal(t, "1", numbers(all(t, h.open(t))))
		require.Equal(t, "1", numbers(all(t, h.reopened(t).open(t, eventlog.WithoutMigration()))))
	})
}

func TestOpenNoMigrate(t *testing.T) {
	t.Parallel()
	newer := `INSERT INTO tidings_schema (version) VALUES (7)`
	each(t, func(t *testing.T, h harness) {
		_, err := eventlog.Open(t.Context(), h.db, newRegistry(), eventlog.WithoutMigration())
		require.ErrorIs(t, err, eventlog.ErrSchema)
		require.EqualError(t, err, "eventlog: the schema of the event log does not fit: there are no tables: call eventlog.Migrate, or run the SQL of eventlog.Migrations")

		h.exec(t, `CREATE TABLE tidings_schema (version integer NOT NULL PRIMARY KEY)`)
		_, err = eventlog.Open(t.Context(), h.db, newRegistry(), eventlog.WithoutMigration())
		require.ErrorIs(t, err, eventlog.ErrSchema, "a migration that was interrupted")

		h.exec(t, `INSERT INTO tidings_schema (version) VALUES (-1)`)
		_, err = eventlog.Open(t.Context(), h.db, newRegistry(), eventlog.WithoutMigration())
		require.ErrorIs(t, err, eventlog.ErrSchema)
		require.EqualError(t, err, "eventlog: the schema of the event log does not fit: it has version -1, and this program needs "+strconv.Itoa(h.newest())+": call eventlog.Migrate, or run the SQL of eventlog.Migrations")
		h.exec(t, `DELETE FROM tidings_schema`)

		h.open(t)
		h.exec(t, newer)
		for _, opts := range [][]eventlog.Option{nil, {eventlog.WithoutMigration()}} {
			_, err = eventlog.Open(t.Context(), h.db, newRegistry(), opts...)
			require.ErrorIs(t, err, eventlog.ErrSchema)
			require.EqualError(t, err, "eventlog: the schema of the event log does not fit: it has version 7, and this program knows "+strconv.Itoa(h.newest())+": it was migrated by a newer one")
		}
	})
}

func TestOpenRefusesNil(t *testing.T) {
	t.Parallel()
	h := openSQLite(t)
	_, err := eventlog.Open(t.Context(), nil, newRegistry())
	require.ErrorContains(t, err, "nil Database")
	_, err = eventlog.Open(t.Context(), h.db, nil)
	require.ErrorContains(t, err, "nil Database or Registry")
	_, err = eventlog.Open(t.Context(), h.db, newRegistry(), nil)
	require.ErrorContains(t, err, "nil Option")
	require.ErrorContains(t, eventlog.Migrate(t.Context(), nil), "nil Database")
	require.ErrorContains(t, eventlog.Rebase(t.Context(), nil), "nil Database")
	require.PanicsWithValue(t, "eventlog: SQLite with a nil *sql.DB", func() { eventlog.SQLite(nil) })
	require.PanicsWithValue(t, "eventlog: Postgres with a nil *sql.DB", func() { eventlog.Postgres(nil) })
	require.PanicsWithValue(t, "pgxlog: Postgres with a nil pool", func() { pgxlog.Postgres(nil) })
}

func TestOpenRefusesAnInvalidRegistry(t *testing.T) {
	t.Parallel()
	h := openSQLite(t)
	r := newRegistry()
	tidings.Upcast(r, "crm.accepted", 4, func(Accepted) (Accepted, error) { return Accepted{}, nil })
	_, err := eventlog.Open(t.Context(), h.db, r)
	require.ErrorContains(t, err, "eventlog: Open: tidings: there is an Upcast of \"crm.accepted\" from version 4")
	require.Zero(t, h.count(t, `SELECT count(*) FROM sqlite_master`), "nothing was migrated")
}

func TestOpenWithAContextThatHasEnded(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := eventlog.Open(ctx, h.db, newRegistry())
		require.ErrorIs(t, err, context.Canceled)
		h.open(t)
	})
}

func TestOpenWithOneConnection(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		one := h.narrowed(t)
		log, bus := one.attached(t)
		require.NoError(t, one.inTx(t.Context(), func(ctx context.Context) error {
			return tidings.Publish(ctx, bus, Accepted{Number: "1"})
		}))
		require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{Number: "2"}))
		require.Equal(t, "1 2", numbers(all(t, log)))
		one.open(t)
	})
}

// The tables that Open makes there are gone with the transaction.
func TestOpenInATransaction(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		one := h.narrowed(t)
		require.ErrorIs(t, one.inTx(t.Context(), func(ctx context.Context) error {
			log, err := eventlog.Open(ctx, one.db, newRegistry())
			require.NoError(t, err)
			last, err := log.Last(ctx)
			require.NoError(t, err)
			require.Zero(t, last)
			return context.Canceled
		}), context.Canceled)
		_, err := eventlog.Open(t.Context(), one.db, newRegistry(), eventlog.WithoutMigration())
		require.ErrorIs(t, err, eventlog.ErrSchema)
	})
}

func TestOpenReadOnly(t *testing.T) {
	t.Parallel()
	h := openSQLite(t)
	fresh := sqliteWith(t, h.url, "mode=ro")
	_, err := eventlog.Open(t.Context(), fresh.db, newRegistry())
	require.Error(t, err, "there is no file")

	_, bus := h.attached(t)
	require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{Number: "1"}))
	ro := sqliteWith(t, h.url, "_pragma=query_only(1)")
	log, bus := ro.attached(t)
	require.Equal(t, "1", numbers(all(t, log)))
	require.ErrorContains(t, tidings.Publish(t.Context(), bus, Accepted{Number: "2"}), "readonly")
	require.Equal(t, "1", numbers(all(t, log)))
}

func TestOpenReadOnlyPostgres(t *testing.T) {
	t.Parallel()
	url := postgresSchema(t)
	ro := postgresAt(t, url+"&default_transaction_read_only=on")
	_, err := eventlog.Open(t.Context(), ro.db, newRegistry())
	require.ErrorContains(t, err, "eventlog: migrating: ")
	require.ErrorContains(t, err, "read-only transaction")

	_, bus := postgresAt(t, url).attached(t)
	require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{Number: "1"}))
	log, bus := ro.attached(t)
	require.Equal(t, "1", numbers(all(t, log)))
	require.ErrorContains(t, tidings.Publish(t.Context(), bus, Accepted{Number: "2"}), "read-only transaction")
}

// As behind a pooler, which wants it.
func TestOpenWithTheSimpleProtocol(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		open func(*testing.T, string) harness
	}{{"postgres", postgresAt}, {"pgx", pgxAt}} {
		for _, mode := range []string{"simple_protocol", "exec", "describe_exec", "cache_describe"} {
			t.Run(tt.name+" "+mode, func(t *testing.T) {
				t.Parallel()
				h := tt.open(t, postgresSchema(t)+"&default_query_exec_mode="+mode)
				log, bus := h.attached(t)
				var want []tidings.Event
				publish := func(ctx context.Context, e tidings.Event) error {
					e = tidings.Stamp(ctx, e)
					want = append(want, e)
					return tidings.Publish(ctx, bus, e)
				}
				require.NoError(t, publish(t.Context(), Accepted{Number: `'1' \ ? $1`, Total: 9}))
				require.NoError(t, h.inTx(t.Context(), func(ctx context.Context) error {
					require.NoError(t, publish(ctx, Created{Client: `"`}))
					return publish(ctx, Accepted{Number: "2"})
				}))
				got := all(t, log, eventlog.Types("crm.accepted", "clients.created"), eventlog.Since(want[0].OccurredAt()), eventlog.Limit(3))
				require.Equal(t, want, events(got))
				require.Equal(t, want[2:], events(all(t, log, eventlog.After(got[1].Position))))
				require.Equal(t, want[1:2], events(all(t, log, eventlog.ID(want[1].EventID()))))
			})
		}
	}
}

// events returns those of records.
func events(records []eventlog.Recorded) (all []tidings.Event) {
	for _, r := range records {
		all = append(all, r.Event)
	}
	return all
}
