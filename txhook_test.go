package tidings_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
)

// txEvent is what the tests of transactions publish.
type txEvent struct {
	tidings.DomainEvent
	N int
}

// txOther is a second type of event.
type txOther struct {
	tidings.DomainEvent
	N int
}

// A txRig is a bus whose handlers and error handler write words into one
// log, in the order in which things happen. A failure that reaches the
// error handler is the word "!".
type txRig struct {
	bus *tidings.EventBus

	mu       sync.Mutex
	words    []string
	failures []error
}

func newTxRig(opts ...tidings.Option) *txRig {
	r := &txRig{}
	r.bus = tidings.New(append(opts, tidings.WithErrorHandler(r.failed))...)
	return r
}

func (r *txRig) failed(_ context.Context, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.words = append(r.words, "!")
	r.failures = append(r.failures, err)
}

func (r *txRig) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.words = append(r.words, fmt.Sprintf(format, args...))
}

// log returns the words so far, and forgets them.
func (r *txRig) log() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	words := strings.Join(r.words, " ")
	r.words = nil
	return words
}

// reported returns what reached the error handler so far, and forgets it.
func (r *txRig) reported() []error {
	r.mu.Lock()
	defer r.mu.Unlock()
	failures := r.failures
	r.failures = nil
	return failures
}

func (r *txRig) publish(ctx context.Context, n int) error {
	return tidings.Publish(ctx, r.bus, txEvent{N: n})
}

// mustPublish publishes several events, none of which may fail.
func (r *txRig) mustPublish(ctx context.Context, t *testing.T, numbers ...int) {
	t.Helper()
	for _, n := range numbers {
		require.NoError(t, r.publish(ctx, n))
	}
}

// on subscribes a handler that notes word and the number of the event, and
// returns what then returns.
func (r *txRig) on(phase tidings.Phase, word string, then func(context.Context, txEvent) error, opts ...tidings.SubscribeOption) *tidings.Subscription {
	return tidings.Subscribe(r.bus, func(ctx context.Context, e txEvent) error {
		r.note("%s%d", word, e.N)
		if then == nil {
			return nil
		}
		return then(ctx, e)
	}, append(opts, phase)...)
}

// phases subscribes I, B, C and R, one handler a phase.
func (r *txRig) phases() *txRig {
	r.on(tidings.AfterRollback, "R", nil)
	r.on(tidings.AfterCommit, "C", nil)
	r.on(tidings.BeforeCommit, "B", nil)
	r.on(tidings.InTransaction, "I", nil)
	return r
}

// txHandle stands for a library's transaction.
type txHandle struct{ name string }

// run is a TxFunc like that of any library: savepoints inside of a
// transaction.
func (r *txRig) run(ctx context.Context, body func(context.Context) error) error {
	begin, commit, rollback := "begin", "commit", "rollback"
	if _, ok := tidings.TxFrom[txHandle](ctx); ok {
		begin, commit, rollback = "save", "release", "back"
	}
	r.note("%s", begin)
	done := false
	defer func() {
		if !done {
			r.note("%s", rollback)
		}
	}()
	if err := body(tidings.WithTx(ctx, txHandle{"of " + begin})); err != nil {
		return err
	}
	done = true
	r.note("%s", commit)
	return nil
}

func (r *txRig) transact(ctx context.Context, fn func(context.Context) error) error {
	return tidings.Transact(ctx, r.run, fn)
}

// bare is the shortest TxFunc.
func bare(ctx context.Context, body func(context.Context) error) error { return body(ctx) }

var errTx = errors.New("out of stock")

func txFail(context.Context, txEvent) error { return errTx }

// inGoroutine calls fn in a goroutine of its own, which it may end, and
// waits for that.
func inGoroutine(fn func()) {
	var wg sync.WaitGroup
	wg.Go(fn)
	wg.Wait()
}

func TestTransactReturnsNilIfAndOnlyIfCommitted(t *testing.T) {
	t.Parallel()
	errCommit := errors.New("serialization failure")
	ok := func(context.Context) error { return nil }
	for name, c := range map[string]struct {
		run    tidings.TxFunc
		fn     func(context.Context) error
		want   error  // is in what Transact returns
		text   string // is in its message
		log    string
		reason string
	}{
		"commit": {
			run: bare, fn: ok, log: "C1",
		},
		"fn fails": {
			run: bare, fn: func(context.Context) error { return errTx }, want: errTx, log: "R1",
		},
		"commit fails": {
			run: func(ctx context.Context, body func(context.Context) error) error {
				return errors.Join(body(ctx), errCommit)
			},
			fn: ok, want: errCommit, log: "R1",
			reason: "not known to be committed",
		},
		"begin fails": {
			run: func(context.Context, func(context.Context) error) error { return errCommit },
			fn:  ok, want: errCommit, log: "",
		},
		"the TxFunc swallows the error": {
			run: func(ctx context.Context, body func(context.Context) error) error {
				if body(ctx) == nil {
					return errors.New("body succeeded")
				}
				return nil
			},
			fn: func(context.Context) error { return errTx }, want: errTx, log: "R1",
			reason: "what failed must not be delivered, whatever the TxFunc says",
		},
		"the TxFunc replaces the error": {
			run: func(ctx context.Context, body func(context.Context) error) error {
				if body(ctx) == nil {
					return nil
				}
				return errCommit
			},
			fn: func(context.Context) error { return errTx }, want: errCommit, log: "R1",
		},
		"the TxFunc recovers the panic": {
			run: func(ctx context.Context, body func(context.Context) error) (err error) {
				defer func() { _ = recover() }()
				return body(ctx)
			},
			fn: func(context.Context) error { panic("boom") }, text: "recovered a panic", log: "R1",
			reason: "Transact can say no more than that it was not committed",
		},
		"the TxFunc makes an error of the panic": {
			run: func(ctx context.Context, body func(context.Context) error) (err error) {
				defer func() { err = fmt.Errorf("recovered %v", recover()) }()
				return body(ctx)
			},
			fn: func(context.Context) error { panic("boom") }, text: "recovered boom", log: "R1",
		},
		"the TxFunc never calls body": {
			run: func(context.Context, func(context.Context) error) error { return nil },
			fn:  ok, text: "without calling its body", log: "",
		},
		"the TxFunc retries, and gives up": {
			run: func(ctx context.Context, body func(context.Context) error) error {
				return errors.Join(body(ctx), body(ctx))
			},
			fn: func(context.Context) error { return errTx }, want: errTx, log: "R1 R1",
		},
		"the TxFunc calls body again after it has succeeded": {
			run: func(ctx context.Context, body func(context.Context) error) error {
				return errors.Join(body(ctx), body(ctx))
			},
			fn: ok, log: "R1 C1",
			reason: "a retry after a COMMIT that failed: the earlier attempt counts as rolled back",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newTxRig()
			r.on(tidings.AfterCommit, "C", nil)
			r.on(tidings.AfterRollback, "R", nil)
			err := tidings.Transact(t.Context(), c.run, func(ctx context.Context) error {
				r.mustPublish(ctx, t, 1)
				return c.fn(ctx)
			})
			switch {
			case c.want != nil:
				require.ErrorIs(t, err, c.want, c.reason)
			case c.text != "":
				require.ErrorContains(t, err, c.text, c.reason)
			default:
				require.NoError(t, err, c.reason)
			}
			require.Equal(t, c.log, r.log(), c.reason)
			require.Empty(t, r.reported())
		})
	}
}

