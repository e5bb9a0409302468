package transactions_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/transactions"
)

// InvoiceIssued is the event of all tests here.
type InvoiceIssued struct {
	tidings.DomainEvent
	Number string
}

// A library is a way to run transactions on a database of its own, with the
// tables invoices and payments. Its pool has one connection, so that a
// handler that runs before the connection is given back hangs.
type library struct {
	// transact is Transact with the TxFunc of the library.
	transact func(ctx context.Context, fn func(context.Context) error) error
	// retrying is transact with up to three attempts, again being whether
	// an error calls for another. It is nil for InTx.
	retrying func(ctx context.Context, again func(error) bool, fn func(context.Context) error) error
	// insert adds an invoice, exec runs a statement: both in the
	// transaction that TxFrom finds, and it is an error if there is none.
	insert func(ctx context.Context, number string) error
	exec   func(ctx context.Context, query string) error
	// stored returns the numbers that are committed, in the order of
	// insertion, through a connection of another pool.
	stored func(ctx context.Context) ([]string, error)
}

// withTxFunc fills in what follows from a TxFunc whose transactions are of
// type Tx.
func withTxFunc[Tx any](lib library, run tidings.TxFunc) library {
	lib.transact = func(ctx context.Context, fn func(context.Context) error) error {
		return tidings.Transact(ctx, run, fn)
	}
	lib.retrying = func(ctx context.Context, again func(error) bool, fn func(context.Context) error) error {
		return tidings.Transact(ctx, transactions.Retrying[Tx](run, 3, again), fn)
	}
	return lib
}

var errNoTx = errors.New("TxFrom finds no transaction")

// A fixture is a library with a bus, and what happened on it.
type fixture struct {
	library
	bus *tidings.EventBus

	mu        sync.Mutex
	delivered []string // invoices, by AfterCommit handlers
	dropped   []string // by AfterRollback handlers
	failed    []error  // reported
}

func newFixture(t *testing.T, open func(*testing.T) library) *fixture {
	t.Helper()
	f := &fixture{library: open(t)}
	f.bus = tidings.New(tidings.WithErrorHandler(func(_ context.Context, err error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.failed = append(f.failed, err)
	}))
	note := func(to *[]string) func(context.Context, InvoiceIssued) error {
		return func(_ context.Context, e InvoiceIssued) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			*to = append(*to, e.Number)
			return nil
		}
	}
	tidings.Subscribe(f.bus, note(&f.delivered))
	tidings.Subscribe(f.bus, note(&f.dropped), tidings.AfterRollback)
	t.Cleanup(func() { require.NoError(t, f.bus.Close(context.Background())) })
	return f
}

// issue inserts an invoice and publishes its event.
func (f *fixture) issue(ctx context.Context, number string) error {
	if err := f.insert(ctx, number); err != nil {
		return err
	}
	return tidings.Publish(ctx, f.bus, InvoiceIssued{Number: number})
}

// requireCommitted checks that these invoices are stored and delivered, and
// no others.
func (f *fixture) requireCommitted(t *testing.T, numbers ...string) {
	t.Helper()
	stored, err := f.stored(context.Background())
	require.NoError(t, err)
	require.Equal(t, numbers, stored, "rows")
	require.Equal(t, numbers, f.delivered, "events")
}

func (f *fixture) requireDropped(t *testing.T, numbers ...string) {
	t.Helper()
	require.Equal(t, numbers, f.dropped, "AfterRollback handlers")
}

var errChangedMind = errors.New("changed my mind")

// exercise holds a library against the promises of the package tidings. Each
// case has a database of its own.
func exercise(t *testing.T, open func(*testing.T) library) {
	t.Parallel()
	for _, c := range []struct {
		name string
		test func(t *testing.T, f *fixture)
	}{
		{"commit", testCommit},
		{"error", testError},
		{"swallowed publish error", testInTransactionHandlerFails},
		{"panic", testPanic},
		{"goexit", testGoexit},
		{"inner fails", testInnerFails},
		{"inner panics", testInnerPanics},
		{"outer fails", testOuterFails},
		{"three deep", testThreeDeep},
		{"statement fails in savepoint", testStatementFailsInSavepoint},
		{"handler sees the row", testHandlerSeesRow},
		{"handler opens a transaction", testHandlerOpensTransaction},
		{"handler writes in the transaction", testHandlerWritesInTransaction},
		{"handler writes before the commit", testHandlerWritesBeforeCommit},
		{"BeforeCommit fails", testBeforeCommitFails},
		{"commit fails", testCommitFails},
		{"cancelled", testCancelled},
		{"inner cancelled", testInnerCancelled},
		{"client hangs up", testClientHangsUp},
		{"retry", testRetry},
		{"retry gives up", testRetryGivesUp},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t, newFixture(t, open))
		})
	}
}

