package tidings_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/txtest"
	"github.com/tidings-go/tidings/internal/txtest/fakedb"
)

// txTransport notes what is sent through it: "send(1@name,other 2@)" with
// the numbers of the events and the names of their handlers.
type txTransport struct {
	*txtest.Rig
	phase tidings.Phase
	then  func(ctx context.Context, deliveries []tidings.Outgoing) error
}

func (s *txTransport) Phase() tidings.Phase { return s.phase }

func (s *txTransport) Encode(context.Context, tidings.Outgoing) (any, error) { return nil, nil }

func (s *txTransport) Handle(tidings.Handler) (func(), error) { return nil, nil }

func (s *txTransport) Send(ctx context.Context, deliveries []tidings.Outgoing) error {
	var events []string
	for _, d := range deliveries {
		names := strings.Join(d.Handlers, "+")
		switch e := d.Event.(type) {
		case txtest.Event:
			events = append(events, fmt.Sprintf("%d@%s", e.N, names))
		case txtest.Other:
			events = append(events, fmt.Sprintf("other%d@%s", e.N, names))
		}
	}
	s.Note("send(%s)", strings.Join(events, ","))
	if s.then == nil {
		return nil
	}
	return s.then(ctx, deliveries)
}

// via subscribes a handler of that name to txtest.Event, and lets s run it.
func (s *txTransport) via(name string) *tidings.Subscription {
	return tidings.Subscribe(s.Bus, func(context.Context, txtest.Event) error { return nil }, tidings.Named(name), tidings.Via(s))
}

func newTxTransport(phase tidings.Phase, then func(context.Context, []tidings.Outgoing) error) *txTransport {
	s := &txTransport{txtest.NewRig().Phases(), phase, then}
	s.via("a")
	s.via("b")
	return s
}

func TestTransportsInEveryPhase(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		phase                 tidings.Phase
		outside, commit, back string
	}{
		{
			tidings.InTransaction, "I1 send(1@a+b) B1 C1",
			"begin I1 send(1@a+b) save I2 send(2@a+b) back I3 send(3@a+b) B1 B3 commit C1 R2 C3",
			"begin I1 send(1@a+b) I2 send(2@a+b) rollback R1 R2",
		}, {
			tidings.BeforeCommit, "I1 B1 send(1@a+b) C1",
			"begin I1 save I2 back I3 B1 B3 send(1@a+b,3@a+b) commit C1 R2 C3",
			"begin I1 I2 rollback R1 R2",
		}, {
			tidings.AfterCommit, "I1 B1 send(1@a+b) C1",
			"begin I1 save I2 back I3 B1 B3 commit send(1@a+b,3@a+b) C1 R2 C3",
			"begin I1 I2 rollback R1 R2",
		},
	} {
		t.Run(c.phase.String(), func(t *testing.T) {
			t.Parallel()
			var inTx bool
			s := newTxTransport(c.phase, func(ctx context.Context, _ []tidings.Outgoing) error {
				_, inTx = tidings.TxFrom[txtest.Handle](ctx, txtest.Database)
				return ctx.Err()
			})
			s.MustPublish(t.Context(), t, 1)
			require.Equal(t, c.outside, s.Log())
			require.False(t, inTx)

			ctx, cancel := context.WithCancel(t.Context())
			require.NoError(t, tidings.Transact(ctx, txtest.On(func(ctx context.Context, body func(context.Context) error) error {
				err := s.Run(ctx, body)
				cancel() // the client hangs up
				return err
			}), func(ctx context.Context) error {
				s.MustPublish(ctx, t, 1)
				require.ErrorIs(t, s.Transact(ctx, func(ctx context.Context) error {
					s.MustPublish(ctx, t, 2)
					return txtest.ErrTx
				}), txtest.ErrTx)
				return s.Publish(ctx, 3)
			}))
			require.Equal(t, c.commit, s.Log())
			require.Equal(t, c.phase != tidings.AfterCommit, inTx, "joins the transaction, or has none")
			require.Empty(t, s.Reported())

			require.Error(t, s.Transact(t.Context(), func(ctx context.Context) error {
				s.MustPublish(ctx, t, 1, 2)
				return txtest.ErrTx
			}))
			require.Equal(t, c.back, s.Log())
		})
	}
}

