package transactions_test

import (
	"context"
	"errors"
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

// A library is a way to run transactions on a separate database, with the
// tables invoices and payments. Its pool has one connection, so that a
// handler that runs before the connection is given back hangs.
type library struct {
	// transactor has the TxFunc of the library. It is zero if there is none.
	transactor tidings.Transactor
	// transact is Transact with the TxFunc of the library.
	transact func(ctx context.Context, fn func(context.Context) error) error
	// retrying is transact with up to three attempts, again being whether
	// an error calls for another. It is nil if the library has no TxFunc.
	retrying func(ctx context.Context, again func(error) bool, fn func(context.Context) error) error
	// insert adds an invoice, exec runs a statement: both in the
	// transaction that TxFrom finds, and it is an error if there is none.
	insert func(ctx context.Context, number string) error
	exec   func(ctx context.Context, query string) error
	// kept returns the context that the library keeps in the transaction that
	// ctx is in. It is nil if it keeps none.
	kept func(ctx context.Context) context.Context
	// sandbox returns the database as the library knows it, and a
	// transaction that is rolled back at the end of the test.
	sandbox func(t *testing.T) (db, tx any)
	// stored returns the numbers that are committed, in the order of
	// insertion, through a connection of another pool.
	stored func(ctx context.Context) ([]string, error)
}

// withTransactor fills in what follows from a Transactor.
func withTransactor(lib library, t tidings.Transactor) library {
	lib.transactor = t
	lib.transact = func(ctx context.Context, fn func(context.Context) error) error {
		return tidings.Transact(ctx, t, fn)
	}
	lib.retrying = func(ctx context.Context, again func(error) bool, fn func(context.Context) error) error {
		return tidings.Transact(ctx, transactions.Retrying(t, 3, again), fn)
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

// exercise tests the guarantees of package tidings with a library. Each case has
// its own database.
func exercise(t *testing.T, open func(*testing.T) library) {
	t.Parallel()
	for _, c := range []struct {
		name string
		test func(t *testing.T, f *fixture)
	}{
		{"commit", testCommit},
		{"error", testError},
		{"handler fails in the transaction", testInTransactionHandlerFails},
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
		{"retry after COMMIT", testRetryCommit},
		{"concurrent", testConcurrent},
		{"in the transaction of a test", testSandbox},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t, newFixture(t, open))
		})
	}
}