func testCommit(t *testing.T, f *fixture) {
	require.NoError(t, f.transact(t.Context(), func(ctx context.Context) error {
		if err := f.issue(ctx, "A"); err != nil {
			return err
		}
		require.Empty(t, f.delivered, "before the commit")
		return f.issue(ctx, "B")
	}))
	f.requireCommitted(t, "A", "B")
	f.requireDropped(t)
	require.Empty(t, f.failed)
}

func testError(t *testing.T, f *fixture) {
	require.ErrorIs(t, f.transact(t.Context(), func(ctx context.Context) error {
		return errors.Join(f.issue(ctx, "A"), errChangedMind)
	}), errChangedMind)
	f.requireCommitted(t)
	f.requireDropped(t, "A")

	require.NoError(t, f.transact(t.Context(), func(ctx context.Context) error { return f.issue(ctx, "B") }))
	f.requireCommitted(t, "B")
}

func testInTransactionHandlerFails(t *testing.T, f *fixture) {
	tidings.Subscribe(f.bus, func(context.Context, InvoiceIssued) error { return errChangedMind }, tidings.InTransaction)
	require.ErrorIs(t, f.transact(t.Context(), func(ctx context.Context) error { return f.issue(ctx, "A") }), errChangedMind)
	f.requireCommitted(t)
	f.requireDropped(t, "A")
}

func testPanic(t *testing.T, f *fixture) {
	require.PanicsWithValue(t, "out of paper", func() {
		_ = f.transact(t.Context(), func(ctx context.Context) error {
			require.NoError(t, f.issue(ctx, "A"))
			panic("out of paper")
		})
	})
	f.requireCommitted(t)
	f.requireDropped(t, "A")

	// The connection is back in the pool, and clean.
	require.NoError(t, f.transact(t.Context(), func(ctx context.Context) error { return f.issue(ctx, "B") }))
	f.requireCommitted(t, "B")
}

func testGoexit(t *testing.T, f *fixture) {
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = f.transact(t.Context(), func(ctx context.Context) error {
			err = f.issue(ctx, "A")
			runtime.Goexit()
			return nil
		})
	}()
	<-done
	require.NoError(t, err)
	f.requireCommitted(t)
	f.requireDropped(t, "A")

	require.NoError(t, f.transact(t.Context(), func(ctx context.Context) error { return f.issue(ctx, "B") }))
	f.requireCommitted(t, "B")
}

func testInnerFails(t *testing.T, f *fixture) {
	require.NoError(t, f.transact(t.Context(), func(ctx context.Context) error {
		require.NoError(t, f.issue(ctx, "A"))
		err := f.transact(ctx, func(ctx context.Context) error {
			require.NoError(t, f.issue(ctx, "B"))
			return errChangedMind
		})
		require.ErrorIs(t, err, errChangedMind)
		require.Empty(t, f.dropped, "AfterRollback handlers wait for the end of the outer transaction")
		return f.issue(ctx, "C")
	}))
	f.requireCommitted(t, "A", "C")
	f.requireDropped(t, "B")
}

func testInnerPanics(t *testing.T, f *fixture) {
	require.NoError(t, f.transact(t.Context(), func(ctx context.Context) error {
		require.NoError(t, f.issue(ctx, "A"))
		require.PanicsWithValue(t, "out of paper", func() {
			_ = f.transact(ctx, func(ctx context.Context) error {
				require.NoError(t, f.issue(ctx, "B"))
				panic("out of paper")
			})
		})
		return f.issue(ctx, "C")
	}))
	f.requireCommitted(t, "A", "C")
	f.requireDropped(t, "B")
}

func testOuterFails(t *testing.T, f *fixture) {
	require.ErrorIs(t, f.transact(t.Context(), func(ctx context.Context) error {
		require.NoError(t, f.transact(ctx, func(ctx context.Context) error { return f.issue(ctx, "A") }))
		require.Empty(t, f.delivered, "the inner transaction is not committed before the outer one is")
		return errChangedMind
	}), errChangedMind)
	f.requireCommitted(t)
	f.requireDropped(t, "A")
}