func TestTransportFails(t *testing.T) {
	t.Parallel()
	errDown := errors.New("broker is down")
	for _, c := range []struct {
		phase           tidings.Phase
		outside, inside string
		rollsBack       bool
		failed          []int // the events that an error names
	}{
		{tidings.InTransaction, "I1 send(1@a+b) R1", "begin I1 send(1@a+b) rollback R1", true, []int{1}},
		{tidings.BeforeCommit, "I1 B1 send(1@a+b) R1", "begin I1 I2 B1 B2 send(1@a+b,2@a+b) rollback R1 R2", true, []int{1, 2}},
		{tidings.AfterCommit, "I1 B1 send(1@a+b) C1", "begin I1 I2 B1 B2 commit send(1@a+b,2@a+b) C1 C2", false, []int{1, 2}},
	} {
		for _, tt := range []struct {
			name string
			then func(context.Context, []tidings.Outgoing) error
		}{
			{"error", func(context.Context, []tidings.Outgoing) error { return errDown }},
			{"wrapped", func(context.Context, []tidings.Outgoing) error { return fmt.Errorf("%w: %w", errDown, io.EOF) }},
			{"panic", func(context.Context, []tidings.Outgoing) error { panic(errDown) }},
			{"by event", func(_ context.Context, deliveries []tidings.Outgoing) error {
				var errs []error
				for _, d := range deliveries {
					errs = append(errs, &tidings.HandlerError{Handler: strings.Join(d.Handlers, ", "), Event: d.Event, Err: errDown})
				}
				return errors.Join(errs...)
			}},
		} {
			t.Run(fmt.Sprintf("%v by %s", c.phase, tt.name), func(t *testing.T) {
				t.Parallel()
				s := newTxTransport(c.phase, tt.then)
				check := func(err error) (event int) {
					t.Helper()
					require.ErrorIs(t, err, errDown)
					var failed *tidings.HandlerError
					require.ErrorAs(t, err, &failed)
					require.Equal(t, "a, b", failed.Handler)
					return failed.Event.(txtest.Event).N
				}
				require.Equal(t, 1, check(s.Publish(t.Context(), 1)))
				require.Equal(t, c.outside, s.Log())
				require.Empty(t, s.Reported())

				err := s.Transact(t.Context(), func(ctx context.Context) error {
					if err := s.Publish(ctx, 1); err != nil {
						return err
					}
					return s.Publish(ctx, 2)
				})
				require.Equal(t, c.inside, strings.ReplaceAll(s.Log(), "! ", ""))
				failures := s.Reported()
				if c.rollsBack {
					check(err)
					require.Empty(t, failures)
					failures = err.(interface{ Unwrap() []error }).Unwrap()
				} else {
					require.NoError(t, err)
				}
				var events []int
				for _, err := range failures {
					events = append(events, check(err))
				}
				require.Equal(t, c.failed, events, "for every event")
			})
		}
	}
}

func TestTransportAcceptsSome(t *testing.T) {
	t.Parallel()
	s := newTxTransport(tidings.AfterCommit, func(_ context.Context, deliveries []tidings.Outgoing) error {
		return &tidings.HandlerError{Handler: "b", Event: deliveries[1].Event, Err: txtest.ErrTx}
	})
	require.NoError(t, s.Transact(t.Context(), func(ctx context.Context) error {
		s.MustPublish(ctx, t, 1, 2, 3)
		return nil
	}))
	failures := s.Reported()
	require.Len(t, failures, 1)
	var failed *tidings.HandlerError
	require.ErrorAs(t, failures[0], &failed)
	require.Equal(t, 2, failed.Event.(txtest.Event).N)
}

func TestBeforeCommitTransportGetsWhatHandlersPublish(t *testing.T) {
	t.Parallel()
	s := newTxTransport(tidings.BeforeCommit, nil)
	s.On(tidings.BeforeCommit, "P", func(ctx context.Context, e txtest.Event) error {
		if e.N == 1 {
			return s.Publish(ctx, 3)
		}
		return nil
	})
	require.NoError(t, s.Transact(t.Context(), func(ctx context.Context) error {
		s.MustPublish(ctx, t, 1, 2)
		return nil
	}))
	require.Equal(t, "begin I1 I2 B1 P1 I3 B2 P2 B3 P3 send(1@a+b,2@a+b,3@a+b) commit C1 C2 C3", s.Log())
}