func TestTransactWithNilFunctions(t *testing.T) {
	t.Parallel()
	require.ErrorContains(t, tidings.Transact(t.Context(), nil, func(context.Context) error { return nil }), "nil function")
	require.ErrorContains(t, tidings.Transact(t.Context(), bare, nil), "nil function")
}

func TestAfterCommitFailuresGoToTheErrorHandler(t *testing.T) {
	t.Parallel()
	r := newTxRig()
	r.on(tidings.AfterCommit, "C", func(_ context.Context, e txEvent) error {
		if e.N == 2 {
			panic("boom")
		}
		return errTx
	}, tidings.Named("mail"))
	r.on(tidings.AfterCommit, "D", nil)

	require.NoError(t, r.transact(t.Context(), func(ctx context.Context) error {
		r.mustPublish(ctx, t, 1, 2)
		return nil
	}), "a subscriber must not make a committed order look failed")

	require.Equal(t, "begin commit C1 D1 ! C2 D2 !", r.log())
	failures := r.reported()
	require.Len(t, failures, 2)
	require.ErrorIs(t, failures[0], errTx)
	for i, err := range failures {
		var failed *tidings.HandlerError
		require.ErrorAs(t, err, &failed)
		require.Equal(t, "mail", failed.Handler)
		require.Equal(t, i+1, failed.Event.(txEvent).N)
	}
	var panicked *tidings.PanicError
	require.ErrorAs(t, failures[1], &panicked)
	require.Equal(t, "boom", panicked.Value)
}

func TestAfterRollbackFailuresGoToTheErrorHandler(t *testing.T) {
	t.Parallel()
	r := newTxRig()
	r.on(tidings.AfterRollback, "R", func(context.Context, txEvent) error { return io.ErrClosedPipe })
	err := r.transact(t.Context(), func(ctx context.Context) error {
		r.mustPublish(ctx, t, 1, 2)
		return errTx
	})
	require.Equal(t, errTx, err, "the caller gets what failed, and no more")
	require.Equal(t, "begin rollback R1 ! R2 !", r.log())
	for _, err := range r.reported() {
		require.ErrorIs(t, err, io.ErrClosedPipe)
	}
}

func TestTransactPanics(t *testing.T) {
	t.Parallel()
	value := &struct{ reason string }{"unique"}
	for name, nested := range map[string]bool{"outermost": false, "nested": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newTxRig().phases()
			panics := func(ctx context.Context) error {
				r.mustPublish(ctx, t, 1)
				panic(value)
			}
			fn := panics
			if nested {
				fn = func(ctx context.Context) error { return r.transact(ctx, panics) }
			}
			func() {
				defer func() { require.Same(t, value, recover()) }()
				_ = r.transact(t.Context(), fn)
			}()
			if nested {
				require.Equal(t, "begin save I1 back rollback R1", r.log())
			} else {
				require.Equal(t, "begin I1 rollback R1", r.log())
			}
			require.NoError(t, r.transact(t.Context(), func(ctx context.Context) error { return r.publish(ctx, 2) }))
			require.Equal(t, "begin I2 B2 commit C2", r.log())
		})
	}
}

func TestTransactRecoversNothingOfAnInnerScope(t *testing.T) {
	t.Parallel()
	r := newTxRig().phases()
	require.NoError(t, r.transact(t.Context(), func(ctx context.Context) error {
		r.mustPublish(ctx, t, 1)
		require.PanicsWithValue(t, "boom", func() {
			_ = r.transact(ctx, func(ctx context.Context) error {
				r.mustPublish(ctx, t, 2)
				panic("boom")
			})
		})
		r.mustPublish(ctx, t, 3)
		return nil
	}), "whoever recovers may go on, as after an error")
	require.Equal(t, "begin I1 save I2 back I3 B1 B3 commit C1 R2 C3", r.log())
}

