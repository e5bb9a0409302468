package eventlog_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
	"github.com/tidings-go/tidings/tidingstest"
)

var errOnPurpose = errors.New("broken")

func TestAttachAppendsWithTheTransaction(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		ctx := t.Context()

		require.NoError(t, h.inTx(ctx, func(ctx context.Context) error {
			require.NoError(t, tidings.Publish(ctx, bus, Accepted{Number: "1", Total: 100}))
			require.ErrorIs(t, h.inTx(ctx, func(ctx context.Context) error {
				require.NoError(t, tidings.Publish(ctx, bus, Accepted{Number: "dropped"}))
				return errOnPurpose
			}), errOnPurpose)
			require.NoError(t, h.inTx(ctx, func(ctx context.Context) error {
				return tidings.Publish(ctx, bus, Accepted{Number: "2"})
			}))
			return tidings.Publish(ctx, bus, Created{Client: "c"})
		}))
		require.ErrorIs(t, h.inTx(ctx, func(ctx context.Context) error {
			require.NoError(t, tidings.Publish(ctx, bus, Accepted{Number: "rolled back"}))
			return errOnPurpose
		}), errOnPurpose)
		require.NoError(t, tidings.Publish(ctx, bus, Accepted{Number: "outside"}))

		require.Equal(t, "1 2 c outside", numbers(all(t, log)))
	})
}

func TestAttachAppendsManyInOrder(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		var want []tidings.Event
		require.NoError(t, h.inTx(t.Context(), func(ctx context.Context) error {
			for i := range 1234 {
				e := tidings.Stamp(ctx, Accepted{Number: fmt.Sprintf(`%d "q" \ {,} é`, i), Total: int64(i)})
				want = append(want, e)
				require.NoError(t, tidings.Publish(ctx, bus, e))
			}
			return nil
		}))
		require.Equal(t, want, events(all(t, log)))
	})
}

func TestAttachRefusesWhatCannotBeEncoded(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		handled := 0
		tidings.Subscribe(bus, func(context.Context, Unknown) error { handled++; return nil })
		tidings.Subscribe(bus, func(context.Context, Unknown) error { handled++; return nil }, tidings.InTransaction)

		require.ErrorIs(t, tidings.Publish(t.Context(), bus, Unknown{}), tidings.ErrUnregistered)
		require.ErrorIs(t, h.inTx(t.Context(), func(ctx context.Context) error {
			require.NoError(t, tidings.Publish(ctx, bus, Accepted{Number: "1"}))
			return tidings.Publish(ctx, bus, Unknown{})
		}), tidings.ErrUnregistered)
		require.ErrorContains(t, tidings.Publish(t.Context(), bus, Accepted{Number: "\xff"}), "UTF-8")
		require.Empty(t, all(t, log))
		require.Zero(t, handled)
	})
}

// Outside a transaction a handler finds the event in the log.
func TestAttachAppendsBeforeTheHandlers(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		one := h.narrowed(t)
		log, bus := one.attached(t)
		seen := 0
		look := func(ctx context.Context, e Accepted) error {
			seen++
			require.Equal(t, []tidings.Event{e}, events(all(t, log, eventlog.ID(e.EventID()))))
			return nil
		}
		tidings.Subscribe(bus, look)
		require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{Number: "1"}))
		require.NoError(t, one.inTx(t.Context(), func(ctx context.Context) error {
			return tidings.Publish(ctx, bus, Accepted{Number: "2"})
		}))
		require.Equal(t, 2, seen)

		// If a BeforeCommit handler fails, there was no event.
		tidings.Subscribe(bus, func(context.Context, Created) error { return errOnPurpose }, tidings.BeforeCommit)
		require.ErrorIs(t, tidings.Publish(t.Context(), bus, Created{Client: "never"}), errOnPurpose)
		require.Equal(t, "1 2", numbers(all(t, log)))
	})
}

// What handlers publish is appended: with the transaction what they publish
// before the commit, on its own what comes after it.
func TestAttachAppendsWhatHandlersPublish(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		one := h.narrowed(t)
		log, bus := one.attached(t)
		then := func(phase tidings.Phase, of, number string) {
			tidings.Subscribe(bus, func(ctx context.Context, e Accepted) error {
				if e.Number != of {
					return nil
				}
				return tidings.Publish(ctx, bus, Accepted{Number: number})
			}, phase)
		}
		then(tidings.InTransaction, "1", "during")
		then(tidings.BeforeCommit, "1", "before")
		then(tidings.BeforeCommit, "before", "before that")
		then(tidings.AfterCommit, "1", "after")
		then(tidings.AfterRollback, "1", "rolled back")

		require.NoError(t, one.inTx(t.Context(), func(ctx context.Context) error {
			return tidings.Publish(ctx, bus, Accepted{Number: "1"})
		}))
		got := all(t, log)
		require.Equal(t, "1 during before before that after", numbers(got))
		for _, r := range got[1:] {
			require.Equal(t, got[0].Envelope.ID, r.Envelope.CorrelationID)
		}
		require.Equal(t, got[0].Envelope.ID, got[1].Envelope.CausationID)
		require.Equal(t, got[2].Envelope.ID, got[3].Envelope.CausationID)
		require.Equal(t, uuid.Nil, got[0].Envelope.CausationID)

		require.ErrorIs(t, one.inTx(t.Context(), func(ctx context.Context) error {
			require.NoError(t, tidings.Publish(ctx, bus, Accepted{Number: "1"}))
			return errOnPurpose
		}), errOnPurpose)
		require.Equal(t, "rolled back", numbers(all(t, log, eventlog.After(got[4].Position))))
	})
}