func TestBeforeCommitTransportPublishes(t *testing.T) {
	t.Parallel()
	// An outbox may say that it took something; that is part of the
	// transaction too.
	s := newTxTransport(tidings.BeforeCommit, nil)
	s.then = func(ctx context.Context, deliveries []tidings.Outgoing) error {
		if deliveries[0].Event.(txtest.Event).N == 1 {
			return s.Publish(ctx, 2)
		}
		return nil
	}
	require.NoError(t, s.Transact(t.Context(), func(ctx context.Context) error { return s.Publish(ctx, 1) }))
	require.Equal(t, "begin I1 B1 send(1@a+b) I2 B2 send(2@a+b) commit C1 C2", s.Log())
}

func TestSeveralTransports(t *testing.T) {
	t.Parallel()
	for _, fails := range []bool{false, true} {
		t.Run(fmt.Sprintf("the first fails: %v", fails), func(t *testing.T) {
			t.Parallel()
			first := newTxTransport(tidings.BeforeCommit, func(context.Context, []tidings.Outgoing) error {
				if fails {
					return txtest.ErrTx
				}
				return nil
			})
			second := &txTransport{first.Rig, tidings.BeforeCommit, nil}
			second.via("c")
			third := &txTransport{first.Rig, tidings.AfterCommit, nil}
			third.via("d")
			err := first.Transact(t.Context(), func(ctx context.Context) error {
				first.MustPublish(ctx, t, 1, 2)
				return nil
			})
			if fails {
				require.ErrorIs(t, err, txtest.ErrTx)
				require.Equal(t, "begin I1 I2 B1 B2 send(1@a+b,2@a+b) rollback R1 R2", first.Log())
			} else {
				require.NoError(t, err)
				require.Equal(t, "begin I1 I2 B1 B2 send(1@a+b,2@a+b) send(1@c,2@c) commit send(1@d,2@d) C1 C2", first.Log())
			}
		})
	}
}

func TestDefaultTransportInATransaction(t *testing.T) {
	t.Parallel()
	s := &txTransport{phase: tidings.AfterCommit}
	s.Rig = txtest.NewRig(tidings.WithTransport(s))
	s.On(tidings.AfterCommit, "C", nil)
	tidings.Subscribe(s.Bus, func(context.Context, txtest.Event) error { return nil }, tidings.Named("a"))
	require.NoError(t, s.Transact(t.Context(), func(ctx context.Context) error {
		return errors.Join(tidings.Publish(ctx, s.Bus, txtest.Other{N: 1}), s.Publish(ctx, 2))
	}))
	require.Equal(t, "begin commit send(other1@,2@a) C2", s.Log(), "also what nothing here subscribes to")
	require.Error(t, s.Transact(t.Context(), func(ctx context.Context) error {
		return errors.Join(tidings.Publish(ctx, s.Bus, txtest.Other{N: 1}), txtest.ErrTx)
	}))
	require.Equal(t, "begin rollback", s.Log())
}

func TestTransportOfUnsubscribedHandlers(t *testing.T) {
	t.Parallel()
	for _, phase := range []tidings.Phase{tidings.BeforeCommit, tidings.AfterCommit} {
		t.Run(phase.String(), func(t *testing.T) {
			t.Parallel()
			s := &txTransport{txtest.NewRig(), phase, nil}
			a := s.via("a")
			b := s.via("b")
			require.NoError(t, s.Transact(t.Context(), func(ctx context.Context) error {
				s.MustPublish(ctx, t, 1)
				a.Unsubscribe()
				s.MustPublish(ctx, t, 2)
				return nil
			}))
			require.Contains(t, s.Log(), "send(1@b,2@b)")
			require.NoError(t, s.Transact(t.Context(), func(ctx context.Context) error {
				s.MustPublish(ctx, t, 1)
				b.Unsubscribe()
				return nil
			}))
			require.Equal(t, "begin commit", s.Log(), "nobody is left")
		})
	}
}