func TestTransactGoexit(t *testing.T) {
	t.Parallel()
	for name, nested := range map[string]bool{"outermost": false, "nested": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newTxRig().phases()
			fn := func(ctx context.Context) error {
				r.mustPublish(ctx, t, 1)
				runtime.Goexit()
				return nil
			}
			inGoroutine(func() {
				if nested {
					_ = r.transact(t.Context(), func(ctx context.Context) error { return r.transact(ctx, fn) })
				} else {
					_ = r.transact(t.Context(), fn)
				}
				t.Error("Transact returned")
			})
			if nested {
				require.Equal(t, "begin save I1 back rollback R1", r.log())
			} else {
				require.Equal(t, "begin I1 rollback R1", r.log())
			}
		})
	}
}

func TestNestedScopes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		inner, outer error
		log          string
	}{
		"both succeed":    {nil, nil, "begin I1 save I2 release I3 B1 B2 B3 commit C1 C2 C3"},
		"the inner fails": {errTx, nil, "begin I1 save I2 back I3 B1 B3 commit C1 R2 C3"},
		"the outer fails": {nil, errTx, "begin I1 save I2 release I3 rollback R1 R2 R3"},
		"both fail":       {errTx, errTx, "begin I1 save I2 back I3 rollback R1 R2 R3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newTxRig().phases()
			err := r.transact(t.Context(), func(ctx context.Context) error {
				r.mustPublish(ctx, t, 1)
				require.ErrorIs(t, r.transact(ctx, func(ctx context.Context) error {
					r.mustPublish(ctx, t, 2)
					return c.inner
				}), c.inner)
				r.mustPublish(ctx, t, 3)
				return c.outer
			})
			require.ErrorIs(t, err, c.outer)
			require.Equal(t, c.log, r.log())
		})
	}
}

func TestDeeplyNestedScopes(t *testing.T) {
	t.Parallel()
	// Each scope publishes its depth before and after the next one. The one
	// at depth 3 fails, and takes those inside of it along.
	r := newTxRig()
	r.on(tidings.AfterCommit, "C", nil)
	r.on(tidings.AfterRollback, "R", nil)
	var scope func(ctx context.Context, depth int) error
	scope = func(ctx context.Context, depth int) error {
		err := tidings.Transact(ctx, bare, func(ctx context.Context) error {
			r.mustPublish(ctx, t, depth)
			if depth < 5 {
				require.NoError(t, scope(ctx, depth+1))
			}
			r.mustPublish(ctx, t, 10*depth)
			if depth == 3 {
				return errTx
			}
			return nil
		})
		if depth == 3 {
			require.ErrorIs(t, err, errTx)
			return nil
		}
		return err
	}
	require.NoError(t, scope(t.Context(), 1))
	require.Equal(t, "C1 C2 R3 R4 R5 R50 R40 R30 C20 C10", r.log())
}

func TestNestedTransactJoinsWhateverItsTxFunc(t *testing.T) {
	t.Parallel()
	r := newTxRig()
	r.on(tidings.AfterCommit, "C", nil)
	require.NoError(t, r.transact(t.Context(), func(ctx context.Context) error {
		require.NoError(t, tidings.Transact(ctx, bare, func(ctx context.Context) error { return r.publish(ctx, 1) }))
		require.Equal(t, "begin", r.log(), "delivered at the outermost commit alone")
		return nil
	}))
	require.Equal(t, "commit C1", r.log())
}

func TestRetry(t *testing.T) {
	t.Parallel()
	for name, nested := range map[string]bool{"outermost": false, "nested": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newTxRig().phases()
			retrying := func(ctx context.Context, body func(context.Context) error) (err error) {
				for range 3 {
					if err = r.run(ctx, body); err == nil {
						return nil
					}
				}
				return err
			}
			attempt := 0
			fn := func(ctx context.Context) error {
				attempt++
				r.mustPublish(ctx, t, attempt)
				if attempt < 3 {
					return errTx
				}
				return nil
			}
			if nested {
				require.NoError(t, r.transact(t.Context(), func(ctx context.Context) error {
					return tidings.Transact(ctx, retrying, fn)
				}))
				require.Equal(t, "begin save I1 back save I2 back save I3 release B3 commit R1 R2 C3", r.log())
			} else {
				require.NoError(t, tidings.Transact(t.Context(), retrying, fn))
				require.Equal(t, "begin I1 rollback begin I2 rollback begin I3 B3 commit R1 R2 C3", r.log())
			}
		})
	}
}

func TestRetryAfterAFailedCommit(t *testing.T) {
	t.Parallel()
	// A serialization failure often shows at COMMIT: the first attempt has
	// run its BeforeCommit handlers, and takes no more events.
	r := newTxRig().phases()
	var first context.Context
	require.NoError(t, tidings.Transact(t.Context(), func(ctx context.Context, body func(context.Context) error) error {
		if err := body(ctx); err != nil {
			return err
		}
		require.ErrorIs(t, r.publish(first, 8), tidings.ErrTxDone)
		r.note("failed commit")
		return r.run(ctx, body)
	}, func(ctx context.Context) error {
		if first == nil {
			first = ctx
			return r.publish(ctx, 1)
		}
		require.ErrorIs(t, r.publish(first, 9), tidings.ErrTxDone, "the earlier attempt stays finished")
		return r.publish(ctx, 2)
	}))
	require.Equal(t, "I1 B1 failed commit begin I2 B2 commit R1 C2", r.log())
}

func TestRetryAfterAPanic(t *testing.T) {
	t.Parallel()
	r := newTxRig().phases()
	calls := 0
	require.NoError(t, tidings.Transact(t.Context(), func(ctx context.Context, body func(context.Context) error) error {
		require.Panics(t, func() { _ = body(ctx) })
		return body(ctx)
	}, func(ctx context.Context) error {
		calls++
		r.mustPublish(ctx, t, calls)
		if calls == 1 {
			panic("boom")
		}
		return nil
	}))
	require.Equal(t, "I1 I2 B2 R1 C2", r.log())
}