// testThreeDeep: an inner scope that succeeds inside of one that fails goes
// with it, and what comes after keeps its place.
func testThreeDeep(t *testing.T, f *fixture) {
	require.NoError(t, f.transact(t.Context(), func(ctx context.Context) error {
		require.NoError(t, f.issue(ctx, "A"))
		require.ErrorIs(t, f.transact(ctx, func(ctx context.Context) error {
			require.NoError(t, f.issue(ctx, "B"))
			require.NoError(t, f.transact(ctx, func(ctx context.Context) error { return f.issue(ctx, "C") }))
			return errChangedMind
		}), errChangedMind)
		require.NoError(t, f.transact(ctx, func(ctx context.Context) error {
			require.NoError(t, f.issue(ctx, "D"))
			require.ErrorIs(t, f.transact(ctx, func(ctx context.Context) error {
				require.NoError(t, f.issue(ctx, "E"))
				return errChangedMind
			}), errChangedMind)
			return f.issue(ctx, "F")
		}))
		return f.issue(ctx, "G")
	}))
	f.requireCommitted(t, "A", "D", "F", "G")
	f.requireDropped(t, "B", "C", "E")
}

// testStatementFailsInSavepoint: on Postgres the failure of a statement
// spoils the transaction up to the savepoint, and no further.
func testStatementFailsInSavepoint(t *testing.T, f *fixture) {
	require.NoError(t, f.transact(t.Context(), func(ctx context.Context) error {
		require.NoError(t, f.issue(ctx, "A"))
		require.ErrorContains(t, f.transact(ctx, func(ctx context.Context) error {
			require.NoError(t, f.issue(ctx, "B"))
			return f.exec(ctx, "INSERT INTO no_such_table VALUES (1)")
		}), "no_such_table")
		return f.issue(ctx, "C")
	}))
	f.requireCommitted(t, "A", "C")
	f.requireDropped(t, "B")
}

func testHandlerSeesRow(t *testing.T, f *fixture) {
	var seen []string
	tidings.Subscribe(f.bus, func(ctx context.Context, _ InvoiceIssued) (err error) {
		seen, err = f.stored(ctx)
		return err
	})
	require.NoError(t, f.transact(t.Context(), func(ctx context.Context) error { return f.issue(ctx, "A") }))
	require.Equal(t, []string{"A"}, seen)
	require.Empty(t, f.failed)
}

func testHandlerOpensTransaction(t *testing.T, f *fixture) {
	tidings.Subscribe(f.bus, func(ctx context.Context, e InvoiceIssued) error {
		if e.Number != "A" {
			return nil
		}
		if err := f.insert(ctx, "no transaction here"); !errors.Is(err, errNoTx) {
			return fmt.Errorf("the handler is in the publisher's transaction (%w)", err)
		}
		return f.transact(ctx, func(ctx context.Context) error { return f.issue(ctx, e.Number+"2") })
	})
	require.NoError(t, f.transact(t.Context(), func(ctx context.Context) error { return f.issue(ctx, "A") }))
	require.Empty(t, f.failed)
	f.requireCommitted(t, "A", "A2")
}

func testHandlerWritesInTransaction(t *testing.T, f *fixture) {
	tidings.Subscribe(f.bus, func(ctx context.Context, e InvoiceIssued) error {
		return f.insert(ctx, "copy of "+e.Number)
	}, tidings.InTransaction)

	require.ErrorIs(t, f.transact(t.Context(), func(ctx context.Context) error {
		return errors.Join(f.issue(ctx, "A"), errChangedMind)
	}), errChangedMind)
	f.requireCommitted(t)

	// In a savepoint it is the savepoint's, and goes with it.
	require.NoError(t, f.transact(t.Context(), func(ctx context.Context) error {
		require.NoError(t, f.issue(ctx, "B"))
		require.ErrorIs(t, f.transact(ctx, func(ctx context.Context) error {
			return errors.Join(f.issue(ctx, "C"), errChangedMind)
		}), errChangedMind)
		return nil
	}))
	stored, err := f.stored(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"B", "copy of B"}, stored)
}

func testHandlerWritesBeforeCommit(t *testing.T, f *fixture) {
	tidings.Subscribe(f.bus, func(ctx context.Context, e InvoiceIssued) error {
		return f.insert(ctx, "copy of "+e.Number)
	}, tidings.BeforeCommit)
	require.NoError(t, f.transact(t.Context(), func(ctx context.Context) error {
		require.NoError(t, f.transact(ctx, func(ctx context.Context) error { return f.issue(ctx, "A") }))
		return f.issue(ctx, "B")
	}))
	stored, err := f.stored(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"A", "B", "copy of A", "copy of B"}, stored)
}

func testBeforeCommitFails(t *testing.T, f *fixture) {
	tidings.Subscribe(f.bus, func(ctx context.Context, e InvoiceIssued) error {
		return errors.Join(f.insert(ctx, "copy of "+e.Number), errChangedMind)
	}, tidings.BeforeCommit)
	require.ErrorIs(t, f.transact(t.Context(), func(ctx context.Context) error { return f.issue(ctx, "A") }), errChangedMind)
	f.requireCommitted(t)
	f.requireDropped(t, "A")
}