func TestAttachTwoBuses(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, one := h.attached(t)
		two := tidings.New()
		log.Attach(two)
		require.NoError(t, h.inTx(t.Context(), func(ctx context.Context) error {
			e := tidings.Stamp(ctx, Accepted{Number: "both"})
			require.NoError(t, tidings.Publish(ctx, one, Accepted{Number: "1"}))
			require.NoError(t, tidings.Publish(ctx, two, Accepted{Number: "2"}))
			require.NoError(t, tidings.Publish(ctx, one, e))
			return tidings.Publish(ctx, two, e)
		}))
		require.ElementsMatch(t, []string{"1", "2", "both"}, strings.Fields(numbers(all(t, log))))
	})
}

func TestAttachChoosesByName(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.open(t), tidings.New()
		log.Attach(bus, "clients.created")
		require.NoError(t, h.inTx(t.Context(), func(ctx context.Context) error {
			require.NoError(t, tidings.Publish(ctx, bus, Accepted{Number: "1"}))
			require.NoError(t, tidings.Publish(ctx, bus, Unknown{}), "nobody asked for it")
			return tidings.Publish(ctx, bus, Created{Client: "c"})
		}))
		require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{Number: "2"}))
		require.NoError(t, h.inTx(t.Context(), func(ctx context.Context) error {
			return tidings.Publish(ctx, bus, Accepted{Number: "3"})
		}))
		require.Equal(t, "c", numbers(all(t, log)))
	})
}

func TestAttachPanics(t *testing.T) {
	t.Parallel()
	log, bus := openSQLite(t).attached(t)
	for _, test := range []struct {
		reason string
		attach func()
		want   string
	}{
		{"unknown name", func() { log.Attach(tidings.New(), "clients.created", "crm.acepted") }, `eventlog: Attach: "crm.acepted" is not registered`},
		{"no bus", func() { log.Attach(nil) }, "nil *EventBus"},
		{"twice", func() { log.Attach(bus) }, `"eventlog"`},
	} {
		t.Run(test.reason, func(t *testing.T) {
			t.Parallel()
			defer func() { require.Contains(t, fmt.Sprint(recover()), test.want) }()
			test.attach()
		})
	}
}

func TestAttachEndsWithUnsubscribe(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.open(t), tidings.New()
		sub := log.Attach(bus)
		require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{Number: "1"}))
		sub.Unsubscribe()
		require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{Number: "2"}))
		require.NoError(t, tidings.Publish(t.Context(), bus, Unknown{}))
		log.Attach(bus)
		require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{Number: "3"}))
		require.Equal(t, "1 3", numbers(all(t, log)))
	})
}

func TestAttachAppendsAnEventOnce(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		one, two := tidings.Stamp(t.Context(), Accepted{Number: "1"}), tidings.Stamp(t.Context(), Accepted{Number: "2"})
		publish := func(ctx context.Context, events ...Accepted) error {
			for _, e := range events {
				if err := tidings.Publish(ctx, bus, e); err != nil {
					return err
				}
			}
			return nil
		}
		require.NoError(t, publish(t.Context(), one, one))
		require.NoError(t, h.inTx(t.Context(), func(ctx context.Context) error { return publish(ctx, two, one, two) }))
		require.NoError(t, h.inTx(t.Context(), func(ctx context.Context) error { return publish(ctx, two) }))
		require.Equal(t, "1 2", numbers(all(t, log)))
	})
}

// A test of an application, that rolls everything back at its end.
func TestAttachWithTidingstest(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		if h.sql == nil {
			t.Skip("Sandbox and Commit with savepoints are for database/sql")
		}
		log := h.open(t)
		t.Run("commit", func(t *testing.T) {
			bus := tidingstest.NewBus(t)
			log.Attach(bus)
			recorder := tidingstest.Record(bus)
			tx, err := h.sql.BeginTx(t.Context(), nil)
			require.NoError(t, err)
			require.NoError(t, tidingstest.Commit(t.Context(), h.sql, tx, func(ctx context.Context) error {
				require.NoError(t, h.inTx(ctx, func(ctx context.Context) error {
					return tidings.Publish(ctx, bus, Accepted{Number: "1"})
				}))
				return tidings.Publish(ctx, bus, Accepted{Number: "2"})
			}))
			require.ErrorIs(t, tidingstest.Commit(t.Context(), h.sql, tx, func(ctx context.Context) error {
				require.NoError(t, tidings.Publish(ctx, bus, Accepted{Number: "3"}))
				return errOnPurpose
			}), errOnPurpose)
			require.Equal(t, "1 2", numbers(read(t, log, tidings.WithTx(t.Context(), h.sql, tx))))
			require.Len(t, recorder.Delivered(), 2)
			require.NoError(t, tx.Rollback())
		})
		t.Run("sandbox", func(t *testing.T) {
			ctx, tx := tidingstest.Sandbox(t, h.sql)
			bus := tidingstest.NewBus(t)
			log.Attach(bus)
			recorder := tidingstest.Record(bus)
			require.NoError(t, h.inTx(ctx, func(ctx context.Context) error {
				return tidings.Publish(ctx, bus, Accepted{Number: "1"})
			}))
			require.Equal(t, "1", numbers(read(t, log, tidings.WithTx(t.Context(), h.sql, tx))))
			require.Len(t, recorder.Delivered(), 1)
		})
		require.Empty(t, all(t, log))
	})
}