func TestFinishedTransactions(t *testing.T) {
	t.Parallel()
	finished := map[string]func(t *testing.T, r *txRig) context.Context{
		"committed": func(t *testing.T, r *txRig) (done context.Context) {
			require.NoError(t, r.transact(t.Context(), func(ctx context.Context) error { done = ctx; return nil }))
			return done
		},
		"rolled back": func(t *testing.T, r *txRig) (done context.Context) {
			require.Error(t, r.transact(t.Context(), func(ctx context.Context) error { done = ctx; return errTx }))
			return done
		},
		"committed by hand": func(t *testing.T, _ *txRig) context.Context {
			ctx, hook := tidings.Begin(t.Context())
			require.NoError(t, hook.Commit(ctx))
			return ctx
		},
		"rolled back by hand": func(t *testing.T, _ *txRig) context.Context {
			ctx, hook := tidings.Begin(t.Context())
			hook.Rollback(ctx)
			return ctx
		},
		"prepared": func(t *testing.T, _ *txRig) context.Context {
			ctx, hook := tidings.Begin(t.Context())
			require.NoError(t, hook.Prepare(ctx))
			return ctx
		},
		"begun in a finished one": func(t *testing.T, _ *txRig) context.Context {
			ctx, hook := tidings.Begin(t.Context())
			hook.Rollback(ctx)
			ctx, _ = tidings.Begin(ctx)
			return ctx
		},
		"committed inner scope": func(t *testing.T, r *txRig) (done context.Context) {
			require.NoError(t, r.transact(t.Context(), func(ctx context.Context) error {
				return r.transact(ctx, func(ctx context.Context) error { done = ctx; return nil })
			}))
			return done
		},
		"inner scope left open": func(t *testing.T, _ *txRig) context.Context {
			outer, hook := tidings.Begin(t.Context())
			inner, _ := tidings.Begin(outer)
			hook.Rollback(outer)
			return inner
		},
		"derived": func(t *testing.T, _ *txRig) context.Context {
			ctx, hook := tidings.Begin(t.Context())
			hook.Rollback(ctx)
			return context.WithoutCancel(tidings.WithTx(ctx, txHandle{}))
		},
	}
	for name, finish := range finished {
		for _, subscribed := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, subscribed: %v", name, subscribed), func(t *testing.T) {
				t.Parallel()
				r := newTxRig()
				if subscribed {
					r.phases()
				}
				done := finish(t, r)
				r.log()
				require.ErrorIs(t, r.publish(done, 1), tidings.ErrTxDone, "never silence")
				require.ErrorIs(t, tidings.Publish[tidings.Event](done, r.bus, txOther{}), tidings.ErrTxDone)
				require.ErrorIs(t, tidings.OnCommit(done, func(context.Context) error { t.Error("called"); return nil }), tidings.ErrTxDone)
				require.ErrorIs(t, r.transact(done, func(context.Context) error { t.Error("called"); return nil }), tidings.ErrTxDone)
				again, hook := tidings.Begin(done)
				require.ErrorIs(t, r.publish(again, 1), tidings.ErrTxDone)
				require.ErrorIs(t, hook.Prepare(again), tidings.ErrTxDone)
				require.ErrorIs(t, hook.Commit(again), tidings.ErrTxDone)
				hook.Rollback(again)
				require.Empty(t, r.log(), "nothing ran")
			})
		}
	}
}

func TestInnerScopeIsFinishedBeforeTheOuter(t *testing.T) {
	t.Parallel()
	r := newTxRig().phases()
	require.NoError(t, r.transact(t.Context(), func(ctx context.Context) error {
		var committed, failed context.Context
		require.NoError(t, r.transact(ctx, func(ctx context.Context) error { committed = ctx; return nil }))
		require.Error(t, r.transact(ctx, func(ctx context.Context) error { failed = ctx; return errTx }))
		require.ErrorIs(t, r.publish(committed, 1), tidings.ErrTxDone)
		require.ErrorIs(t, r.publish(failed, 2), tidings.ErrTxDone)
		return r.publish(ctx, 3)
	}))
	require.Equal(t, "begin save release save back I3 B3 commit C3", r.log())
}

func TestPublishBetweenBodyAndCommit(t *testing.T) {
	t.Parallel()
	// After the BeforeCommit handlers it is too late for more events: some
	// of these handlers would miss them.
	r := newTxRig().phases()
	var inside context.Context
	require.NoError(t, tidings.Transact(t.Context(), func(ctx context.Context, body func(context.Context) error) error {
		err := body(ctx)
		require.ErrorIs(t, r.publish(inside, 2), tidings.ErrTxDone)
		return err
	}, func(ctx context.Context) error {
		inside = ctx
		return r.publish(ctx, 1)
	}))
	require.Equal(t, "I1 B1 C1", r.log())
}

func TestPublishFromSeveralGoroutinesOfOneTransaction(t *testing.T) {
	t.Parallel()
	const goroutines, each = 8, 200
	r := newTxRig()
	var inside, before, after [goroutines]int // last number seen, by goroutine
	inOrder := func(last *[goroutines]int) func(context.Context, txEvent) error {
		return func(_ context.Context, e txEvent) error {
			if g := e.N / each; last[g] != e.N%each {
				return fmt.Errorf("goroutine %d: want %d, got %d", g, last[g], e.N%each)
			} else {
				last[g]++
			}
			return nil
		}
	}
	r.on(tidings.InTransaction, "", inOrder(&inside))
	r.on(tidings.BeforeCommit, "", inOrder(&before))
	r.on(tidings.AfterCommit, "", inOrder(&after))
	require.NoError(t, r.transact(t.Context(), func(ctx context.Context) error {
		var wg sync.WaitGroup
		for g := range goroutines {
			wg.Go(func() {
				for i := range each {
					if err := r.publish(ctx, g*each+i); err != nil {
						t.Error(err)
					}
					if i%10 == 0 { // scopes come and go at the same time
						err := tidings.Transact(ctx, bare, func(ctx context.Context) error { return errTx })
						if !errors.Is(err, errTx) {
							t.Error(err)
						}
					}
				}
			})
		}
		wg.Wait()
		return nil
	}))
	require.Empty(t, r.reported())
	for g := range goroutines {
		require.Equal(t, [3]int{each, each, each}, [3]int{inside[g], before[g], after[g]})
	}
}

