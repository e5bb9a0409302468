package txtest_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/txtest"
)

func TestTransactReturnsNilIfAndOnlyIfCommitted(t *testing.T) {
	t.Parallel()
	errCommit := errors.New("serialization failure")
	ok := func(context.Context) error { return nil }
	for _, c := range []struct {
		name   string
		run    tidings.TxFunc
		fn     func(context.Context) error
		want   error  // is in what Transact returns
		text   string // is in its message
		log    string
		reason string
	}{
		{
			name: "commit",
			run:  txtest.Bare.Run, fn: ok, log: "C1",
		},
		{
			name: "fn fails",
			run:  txtest.Bare.Run, fn: func(context.Context) error { return txtest.ErrTx }, want: txtest.ErrTx, log: "R1",
		},
		{
			name: "commit fails",
			run: func(ctx context.Context, body func(context.Context) error) error {
				return errors.Join(body(ctx), errCommit)
			},
			fn: ok, want: errCommit, log: "R1",
			reason: "not known to be committed",
		},
		{
			name: "begin fails",
			run:  func(context.Context, func(context.Context) error) error { return errCommit },
			fn:   ok, want: errCommit, log: "",
		},
		{
			name: "the TxFunc swallows the error",
			run: func(ctx context.Context, body func(context.Context) error) error {
				if body(ctx) == nil {
					return errors.New("body succeeded")
				}
				return nil
			},
			fn: func(context.Context) error { return txtest.ErrTx }, want: txtest.ErrTx, log: "R1",
			reason: "what failed must not be delivered, whatever the TxFunc says",
		},
		{
			name: "the TxFunc replaces the error",
			run: func(ctx context.Context, body func(context.Context) error) error {
				if body(ctx) == nil {
					return nil
				}
				return errCommit
			},
			fn: func(context.Context) error { return txtest.ErrTx }, want: errCommit, log: "R1",
		},
		{
			name: "the TxFunc recovers the panic",
			run: func(ctx context.Context, body func(context.Context) error) (err error) {
				defer func() { _ = recover() }()
				return body(ctx)
			},
			fn: func(context.Context) error { panic("boom") }, text: "recovered a panic", log: "R1",
			reason: "Transact can say no more than that it was not committed",
		},
		{
			name: "the TxFunc makes an error of the panic",
			run: func(ctx context.Context, body func(context.Context) error) (err error) {
				defer func() { err = fmt.Errorf("recovered %v", recover()) }()
				return body(ctx)
			},
			fn: func(context.Context) error { panic("boom") }, text: "recovered boom", log: "R1",
		},
		{
			name: "the TxFunc never calls body",
			run:  func(context.Context, func(context.Context) error) error { return nil },
			fn:   ok, text: "without calling its body", log: "",
		},
		{
			name: "the TxFunc retries, and gives up",
			run: func(ctx context.Context, body func(context.Context) error) error {
				return errors.Join(body(ctx), body(ctx))
			},
			fn: func(context.Context) error { return txtest.ErrTx }, want: txtest.ErrTx, log: "R1 R1",
		},
		{
			name: "the TxFunc calls body again after it has succeeded",
			run: func(ctx context.Context, body func(context.Context) error) error {
				return errors.Join(body(ctx), body(ctx))
			},
			fn: ok, log: "R1 C1",
			reason: "a retry after a COMMIT that failed: the earlier attempt counts as rolled back",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := txtest.NewRig()
			r.On(tidings.AfterCommit, "C", nil)
			r.On(tidings.AfterRollback, "R", nil)
			err := tidings.Transact(t.Context(), txtest.On(c.run), func(ctx context.Context) error {
				r.MustPublish(ctx, t, 1)
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
			require.Equal(t, c.log, r.Log(), c.reason)
			require.Empty(t, r.Reported())
		})
	}
}

func TestTransactWithNilFunctions(t *testing.T) {
	t.Parallel()
	require.ErrorContains(t, tidings.Transact(t.Context(), txtest.On(nil), func(context.Context) error { return nil }), "nil function")
	require.ErrorContains(t, tidings.Transact(t.Context(), txtest.Bare, nil), "nil function")
}

func TestTransactPanics(t *testing.T) {
	t.Parallel()
	value := &struct{ reason string }{"unique"}
	for _, tt := range []struct {
		name   string
		nested bool
	}{{"outermost", false}, {"nested", true}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := txtest.NewRig().Phases()
			panics := func(ctx context.Context) error {
				r.MustPublish(ctx, t, 1)
				panic(value)
			}
			fn := panics
			if tt.nested {
				fn = func(ctx context.Context) error { return r.Transact(ctx, panics) }
			}
			func() {
				defer func() { require.Same(t, value, recover()) }()
				_ = r.Transact(t.Context(), fn)
			}()
			if tt.nested {
				require.Equal(t, "begin save I1 back rollback R1", r.Log())
			} else {
				require.Equal(t, "begin I1 rollback R1", r.Log())
			}
			require.NoError(t, r.Transact(t.Context(), func(ctx context.Context) error { return r.Publish(ctx, 2) }))
			require.Equal(t, "begin I2 B2 commit C2", r.Log())
		})
	}
}

func TestTransactRecoversNothingOfAnInnerScope(t *testing.T) {
	t.Parallel()
	r := txtest.NewRig().Phases()
	require.NoError(t, r.Transact(t.Context(), func(ctx context.Context) error {
		r.MustPublish(ctx, t, 1)
		require.PanicsWithValue(t, "boom", func() {
			_ = r.Transact(ctx, func(ctx context.Context) error {
				r.MustPublish(ctx, t, 2)
				panic("boom")
			})
		})
		r.MustPublish(ctx, t, 3)
		return nil
	}), "whoever recovers may go on, as after an error")
	require.Equal(t, "begin I1 save I2 back I3 B1 B3 commit C1 R2 C3", r.Log())
}

