package eventlog_test

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite" // the driver sqlite

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
)

var errBroken = errors.New("broken")

// handled returns how many notes the inbox has.
func handled(t *testing.T, h harness) int {
	t.Helper()
	return h.count(t, "SELECT count(*) FROM tidings_inbox")
}

// effects returns how many Created events were committed: what the handlers
// of these tests do.
func effects(t *testing.T, h harness) int {
	t.Helper()
	return h.count(t, "SELECT count(*) FROM tidings_events WHERE type = 'clients.created'")
}

func accepted(t *testing.T, number string) Accepted {
	t.Helper()
	return tidings.Stamp(t.Context(), Accepted{Number: number})
}

func TestInboxHandlesDuplicatesOnce(t *testing.T) {
	t.Parallel()
	options := map[string]tidings.SubscribeOption{
		"AfterCommit": tidings.AfterCommit, "InTransaction": tidings.InTransaction, "BeforeCommit": tidings.BeforeCommit,
		"Async": tidings.Async(), "Via": nil,
	}
	each(t, func(t *testing.T, h harness) {
		log := h.open(t)
		for name, option := range options {
			bus := tidings.New()
			log.Attach(bus)
			transport := &loopback{}
			if option == nil {
				option = tidings.Via(transport)
			}
			var calls atomic.Int64
			tidings.Subscribe(bus, func(ctx context.Context, e Accepted) error {
				calls.Add(1)
				return tidings.Publish(ctx, bus, Created{Client: name})
			}, tidings.Named("clients.onboard "+name), option, log.Inbox())

			before, event := effects(t, h), accepted(t, name)
			require.NoError(t, tidings.Publish(t.Context(), bus, event))
			require.NoError(t, tidings.Publish(t.Context(), bus, event), "outside a transaction")
			require.NoError(t, h.inTx(t.Context(), func(ctx context.Context) error {
				require.NoError(t, tidings.Publish(ctx, bus, event))
				return tidings.Publish(ctx, bus, event)
			}))
			require.NoError(t, bus.Deliver(t.Context(), "clients.onboard "+name, event))
			require.NoError(t, bus.Close(t.Context()))
			require.EqualValues(t, 1, calls.Load(), name)
			require.Equal(t, 1, effects(t, h)-before, name)
			if name == "Via" {
				require.Equal(t, 4, transport.sent)
			}
		}
		require.Equal(t, len(options), handled(t, h))
	})
}

// loopback is a transport that delivers at once.
type loopback struct {
	deliver map[string]func(context.Context, tidings.Event) error
	sent    int
}

func (*loopback) Phase() tidings.Phase { return tidings.AfterCommit }

func (*loopback) Encode(context.Context, tidings.Outgoing) (any, error) { return nil, nil }

func (l *loopback) Handle(h tidings.Handler) (func(), error) {
	l.deliver = map[string]func(context.Context, tidings.Event) error{h.Name: h.Deliver}
	return nil, nil
}

func (l *loopback) Send(ctx context.Context, events []tidings.Outgoing) error {
	for _, e := range events {
		for _, name := range e.Handlers {
			l.sent++
			if err := l.deliver[name](ctx, e.Event); err != nil {
				return err
			}
		}
	}
	return nil
}

func TestInboxOfConcurrentDuplicatesRunsOne(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name           string
		failures       int64 // of the first calls
		reason         string
		calls, errored int64
	}{
		{"the first succeeds", 0, "the others wait for it, and find its note", 1, 0},
		{"the first two fail", 2, "their notes roll back, and the next one runs", 3, 2},
		{"all fail", 8, "nobody takes a failure for success", 8, 8},
	}
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		for _, tt := range tests {
			var calls, running, errored atomic.Int64
			s := tidings.Subscribe(bus, func(ctx context.Context, e Accepted) error {
				if running.Add(1) > 1 {
					t.Error("two run at the same time")
				}
				defer running.Add(-1)
				if err := tidings.Publish(ctx, bus, Created{Client: tt.name}); err != nil {
					return err
				}
				if calls.Add(1) <= tt.failures {
					return errBroken
				}
				return nil
			}, tidings.Named("clients.onboard"), log.Inbox())

			before, event := effects(t, h), accepted(t, tt.name)
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					if err := bus.Deliver(t.Context(), "clients.onboard", event); err != nil {
						if !errors.Is(err, errBroken) {
							t.Error(err)
						}
						errored.Add(1)
					}
				})
			}
			wg.Wait()
			require.Equal(t, tt.calls, calls.Load(), tt.reason)
			require.Equal(t, tt.errored, errored.Load(), tt.reason)
			require.EqualValues(t, tt.calls-tt.errored, effects(t, h)-before, tt.reason)
			s.Unsubscribe()
		}
	})
}