func TestPublishWhileTheTransactionEnds(t *testing.T) {
	t.Parallel()
	// Goroutines that outlive the transaction: every event is delivered or
	// refused, and never lost without a word.
	const goroutines = 8
	for range 50 {
		bus := tidings.New()
		delivered := 0
		tidings.Subscribe(bus, func(context.Context, txEvent) error { delivered++; return nil })
		tidings.Subscribe(bus, func(context.Context, txEvent) error { return nil }, tidings.BeforeCommit)
		var wg sync.WaitGroup
		accepted := make([]int, goroutines)
		require.NoError(t, tidings.Transact(t.Context(), bare, func(ctx context.Context) error {
			for g := range goroutines {
				wg.Go(func() {
					for {
						switch err := tidings.Publish(ctx, bus, txEvent{}); {
						case errors.Is(err, tidings.ErrTxDone):
							return
						case err != nil:
							t.Error(err)
							return
						}
						accepted[g]++
						runtime.Gosched()
					}
				})
			}
			runtime.Gosched()
			return nil
		}))
		wg.Wait()
		sum := 0
		for _, n := range accepted {
			sum += n
		}
		require.Equal(t, sum, delivered)
	}
}

func TestOnCommitOutsideATransaction(t *testing.T) {
	t.Parallel()
	ctx := tidings.WithTx(t.Context(), txHandle{"not begun by a scope"})
	called := 0
	require.ErrorIs(t, tidings.OnCommit(ctx, func(context.Context) error { called++; return errTx }), errTx)
	require.Equal(t, 1, called, "now, and its failure to the caller")
	require.NoError(t, tidings.OnCommit(ctx, func(context.Context) error { called++; return nil }))
	require.Equal(t, 2, called)
	require.ErrorContains(t, tidings.OnCommit(ctx, nil), "nil function")
}

func TestOnCommitIsQueuedLikeAnEvent(t *testing.T) {
	t.Parallel()
	r := newTxRig().phases()
	call := func(word string) func(context.Context) error {
		return func(context.Context) error { r.note("%s", word); return nil }
	}
	require.NoError(t, r.transact(t.Context(), func(ctx context.Context) error {
		require.NoError(t, tidings.OnCommit(ctx, call("a")))
		r.mustPublish(ctx, t, 1)
		require.NoError(t, tidings.OnCommit(ctx, call("b")))
		require.NoError(t, r.transact(ctx, func(ctx context.Context) error {
			return tidings.OnCommit(ctx, call("c"))
		}))
		require.Error(t, r.transact(ctx, func(ctx context.Context) error {
			require.NoError(t, tidings.OnCommit(ctx, call("dropped")))
			return errTx
		}))
		r.mustPublish(ctx, t, 2)
		return tidings.OnCommit(ctx, call("d"))
	}))
	require.Equal(t, "begin I1 save release save back I2 B1 B2 commit a C1 b c C2 d", r.log())

	require.Error(t, r.transact(t.Context(), func(ctx context.Context) error {
		require.NoError(t, tidings.OnCommit(ctx, call("dropped")))
		return errTx
	}))
	require.Equal(t, "begin rollback", r.log())
}

func TestOnCommitContext(t *testing.T) {
	t.Parallel()
	r := newTxRig()
	key := new(int)
	outside, cancel := context.WithCancel(context.WithValue(t.Context(), key, "outside"))
	called := false
	require.NoError(t, r.transact(outside, func(ctx context.Context) error {
		ctx = context.WithValue(ctx, key, "inside")
		err := tidings.OnCommit(ctx, func(ctx context.Context) error {
			called = true
			require.NoError(t, ctx.Err())
			require.Equal(t, "outside", ctx.Value(key))
			_, inTx := tidings.TxFrom[txHandle](ctx)
			require.False(t, inTx)
			return tidings.OnCommit(ctx, func(context.Context) error { r.note("now"); return nil })
		})
		cancel()
		return err
	}))
	require.True(t, called)
	require.Equal(t, "begin commit now", r.log())
}

func TestOnCommitKeepsTheWorkflow(t *testing.T) {
	t.Parallel()
	r := newTxRig()
	var cause, effect tidings.Event
	tidings.Subscribe(r.bus, func(ctx context.Context, e txEvent) error {
		cause = e
		return tidings.Transact(ctx, bare, func(ctx context.Context) error {
			return tidings.OnCommit(ctx, func(ctx context.Context) error {
				return tidings.Publish(ctx, r.bus, txOther{})
			})
		})
	})
	tidings.Subscribe(r.bus, func(_ context.Context, e txOther) error { effect = e; return nil })
	r.mustPublish(t.Context(), t, 1)
	require.NotNil(t, effect)
	require.Equal(t, cause.EventID(), effect.CausationID())
	require.Equal(t, cause.CorrelationID(), effect.CorrelationID())
}