func TestTransportOfHandlersUnsubscribedBeforeTheCommit(t *testing.T) {
	t.Parallel()
	s := &txTransport{txtest.NewRig(), tidings.BeforeCommit, nil}
	a := s.via("a")
	s.On(tidings.BeforeCommit, "B", func(_ context.Context, e txtest.Event) error {
		if e.N == 2 {
			a.Unsubscribe()
		}
		return nil
	})
	require.NoError(t, s.Transact(t.Context(), func(ctx context.Context) error {
		s.MustPublish(ctx, t, 1, 2)
		return nil
	}))
	require.Equal(t, "begin B1 B2 commit", s.Log(), "the batch is sent after all handlers")
}

func TestTransportContextAfterTheCommit(t *testing.T) {
	t.Parallel()
	// Commit by hand is called with the context of the transaction, InTx of
	// another database inside of one: there is none in the context of Send.
	var s *txTransport
	sends := 0
	s = newTxTransport(tidings.AfterCommit, func(ctx context.Context, _ []tidings.Outgoing) error {
		sends++
		_, inTx := tidings.TxFrom[txtest.Handle](ctx, txtest.Database)
		require.False(t, inTx)
		_, inTx = tidings.TxDatabase(ctx)
		require.False(t, inTx)
		return tidings.Publish(ctx, s.Bus, txtest.Other{})
	})
	ctx, hook := tidings.NewTxHook(t.Context(), txtest.Database)
	ctx = tidings.WithTx(ctx, txtest.Database, txtest.Handle{})
	s.MustPublish(ctx, t, 1)
	require.NoError(t, hook.Prepare(ctx))
	require.NoError(t, hook.Commit(ctx))
	require.Equal(t, 1, sends)

	a, _ := fakedb.Open(t)
	b, _ := fakedb.Open(t)
	require.NoError(t, tidings.InTx(t.Context(), a, nil, func(ctx context.Context, _ *sql.Tx) error {
		return tidings.InTx(ctx, b, nil, func(ctx context.Context, _ *sql.Tx) error { return s.Publish(ctx, 2) })
	}))
	require.Equal(t, 2, sends)
	require.Empty(t, s.Reported())
}

func TestTransportGoexitsAfterTheCommit(t *testing.T) {
	t.Parallel()
	s := newTxTransport(tidings.AfterCommit, func(context.Context, []tidings.Outgoing) error {
		runtime.Goexit()
		return nil
	})
	other := &txTransport{s.Rig, tidings.AfterCommit, nil}
	other.via("c")
	txtest.InGoroutine(func() {
		_ = s.Transact(t.Context(), func(ctx context.Context) error {
			return errors.Join(s.Publish(ctx, 1), s.Publish(ctx, 2))
		})
		t.Error("Transact returned")
	})
	log := s.Log()
	for _, want := range []string{"send(1@a+b,2@a+b)", "send(1@c,2@c)", "C1", "C2"} {
		require.Contains(t, log, want, "what is committed is delivered")
	}
	require.Len(t, s.Reported(), 2, "what was not accepted is reported, for every event")
}

func TestAsyncInATransaction(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := txtest.NewRig()
		key := new(int)
		tidings.Subscribe(r.Bus, func(ctx context.Context, e txtest.Event) error {
			_, inTx := tidings.TxFrom[txtest.Handle](ctx, txtest.Database)
			r.Note("A%d value=%v tx=%v err=%v", e.N, ctx.Value(key), inTx, ctx.Err())
			return tidings.Publish(ctx, r.Bus, txtest.Other{N: e.N})
		}, tidings.Async())
		tidings.Subscribe(r.Bus, func(_ context.Context, e txtest.Other) error { r.Note("other%d", e.N); return nil })

		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key, "kept"))
		require.NoError(t, r.Transact(ctx, func(ctx context.Context) error {
			r.MustPublish(ctx, t, 1)
			synctest.Wait()
			require.Equal(t, "begin", r.Log(), "not before the commit")
			return nil
		}))
		cancel()
		synctest.Wait()
		require.Equal(t, "commit A1 value=kept tx=false err=<nil> other1", r.Log())

		require.Error(t, r.Transact(t.Context(), func(ctx context.Context) error {
			r.MustPublish(ctx, t, 2)
			return txtest.ErrTx
		}))
		synctest.Wait()
		require.Equal(t, "begin rollback", r.Log())
		require.NoError(t, r.Bus.Close(t.Context()))
	})
}