func TestInboxRollsBackWithTheHandler(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		failures := []func() error{
			func() error { return errBroken },
			func() error { panic("broken") },
			func() error { runtime.Goexit(); return nil },
			func() error { cancel(); return ctx.Err() },
			func() error { return nil },
			func() error { t.Error("called again"); return nil },
		}
		calls := 0
		tidings.Subscribe(bus, func(ctx context.Context, e Accepted) error {
			calls++
			// In a nested transaction, as in code that does not know of ours.
			err := h.inTx(ctx, func(ctx context.Context) error {
				return tidings.Publish(ctx, bus, Created{Client: e.Number})
			})
			require.NoError(t, err)
			return failures[calls-1]()
		}, tidings.Named("clients.onboard"), log.Inbox())

		event := accepted(t, "1")
		deliver := func() error { return bus.Deliver(ctx, "clients.onboard", event) }
		require.ErrorIs(t, deliver(), errBroken)
		require.Zero(t, handled(t, h)+effects(t, h))

		var panicked *tidings.PanicError
		require.ErrorAs(t, deliver(), &panicked)
		require.Zero(t, handled(t, h)+effects(t, h))

		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = deliver() // does not return
		}()
		<-done
		require.Zero(t, handled(t, h)+effects(t, h))

		require.ErrorIs(t, deliver(), context.Canceled)
		require.Zero(t, handled(t, h)+effects(t, h))
		require.Error(t, deliver(), "with a ctx that is cancelled")
		require.Equal(t, 4, calls)

		ctx = t.Context()
		require.NoError(t, deliver())
		require.NoError(t, deliver())
		require.Equal(t, 5, calls)
		require.Equal(t, 1, handled(t, h))
		require.Equal(t, 1, effects(t, h))
	})
}

func TestInboxBelongsToTheTransactionAround(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		calls, fail := 0, false
		tidings.Subscribe(bus, func(ctx context.Context, e Accepted) error {
			calls++
			if err := tidings.Publish(ctx, bus, Created{Client: e.Number}); err != nil {
				return err
			}
			if fail {
				return errBroken
			}
			return nil
		}, tidings.Named("clients.onboard"), tidings.InTransaction, log.Inbox())
		event := accepted(t, "1")

		require.ErrorIs(t, h.inTx(t.Context(), func(ctx context.Context) error {
			require.NoError(t, tidings.Publish(ctx, bus, event))
			return errBroken
		}), errBroken)
		require.Equal(t, 1, calls)
		require.Zero(t, handled(t, h)+effects(t, h), "the outer transaction rolled back")

		// A handler that fails rolls back to the savepoint, and the publisher
		// may go on.
		fail = true
		require.NoError(t, h.inTx(t.Context(), func(ctx context.Context) error {
			require.ErrorIs(t, tidings.Publish(ctx, bus, event), errBroken)
			return tidings.Publish(ctx, bus, Created{Client: "of the publisher"})
		}))
		require.Equal(t, 2, calls)
		require.Equal(t, 0, handled(t, h))
		require.Equal(t, 1, effects(t, h))

		fail = false
		require.NoError(t, h.inTx(t.Context(), func(ctx context.Context) error { return tidings.Publish(ctx, bus, event) }))
		require.NoError(t, h.inTx(t.Context(), func(ctx context.Context) error { return tidings.Publish(ctx, bus, event) }))
		require.Equal(t, 3, calls)
		require.Equal(t, 1, handled(t, h))
		require.Equal(t, 2, effects(t, h))
	})
}