// TestOnCommitFailures replaces the default bus, so it cannot run in
// parallel with anything that uses that.
func TestOnCommitFailures(t *testing.T) {
	before := tidings.Default()
	t.Cleanup(func() { tidings.SetDefault(before) })
	r := newTxRig()
	tidings.SetDefault(r.bus)
	r.on(tidings.AfterCommit, "C", nil)

	require.NoError(t, r.transact(t.Context(), func(ctx context.Context) error {
		return errors.Join(
			tidings.OnCommit(ctx, func(context.Context) error { return errTx }),
			r.publish(ctx, 1),
			tidings.OnCommit(ctx, func(context.Context) error { panic(io.ErrClosedPipe) }),
			r.publish(ctx, 2))
	}))
	require.Equal(t, "begin commit ! C1 ! C2", r.log())
	failures := r.reported()
	require.ErrorIs(t, failures[0], errTx)
	require.ErrorIs(t, failures[1], io.ErrClosedPipe)
	var panicked *tidings.PanicError
	require.ErrorAs(t, failures[1], &panicked)

	inGoroutine(func() {
		_ = r.transact(t.Context(), func(ctx context.Context) error {
			return errors.Join(
				tidings.OnCommit(ctx, func(context.Context) error { runtime.Goexit(); return nil }),
				r.publish(ctx, 3))
		})
		t.Error("Transact returned")
	})
	require.Equal(t, "begin commit ! C3", r.log(), "what is committed is delivered nevertheless")
	require.ErrorContains(t, r.reported()[0], "Goexit")

	// A failure is reported to the default bus of that moment, also where
	// the scope was closed by hand.
	ctx, hook := tidings.Begin(t.Context())
	require.NoError(t, tidings.OnCommit(ctx, func(context.Context) error { return errTx }))
	require.ErrorIs(t, hook.Commit(ctx), errTx)
	require.Empty(t, r.log(), "the caller of Commit has it")
}

func TestOnCommitRecursionIsBounded(t *testing.T) {
	t.Parallel()
	calls := 0
	var again func(ctx context.Context) error
	var refused error
	again = func(ctx context.Context) error {
		if calls++; calls > 1000 {
			return nil
		}
		return tidings.Transact(ctx, bare, func(ctx context.Context) error {
			refused = tidings.OnCommit(ctx, again)
			return refused
		})
	}
	require.NoError(t, again(t.Context()), "the outermost did commit")
	require.ErrorIs(t, refused, tidings.ErrMaxDepth)
	require.LessOrEqual(t, calls, 101)
}

func TestOnCommitRecursionThroughEventsIsBounded(t *testing.T) {
	t.Parallel()
	r := newTxRig(tidings.WithMaxDepth(6))
	var refused error
	r.on(tidings.AfterCommit, "C", func(ctx context.Context, e txEvent) error {
		return tidings.Transact(ctx, bare, func(ctx context.Context) error {
			return tidings.OnCommit(ctx, func(ctx context.Context) error {
				err := r.publish(ctx, e.N+1)
				if errors.Is(err, tidings.ErrMaxDepth) {
					refused = err
				}
				return err
			})
		})
	})
	_ = r.publish(t.Context(), 1)
	require.ErrorContains(t, refused, "tidings_test.txEvent > OnCommit > tidings_test.txEvent > OnCommit > tidings_test.txEvent")
	require.Equal(t, "C1 C2 C3", r.log(), "a callback is a level, and so is a handler")
}

func TestByHand(t *testing.T) {
	t.Parallel()
	r := newTxRig().phases()

	ctx, hook := tidings.Begin(t.Context())
	ctx = tidings.WithTx(ctx, txHandle{"by hand"})
	r.mustPublish(ctx, t, 1, 2)
	require.Equal(t, "I1 I2", r.log())
	require.NoError(t, hook.Prepare(ctx))
	require.Equal(t, "B1 B2", r.log())
	require.NoError(t, hook.Commit(ctx))
	require.Equal(t, "C1 C2", r.log())

	hook.Rollback(ctx)
	require.Empty(t, r.log(), "deferred after Commit, it does nothing")
	require.ErrorIs(t, hook.Commit(ctx), tidings.ErrTxDone)
	require.ErrorIs(t, hook.Prepare(ctx), tidings.ErrTxDone)
	require.Empty(t, r.log())

	ctx, hook = tidings.Begin(t.Context())
	r.mustPublish(ctx, t, 3, 4)
	hook.Rollback(ctx)
	require.Equal(t, "I3 I4 R3 R4", r.log())
	hook.Rollback(ctx)
	require.ErrorIs(t, hook.Commit(ctx), tidings.ErrTxDone)
	require.Empty(t, r.log(), "nothing is delivered after a rollback")
}

func TestByHandFailures(t *testing.T) {
	t.Parallel()
	r := newTxRig()
	r.on(tidings.AfterCommit, "C", txFail, tidings.Named("mail"))
	r.on(tidings.AfterCommit, "D", func(context.Context, txEvent) error { return io.ErrClosedPipe })
	r.on(tidings.AfterRollback, "R", txFail)

	ctx, hook := tidings.Begin(t.Context())
	r.mustPublish(ctx, t, 1, 2)
	require.NoError(t, hook.Prepare(ctx))
	err := hook.Commit(ctx)
	require.ErrorIs(t, err, errTx)
	require.ErrorIs(t, err, io.ErrClosedPipe)
	joined, ok := err.(interface{ Unwrap() []error })
	require.True(t, ok)
	require.Len(t, joined.Unwrap(), 4)
	for _, err := range joined.Unwrap() {
		var failed *tidings.HandlerError
		require.ErrorAs(t, err, &failed)
	}
	require.Equal(t, "C1 D1 C2 D2", r.log(), "the caller has the errors, nobody else")

	ctx, hook = tidings.Begin(t.Context())
	r.mustPublish(ctx, t, 3)
	hook.Rollback(ctx)
	require.Equal(t, "R3 !", r.log(), "Rollback has no result: the error handler gets them")
	require.ErrorIs(t, r.reported()[0], errTx)
}