// testCommitFails: the constraint of payments is checked by COMMIT.
func testCommitFails(t *testing.T, f *fixture) {
	require.Error(t, f.transact(t.Context(), func(ctx context.Context) error {
		require.NoError(t, f.issue(ctx, "A"))
		require.NoError(t, f.exec(ctx, "INSERT INTO payments (invoice_id) VALUES (4711)"))
		return nil
	}))
	f.requireCommitted(t)
	f.requireDropped(t, "A")

	require.NoError(t, f.transact(t.Context(), func(ctx context.Context) error { return f.issue(ctx, "B") }))
	f.requireCommitted(t, "B")
}

func testCancelled(t *testing.T, f *fixture) {
	ctx, cancel := context.WithCancel(t.Context())
	require.ErrorIs(t, f.transact(ctx, func(ctx context.Context) error {
		require.NoError(t, f.issue(ctx, "A"))
		cancel()
		return f.issue(ctx, "B")
	}), context.Canceled)
	f.requireCommitted(t)
	f.requireDropped(t, "A")

	require.NoError(t, f.transact(t.Context(), func(ctx context.Context) error { return f.issue(ctx, "C") }))
	f.requireCommitted(t, "C")
}

// testInnerCancelled: a savepoint with a deadline of its own has to be rolled
// back in spite of it, or its rows would be committed without their events.
func testInnerCancelled(t *testing.T, f *fixture) {
	require.NoError(t, f.transact(t.Context(), func(ctx context.Context) error {
		require.NoError(t, f.issue(ctx, "A"))
		inner, cancel := context.WithCancel(ctx)
		require.ErrorIs(t, f.transact(inner, func(ctx context.Context) error {
			require.NoError(t, f.issue(ctx, "B"))
			cancel()
			return ctx.Err()
		}), context.Canceled)
		return f.issue(ctx, "C")
	}))
	f.requireCommitted(t, "A", "C")
	f.requireDropped(t, "B")
}

// testClientHangsUp: the context of the request ends between the commit and
// the delivery, here in the first of two handlers.
func testClientHangsUp(t *testing.T, f *fixture) {
	type requestID struct{}
	ctx, hangUp := context.WithCancel(context.WithValue(t.Context(), requestID{}, "r-1"))
	tidings.Subscribe(f.bus, func(context.Context, InvoiceIssued) error {
		hangUp()
		return nil
	})
	var err error
	var request any
	tidings.Subscribe(f.bus, func(ctx context.Context, e InvoiceIssued) error {
		if e.Number != "A" {
			return nil
		}
		err, request = ctx.Err(), ctx.Value(requestID{})
		return f.transact(ctx, func(ctx context.Context) error { return f.issue(ctx, "B") })
	})
	require.NoError(t, f.transact(ctx, func(ctx context.Context) error { return f.issue(ctx, "A") }))
	require.ErrorIs(t, ctx.Err(), context.Canceled)
	require.NoError(t, err)
	require.Equal(t, "r-1", request)
	require.Empty(t, f.failed)
	f.requireCommitted(t, "A", "B")
}

func testRetry(t *testing.T, f *fixture) {
	if f.retrying == nil {
		t.Skip("InTx does not retry")
	}
	attempts := 0
	require.NoError(t, f.retrying(t.Context(), func(err error) bool { return errors.Is(err, errChangedMind) }, func(ctx context.Context) error {
		attempts++
		if err := f.issue(ctx, fmt.Sprintf("attempt %d", attempts)); err != nil {
			return err
		}
		return f.retrying(ctx, func(error) bool { return true }, func(context.Context) error {
			if attempts < 3 {
				return errChangedMind
			}
			return nil
		})
	}))
	require.Equal(t, 3, attempts, "the nested transaction does not retry by itself")
	f.requireCommitted(t, "attempt 3")
	f.requireDropped(t, "attempt 1", "attempt 2")
}

func testRetryGivesUp(t *testing.T, f *fixture) {
	if f.retrying == nil {
		t.Skip("InTx does not retry")
	}
	attempts := 0
	fail := func(ctx context.Context) error {
		attempts++
		return errors.Join(f.issue(ctx, "A"), errChangedMind)
	}
	require.ErrorIs(t, f.retrying(t.Context(), func(error) bool { return true }, fail), errChangedMind)
	require.Equal(t, 3, attempts)
	require.ErrorIs(t, f.retrying(t.Context(), func(error) bool { return false }, fail), errChangedMind)
	require.Equal(t, 4, attempts)
	f.requireCommitted(t)
	f.requireDropped(t, "A", "A", "A", "A")
}