func TestInboxIsPerHandlerAndEvent(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		var calls []string
		for _, name := range []string{"a", "b"} {
			tidings.Subscribe(bus, func(_ context.Context, e Accepted) error {
				calls = append(calls, name+e.Number)
				return nil
			}, tidings.Named(name), log.Inbox())
		}
		for range 2 {
			for _, e := range []Accepted{accepted(t, "1"), accepted(t, "2")} {
				require.NoError(t, tidings.Publish(t.Context(), bus, e))
				require.NoError(t, tidings.Publish(t.Context(), bus, e))
			}
		}
		require.Equal(t, []string{"a1", "b1", "a2", "b2", "a1", "b1", "a2", "b2"}, calls, "four events")
		require.Equal(t, 8, handled(t, h))
	})
}

func TestInboxOfWhatRolledBack(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		calls := 0
		tidings.Subscribe(bus, func(ctx context.Context, e Accepted) error {
			calls++
			return tidings.Publish(ctx, bus, Created{Client: "apology"})
		}, tidings.Named("crm.apologise"), tidings.AfterRollback, log.Inbox())
		event := accepted(t, "1")
		for range 2 {
			require.ErrorIs(t, h.inTx(t.Context(), func(ctx context.Context) error {
				require.NoError(t, tidings.Publish(ctx, bus, event))
				return errBroken
			}), errBroken)
		}
		require.Equal(t, 1, calls)
		require.Equal(t, 1, effects(t, h))
	})
}

func TestInboxWantsAName(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		for option, by := range map[string]tidings.SubscribeOption{"Inbox": log.Inbox(), "CatchUp": log.CatchUp()} {
			require.PanicsWithValue(t, "tidings: Subscribe: eventlog: "+option+" needs a name that lasts, and eventlog_test.ignore is that of a function: add tidings.Named(\"eventlog_test.ignore\") or the like",
				func() { tidings.Subscribe(bus, ignore, by) })
			require.NotPanics(t, func() { tidings.Subscribe(bus, ignore, by, tidings.Named("clients.ignore "+option)) }, "in any order")
		}
	})
}

func ignore(context.Context, Accepted) error { return nil }

func TestInboxRefusesATransactionOfAnotherKind(t *testing.T) {
	t.Parallel()
	h := openPgx(t)
	other := postgresAt(t, h.url)
	log, bus := h.open(t), tidings.New()
	tidings.Subscribe(bus, func(context.Context, Accepted) error {
		t.Error("called")
		return nil
	}, tidings.Named("clients.onboard"), tidings.InTransaction, log.Inbox())
	require.NoError(t, other.inTx(t.Context(), func(ctx context.Context) error {
		err := tidings.Publish(ctx, bus, Accepted{})
		require.ErrorContains(t, err, "ctx is in a transaction of another database than the log's: of a *sql.DB, and the log is on a *pgxpool.Pool")
		return nil
	}))
	require.Zero(t, handled(t, h), "the note would outlive that transaction's rollback")
}

func TestInboxOnOneConnection(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log.db")
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: filepath.ToSlash(path)}).EscapedPath())
	require.NoError(t, err)
	db.SetMaxOpenConns(1)
	h := sqlHarness(t, "sqlite", path, db, eventlog.SQLite(db))
	log, bus := h.attached(t)
	for _, name := range []string{"a", "b"} {
		tidings.Subscribe(bus, func(ctx context.Context, e Accepted) error {
			return tidings.InTx(ctx, db, nil, func(ctx context.Context, tx *sql.Tx) error {
				return tidings.Publish(ctx, bus, Created{Client: name})
			})
		}, tidings.Named(name), log.Inbox())
	}
	event := accepted(t, "1")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			err := h.inTx(t.Context(), func(ctx context.Context) error { return tidings.Publish(ctx, bus, event) })
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.Equal(t, 2, effects(t, h))
}

func TestInboxFailsWithTheDatabase(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.open(t), tidings.New()
		tidings.Subscribe(bus, func(context.Context, Accepted) error {
			t.Error("called")
			return nil
		}, tidings.Named("clients.onboard"), log.Inbox())
		h.exec(t, "DROP TABLE tidings_inbox")
		err := tidings.Publish(t.Context(), bus, Accepted{})
		require.ErrorContains(t, err, `eventlog: Inbox: recording the event for the handler "clients.onboard"`)
		h.close()
		require.Error(t, tidings.Publish(t.Context(), bus, Accepted{}))
	})
}