func TestByHandPrepareFails(t *testing.T) {
	t.Parallel()
	r := newTxRig()
	r.on(tidings.BeforeCommit, "B", func(_ context.Context, e txEvent) error {
		if e.N == 2 {
			return errTx
		}
		return nil
	})
	r.on(tidings.AfterCommit, "C", nil)
	r.on(tidings.AfterRollback, "R", nil)

	ctx, hook := tidings.Begin(t.Context())
	r.mustPublish(ctx, t, 1, 2, 3)
	require.ErrorIs(t, hook.Prepare(ctx), errTx)
	require.Equal(t, "B1 B2", r.log(), "the first failure ends it")
	hook.Rollback(ctx)
	require.Equal(t, "R1 R2 R3", r.log())

	// Misuse: the caller commits in spite of it.
	ctx, hook = tidings.Begin(t.Context())
	r.mustPublish(ctx, t, 2)
	require.ErrorIs(t, hook.Prepare(ctx), errTx)
	require.Error(t, hook.Prepare(ctx), "a failure stays one")
	r.log()
	require.Error(t, hook.Commit(ctx), "handlers that were to run before the commit have not")
	require.Equal(t, "C2", r.log(), "it is committed, so it is delivered")
}

func TestByHandCommitWithoutPrepare(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before bool
		want   string
	}{
		"no BeforeCommit handler": {false, ""},
		"a BeforeCommit handler":  {true, "without Prepare: BeforeCommit handlers of tidings_test.txEvent did not run"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newTxRig()
			r.on(tidings.AfterCommit, "C", nil)
			if c.before {
				r.on(tidings.BeforeCommit, "B", nil)
			}
			ctx, hook := tidings.Begin(t.Context())
			r.mustPublish(ctx, t, 1)
			err := hook.Commit(ctx)
			if c.want == "" {
				require.NoError(t, err, "there was nothing to prepare")
			} else {
				require.ErrorContains(t, err, c.want)
			}
			require.Equal(t, "C1", r.log(), "it is committed, so it is delivered")
		})
	}
}

func TestByHandPublishAfterPrepare(t *testing.T) {
	t.Parallel()
	r := newTxRig().phases()
	ctx, hook := tidings.Begin(t.Context())
	r.mustPublish(ctx, t, 1)
	require.NoError(t, hook.Prepare(ctx))
	require.ErrorIs(t, r.publish(ctx, 2), tidings.ErrTxDone)
	require.ErrorIs(t, tidings.OnCommit(ctx, func(context.Context) error { return nil }), tidings.ErrTxDone)
	require.NoError(t, hook.Commit(ctx))
	require.Equal(t, "I1 B1 C1", r.log())
}

func TestByHandRollbackAfterPrepare(t *testing.T) {
	t.Parallel()
	// tx.Commit has failed.
	r := newTxRig().phases()
	ctx, hook := tidings.Begin(t.Context())
	r.mustPublish(ctx, t, 1)
	require.NoError(t, hook.Prepare(ctx))
	hook.Rollback(ctx)
	require.Equal(t, "I1 B1 R1", r.log())
}

func TestByHandNested(t *testing.T) {
	t.Parallel()
	r := newTxRig().phases()
	outerCtx, outer := tidings.Begin(t.Context())
	r.mustPublish(outerCtx, t, 1)

	ctx, inner := tidings.Begin(outerCtx)
	r.mustPublish(ctx, t, 2)
	require.NoError(t, inner.Prepare(ctx))
	require.Equal(t, "I1 I2", r.log(), "nothing to prepare before the outermost commit")
	r.mustPublish(ctx, t, 3)
	require.NoError(t, inner.Commit(ctx))
	require.ErrorIs(t, inner.Commit(ctx), tidings.ErrTxDone)

	ctx, inner = tidings.Begin(outerCtx)
	r.mustPublish(ctx, t, 4)
	inner.Rollback(ctx)
	inner.Rollback(ctx)
	require.ErrorIs(t, inner.Commit(ctx), tidings.ErrTxDone)

	require.NoError(t, r.transact(outerCtx, func(ctx context.Context) error { return r.publish(ctx, 5) }))
	require.Equal(t, "I3 I4 begin I5 commit", r.log())

	require.NoError(t, outer.Prepare(outerCtx))
	require.NoError(t, outer.Commit(outerCtx))
	require.Equal(t, "B1 B2 B3 B5 C1 C2 C3 R4 C5", r.log())
}

func TestByHandContexts(t *testing.T) {
	t.Parallel()
	r := newTxRig()
	key := new(int)
	check := func(ctx context.Context, _ txEvent) error {
		_, inTx := tidings.TxFrom[txHandle](ctx)
		r.note("%v tx:%v err:%v", ctx.Value(key), inTx, ctx.Err())
		return nil
	}
	r.on(tidings.AfterCommit, "C", check)
	r.on(tidings.AfterRollback, "R", check)
	for _, commit := range []bool{true, false} {
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key, "value"))
		ctx, hook := tidings.Begin(ctx)
		ctx = tidings.WithTx(ctx, txHandle{})
		r.mustPublish(ctx, t, 1)
		require.NoError(t, hook.Prepare(ctx))
		cancel()
		if commit {
			require.NoError(t, hook.Commit(ctx))
			require.Equal(t, "C1 value tx:false err:<nil>", r.log())
		} else {
			hook.Rollback(ctx)
			require.Equal(t, "R1 value tx:false err:<nil>", r.log())
		}
	}
	require.Empty(t, r.reported())
}

func TestByHandConcurrentEnds(t *testing.T) {
	t.Parallel()
	r := newTxRig()
	r.on(tidings.AfterCommit, "C", nil)
	r.on(tidings.AfterRollback, "R", nil)
	for range 200 {
		ctx, hook := tidings.Begin(t.Context())
		r.mustPublish(ctx, t, 1)
		var wg sync.WaitGroup
		wg.Go(func() { _ = hook.Commit(ctx) })
		wg.Go(func() { hook.Rollback(ctx) })
		wg.Wait()
		require.Contains(t, []string{"C1", "R1"}, r.log(), "one of the two, once")
	}
}