func TestTransactGoexit(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		nested bool
	}{{"outermost", false}, {"nested", true}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := txtest.NewRig().Phases()
			fn := func(ctx context.Context) error {
				r.MustPublish(ctx, t, 1)
				runtime.Goexit()
				return nil
			}
			txtest.InGoroutine(func() {
				if tt.nested {
					_ = r.Transact(t.Context(), func(ctx context.Context) error { return r.Transact(ctx, fn) })
				} else {
					_ = r.Transact(t.Context(), fn)
				}
				t.Error("Transact returned")
			})
			if tt.nested {
				require.Equal(t, "begin save I1 back rollback R1", r.Log())
			} else {
				require.Equal(t, "begin I1 rollback R1", r.Log())
			}
		})
	}
}

func TestNestedScopes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name         string
		inner, outer error
		log          string
	}{
		{"both succeed", nil, nil, "begin I1 save I2 release I3 B1 B2 B3 commit C1 C2 C3"},
		{"the inner fails", txtest.ErrTx, nil, "begin I1 save I2 back I3 B1 B3 commit C1 R2 C3"},
		{"the outer fails", nil, txtest.ErrTx, "begin I1 save I2 release I3 rollback R1 R2 R3"},
		{"both fail", txtest.ErrTx, txtest.ErrTx, "begin I1 save I2 back I3 rollback R1 R2 R3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := txtest.NewRig().Phases()
			err := r.Transact(t.Context(), func(ctx context.Context) error {
				r.MustPublish(ctx, t, 1)
				require.ErrorIs(t, r.Transact(ctx, func(ctx context.Context) error {
					r.MustPublish(ctx, t, 2)
					return c.inner
				}), c.inner)
				r.MustPublish(ctx, t, 3)
				return c.outer
			})
			require.ErrorIs(t, err, c.outer)
			require.Equal(t, c.log, r.Log())
		})
	}
}

func TestDeeplyNestedScopes(t *testing.T) {
	t.Parallel()
	// Each scope publishes its depth before and after the next one. The one
	// at depth 3 fails, and takes those inside of it along.
	r := txtest.NewRig()
	r.On(tidings.AfterCommit, "C", nil)
	r.On(tidings.AfterRollback, "R", nil)
	var scope func(ctx context.Context, depth int) error
	scope = func(ctx context.Context, depth int) error {
		err := tidings.Transact(ctx, txtest.Bare, func(ctx context.Context) error {
			r.MustPublish(ctx, t, depth)
			if depth < 5 {
				require.NoError(t, scope(ctx, depth+1))
			}
			r.MustPublish(ctx, t, 10*depth)
			if depth == 3 {
				return txtest.ErrTx
			}
			return nil
		})
		if depth == 3 {
			require.ErrorIs(t, err, txtest.ErrTx)
			return nil
		}
		return err
	}
	require.NoError(t, scope(t.Context(), 1))
	require.Equal(t, "C1 C2 R3 R4 R5 R50 R40 R30 C20 C10", r.Log())
}

func TestNestedTransactJoinsWhateverItsTxFunc(t *testing.T) {
	t.Parallel()
	r := txtest.NewRig()
	r.On(tidings.AfterCommit, "C", nil)
	require.NoError(t, r.Transact(t.Context(), func(ctx context.Context) error {
		require.NoError(t, tidings.Transact(ctx, txtest.Bare, func(ctx context.Context) error { return r.Publish(ctx, 1) }))
		require.Equal(t, "begin", r.Log(), "delivered at the outermost commit alone")
		return nil
	}))
	require.Equal(t, "commit C1", r.Log())
}

func TestPublishFromSeveralGoroutinesOfOneTransaction(t *testing.T) {
	t.Parallel()
	const goroutines, each = 8, 200
	r := txtest.NewRig()
	var inside, before, after [goroutines]int // last number seen, by goroutine
	inOrder := func(last *[goroutines]int) func(context.Context, txtest.Event) error {
		return func(_ context.Context, e txtest.Event) error {
			if g := e.N / each; last[g] != e.N%each {
				return fmt.Errorf("goroutine %d: want %d, got %d", g, last[g], e.N%each)
			} else {
				last[g]++
			}
			return nil
		}
	}
	r.On(tidings.InTransaction, "", inOrder(&inside))
	r.On(tidings.BeforeCommit, "", inOrder(&before))
	r.On(tidings.AfterCommit, "", inOrder(&after))
	require.NoError(t, r.Transact(t.Context(), func(ctx context.Context) error {
		var wg sync.WaitGroup
		// What is published while a savepoint is set belongs to it, in any goroutine.
		var savepoint sync.RWMutex
		publish := func(n int) error {
			savepoint.RLock()
			defer savepoint.RUnlock()
			return r.Publish(ctx, n)
		}
		rollBack := func() error {
			savepoint.Lock()
			defer savepoint.Unlock()
			return tidings.Transact(ctx, txtest.Bare, func(context.Context) error { return txtest.ErrTx })
		}
		for g := range goroutines {
			wg.Go(func() {
				for i := range each {
					if err := publish(g*each + i); err != nil {
						t.Error(err)
					}
					if i%10 == 0 { // savepoints come and go
						if err := rollBack(); !errors.Is(err, txtest.ErrTx) {
							t.Error(err)
						}
					}
				}
			})
		}
		wg.Wait()
		return nil
	}))
	require.Empty(t, r.Reported())
	for g := range goroutines {
		require.Equal(t, [3]int{each, each, each}, [3]int{inside[g], before[g], after[g]})
	}
}