// read is all with a context.
func read(t *testing.T, log *eventlog.Log, ctx context.Context, filters ...eventlog.Filter) (records []eventlog.Recorded) {
	t.Helper()
	for r, err := range log.Read(ctx, filters...) {
		require.NoError(t, err)
		records = append(records, r)
	}
	return records
}

func TestAttachWithManyPublishers(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		errs := make(chan error)
		for p := range 6 {
			go func() {
				errs <- func() error {
					for i := range 20 {
						err := h.inTx(context.Background(), func(ctx context.Context) error {
							for j := range 3 {
								if err := tidings.Publish(ctx, bus, Accepted{Number: fmt.Sprint(p), Total: int64(i*3 + j)}); err != nil {
									return err
								}
							}
							if i%5 == 4 {
								return errOnPurpose
							}
							return nil
						})
						if i%5 != 4 && err != nil || i%5 == 4 && !errors.Is(err, errOnPurpose) {
							return fmt.Errorf("publisher %d, transaction %d: %w", p, i, err)
						}
					}
					return nil
				}()
			}()
		}
		for range 6 {
			require.NoError(t, <-errs)
		}
		// In the log each publisher's are in order, and transactions whole.
		next := map[string]int64{}
		got := all(t, log)
		require.Len(t, got, 6*16*3)
		for i, r := range got {
			e := r.Event.(Accepted)
			if next[e.Number]%15 == 12 {
				next[e.Number] += 3 // rolled back
			}
			require.Equal(t, next[e.Number], e.Total)
			next[e.Number]++
			if i%3 > 0 {
				require.Equal(t, got[i-1].Event.(Accepted).Number, e.Number, "transactions do not mix")
			}
		}
	})
}

// A module may open a log of its own on the same database. What a handler of
// it appends to a stream is not appended once more with the publisher's events.
func TestAttachWithAnotherLog(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		_, bus := h.attached(t)
		streams := h.open(t)
		tidings.Subscribe(bus, func(ctx context.Context, e Created) error {
			_, err := streams.AppendTo(ctx, "clients", eventlog.AnyVersion, e)
			return err
		}, tidings.InTransaction)
		require.NoError(t, h.inTx(t.Context(), func(ctx context.Context) error {
			if err := tidings.Publish(ctx, bus, Created{Client: "1"}); err != nil {
				return err
			}
			return tidings.Publish(ctx, bus, Accepted{Number: "2"})
		}))
		require.Len(t, streamOf(t, streams, "clients"), 1)
		require.Equal(t, 2, h.count(t, "SELECT count(*) FROM tidings_events"))
	})
}

// Unregistered is an event that no log can take.
type Unregistered struct{ tidings.DomainEvent }

// Late is another one.
type Late struct{ tidings.DomainEvent }

// Who forgets to register an event hears of it before the first is published.
func TestAttachSaysWhatIsNotRegistered(t *testing.T) {
	out := logsOf(t)
	log := openSQLite(t).open(t)
	take := func(context.Context, Unregistered) error { return nil }
	const message = "events of this type cannot be published while the log is attached to the bus"

	bus := tidings.New()
	tidings.Subscribe(bus, take)
	tidings.Subscribe(bus, take)
	tidings.Subscribe(bus, func(context.Context, Accepted) error { return nil })
	tidings.Subscribe(bus, func(context.Context, tidings.Event) error { return nil })
	attached := log.Attach(bus)
	require.Equal(t, 1, strings.Count(out.String(), message), out)
	require.Contains(t, out.String(), "type=eventlog_test.Unregistered")
	require.Contains(t, out.String(), "attach_test.go:")
	require.Contains(t, out.String(), "level=WARN")

	tidings.Subscribe(bus, func(context.Context, Late) error { return nil })
	for range 2 {
		require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{}))
	}
	require.Equal(t, 2, strings.Count(out.String(), message), out)
	require.Contains(t, out.String(), "type=eventlog_test.Late")
	require.ErrorIs(t, tidings.Publish(t.Context(), bus, Late{}), tidings.ErrUnregistered)
	attached.Unsubscribe()

	out.Reset()
	log.Attach(bus, "crm.accepted")
	require.NoError(t, tidings.Publish(t.Context(), bus, Late{}), "it is none of those that belong in the log")
	require.Empty(t, out.String())
}