func TestWithTxAndTxFrom(t *testing.T) {
	t.Parallel()
	type other struct{ name string }
	ctx := t.Context()
	_, ok := tidings.TxFrom[txHandle](ctx)
	require.False(t, ok)

	ctx = tidings.WithTx(ctx, txHandle{"first"})
	ctx = tidings.WithTx(ctx, &other{"of another library"})
	inner := context.WithValue(tidings.WithTx(ctx, txHandle{"second"}), new(int), 1)

	got, ok := tidings.TxFrom[txHandle](ctx)
	require.True(t, ok)
	require.Equal(t, "first", got.name)
	got, _ = tidings.TxFrom[txHandle](inner)
	require.Equal(t, "second", got.name, "the innermost of its type")
	pointer, ok := tidings.TxFrom[*other](inner)
	require.True(t, ok)
	require.Equal(t, "of another library", pointer.name)
	_, ok = tidings.TxFrom[other](inner)
	require.False(t, ok, "a pointer is another type")
	_, ok = tidings.TxFrom[fmt.Stringer](inner)
	require.False(t, ok)

	// A context with a transaction that no scope was opened for is not a
	// scope: what is published there is delivered now.
	r := newTxRig().phases()
	r.mustPublish(ctx, t, 1)
	require.Equal(t, "I1 B1 C1", r.log())
}

func TestTxFromFindsInterfaces(t *testing.T) {
	t.Parallel()
	ctx := tidings.WithTx(t.Context(), io.NopCloser(strings.NewReader("tx")))
	_, ok := tidings.TxFrom[io.Closer](ctx)
	require.True(t, ok)
}

// raceDetector reports whether the test was built with -race.
func raceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// A million events wait in one transaction, some of them in inner scopes.
func TestAMillionEventsInOneTransaction(t *testing.T) {
	t.Parallel()
	const each = 1000
	scopes := 1000
	if raceDetector() {
		scopes = 100 // it takes 20 times as long
	}
	bus := tidings.New()
	before, after, dropped := 0, 0, 0
	tidings.Subscribe(bus, func(context.Context, txEvent) error { before++; return nil }, tidings.BeforeCommit)
	tidings.Subscribe(bus, func(_ context.Context, e txEvent) error {
		if e.N != after {
			return fmt.Errorf("want %d, got %d", after, e.N)
		}
		after++
		return nil
	})
	tidings.Subscribe(bus, func(context.Context, txEvent) error { dropped++; return nil }, tidings.AfterRollback)
	ctx, hook := tidings.Begin(t.Context())
	for s := range scopes {
		inner, innerHook := tidings.Begin(ctx)
		for i := range each {
			if err := tidings.Publish(inner, bus, txEvent{N: s/2*each + i}); err != nil {
				t.Fatal(err)
			}
		}
		if s%2 == 0 {
			require.NoError(t, innerHook.Commit(inner))
		} else {
			innerHook.Rollback(inner)
		}
	}
	require.NoError(t, hook.Prepare(ctx))
	require.NoError(t, hook.Commit(ctx))
	half := scopes * each / 2
	require.Equal(t, []int{half, half, half}, []int{before, after, dropped})
}

// TestCostOfAQueuedEvent pins what an event costs that waits for the commit.
// It measures the whole process, so nothing may run beside it.
func TestCostOfAQueuedEvent(t *testing.T) {
	if raceDetector() {
		t.Skip("the race detector allocates")
	}
	bus := tidings.New()
	tidings.Subscribe(bus, func(context.Context, txWide) error { return nil })
	ctx, hook := tidings.Begin(t.Context())
	defer hook.Rollback(ctx)
	e := tidings.Stamp(t.Context(), txWide{})

	result := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := tidings.Publish(ctx, bus, e); err != nil {
				b.Fatal(err)
			}
		}
	})
	require.LessOrEqual(t, result.AllocsPerOp(), int64(2))
	require.LessOrEqual(t, result.AllocedBytesPerOp(), int64(300))
	t.Logf("%d allocations and %d bytes an event", result.AllocsPerOp(), result.AllocedBytesPerOp())
}

// txWide is an event of 72 bytes, as in the benchmarks.
type txWide struct {
	tidings.DomainEvent
	OrderID, Lane int64
}

func TestWithinTx(t *testing.T) {
	t.Parallel()
	bus := tidings.New()
	within := map[string]bool{}
	note := func(where string) func(context.Context, clientCreated) error {
		return func(ctx context.Context, _ clientCreated) error {
			within[where] = tidings.WithinTx(ctx)
			return nil
		}
	}
	tidings.Subscribe(bus, note("in"), tidings.InTransaction)
	tidings.Subscribe(bus, note("before"), tidings.BeforeCommit)
	tidings.Subscribe(bus, note("after"))

	require.False(t, tidings.WithinTx(t.Context()))
	require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{}))
	require.Equal(t, map[string]bool{"in": false, "before": false, "after": false}, within, "there is none")

	require.NoError(t, tidings.Transact(t.Context(), runBody, func(ctx context.Context) error {
		require.True(t, tidings.WithinTx(ctx))
		return tidings.Publish(ctx, bus, clientCreated{})
	}))
	require.Equal(t, map[string]bool{"in": true, "before": true, "after": false}, within)
	ctx, hook := tidings.Begin(t.Context())
	defer hook.Rollback(ctx)
	require.True(t, tidings.WithinTx(ctx))
}

// runBody is a TxFunc without a database.
func runBody(ctx context.Context, body func(context.Context) error) error { return body(ctx) }
