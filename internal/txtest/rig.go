// Package txtest contains the tests of transactions, and helpers that other tests use
// too: a bus that records in which order things happen, with and without a database.
package txtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/tidings-go/tidings"
)

// Event is the event that the tests of transactions publish.
type Event struct {
	tidings.DomainEvent
	N int
}

// Other is a second type of event.
type Other struct {
	tidings.DomainEvent
	N int
}

// A Rig is a bus whose handlers and error handler write words into one log, in the
// order in which things happen. The word "!" stands for a failure that reaches the
// error handler.
type Rig struct {
	Bus *tidings.EventBus

	mu       sync.Mutex
	words    []string
	failures []error
}

// NewRig returns a rig without handlers.
func NewRig(opts ...tidings.Option) *Rig {
	r := &Rig{}
	r.Bus = tidings.New(append(opts, tidings.WithErrorHandler(r.failed))...)
	return r
}

func (r *Rig) failed(_ context.Context, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.words = append(r.words, "!")
	r.failures = append(r.failures, err)
}

// Note writes a word.
func (r *Rig) Note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.words = append(r.words, fmt.Sprintf(format, args...))
}

// Log returns the words so far, and clears the log.
func (r *Rig) Log() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	words := strings.Join(r.words, " ")
	r.words = nil
	return words
}

// Reported returns the errors that the error handler got so far, and clears them.
func (r *Rig) Reported() []error {
	r.mu.Lock()
	defer r.mu.Unlock()
	failures := r.failures
	r.failures = nil
	return failures
}

// Publish publishes the event of that number.
func (r *Rig) Publish(ctx context.Context, n int) error {
	return tidings.Publish(ctx, r.Bus, Event{N: n})
}

// MustPublish publishes several events, none of which may fail.
func (r *Rig) MustPublish(ctx context.Context, t testing.TB, numbers ...int) {
	t.Helper()
	for _, n := range numbers {
		if err := r.Publish(ctx, n); err != nil {
			t.Fatal(err)
		}
	}
}

// On subscribes a handler that notes word and the number of the event, and returns
// the error that then returns.
func (r *Rig) On(phase tidings.Phase, word string, then func(context.Context, Event) error, opts ...tidings.SubscribeOption) *tidings.Subscription {
	return tidings.Subscribe(r.Bus, func(ctx context.Context, e Event) error {
		r.Note("%s%d", word, e.N)
		if then == nil {
			return nil
		}
		return then(ctx, e)
	}, append(opts, phase)...)
}

// Phases subscribes the handlers I, B, C and R, one for each phase.
func (r *Rig) Phases() *Rig {
	r.On(tidings.AfterRollback, "R", nil)
	r.On(tidings.AfterCommit, "C", nil)
	r.On(tidings.BeforeCommit, "B", nil)
	r.On(tidings.InTransaction, "I", nil)
	return r
}

// Run is a TxFunc like those of most libraries: inside a transaction it sets a
// savepoint.
func (r *Rig) Run(ctx context.Context, body func(context.Context) error) error {
	begin, commit, rollback := "begin", "commit", "rollback"
	if _, ok := tidings.TxFrom[Handle](ctx, Database); ok {
		begin, commit, rollback = "save", "release", "back"
	}
	r.Note("%s", begin)
	done := false
	defer func() {
		if !done {
			r.Note("%s", rollback)
		}
	}()
	if err := body(tidings.WithTx(ctx, Database, Handle{Name: "of " + begin})); err != nil {
		return err
	}
	done = true
	r.Note("%s", commit)
	return nil
}

// Transact runs fn in a transaction of Run.
func (r *Rig) Transact(ctx context.Context, fn func(context.Context) error) error {
	return tidings.Transact(ctx, On(r.Run), fn)
}

// A Handle stands for a library's transaction.
type Handle struct{ Name string }

// Database stands for the database of transactions that only note what they do.
var Database any = "the database of txtest"

// On returns the Transactor that runs transactions of Database with run.
func On(run tidings.TxFunc) tidings.Transactor { return tidings.Transactor{DB: Database, Run: run} }

// Bare is the Transactor with the shortest TxFunc.
var Bare = On(func(ctx context.Context, body func(context.Context) error) error { return body(ctx) })

// ErrTx is the error that most tests return.
var ErrTx = errors.New("out of stock")

// Fail is a handler that returns ErrTx.
func Fail(context.Context, Event) error { return ErrTx }

// InGoroutine calls fn in a goroutine of its own, which it may end, and
// waits for that.
func InGoroutine(fn func()) {
	var wg sync.WaitGroup
	wg.Go(fn)
	wg.Wait()
}
