package txtest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/tidingstest"
)

var errOnPurpose = errors.New("failing on purpose")

// inserted is the event of all subtests. Its number is that of a row.
type inserted struct {
	tidings.DomainEvent
	N int
}

// A rig is a bus and the subject under test, for one subtest.
type rig struct {
	*testing.T
	features Features
	open     func(*testing.T) Subject
	subject  Subject
	bus      *tidings.EventBus
	ctx      context.Context // ends when the time of the subtest is over

	mu         sync.Mutex
	delivered  []int   // by AfterCommit handlers
	rolledBack []int   // by AfterRollback handlers
	problems   []error // what fails the subtest at its end, from any goroutine
}

func newRig(t *testing.T, features Features, open func(*testing.T) Subject) *rig {
	r := &rig{T: t, features: features, open: open}
	// The pools are closed before the timer is stopped, since closing may hang.
	timer := time.AfterFunc(2*features.Patience, func() {
		debug.SetTraceback("all")
		panic(fmt.Sprintf("txtest: %s hangs: a transaction was not ended, or has not given back its connection", t.Name()))
	})
	t.Cleanup(func() { timer.Stop() })
	ctx, cancel := context.WithTimeout(t.Context(), features.Patience)
	t.Cleanup(cancel)
	r.ctx = ctx
	t.Cleanup(r.end)
	r.bus = tidingstest.NewBus(t)
	note := func(to *[]int) func(context.Context, inserted) error {
		return func(_ context.Context, e inserted) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			*to = append(*to, e.N)
			return nil
		}
	}
	tidings.Subscribe(r.bus, note(&r.delivered))
	tidings.Subscribe(r.bus, note(&r.rolledBack), tidings.AfterRollback)
	r.subject = r.opened()
	return r
}

// opened opens a subject.
func (r *rig) opened() Subject {
	r.Helper()
	s := r.open(r.T)
	for _, required := range []struct {
		name    string
		missing bool
	}{
		{"Transactor.DB", s.Transactor.DB == nil},
		{"Transactor.Run", s.Transactor.Run == nil},
		{"Insert", s.Insert == nil},
		{"Fail", s.Fail == nil},
		{"Stored", s.Stored == nil},
	} {
		if required.missing {
			r.Fatalf("txtest: Test: Subject.%s is nil", required.name)
		}
	}
	return s
}

// optional skips the subtest if the part of the subject that it needs is missing.
func (r *rig) optional(present bool, part string) {
	r.Helper()
	if !present {
		r.Skipf("Subject.%s is nil", part)
	}
}

// problem fails the subtest at its end, and may be called in any goroutine.
func (r *rig) problem(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.problems = append(r.problems, fmt.Errorf(format, args...))
}

func (r *rig) end() {
	for _, err := range r.problems {
		r.Error(err)
	}
}

// run runs the subtest.
func (r *rig) run(check func(*rig)) {
	defer func() { // also after FailNow
		if deadline, _ := r.ctx.Deadline(); !time.Now().Before(deadline) {
			r.Errorf("the subtest took longer than %v: a transaction was not ended, or has not given back the only connection in time", r.features.Patience)
		}
	}()
	check(r)
}

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// limited returns a handler's context with the time limit of the subtest.
func (r *rig) limited(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, _ := r.ctx.Deadline()
	return context.WithDeadline(ctx, deadline)
}

// transact runs fn in a transaction.
func (r *rig) transact(ctx context.Context, fn func(context.Context) error) error {
	return tidings.Transact(ctx, r.watched(r.subject.Transactor), fn)
}

// watched returns t with a TxFunc whose result is checked, since Transact makes up for
// some errors that a TxFunc drops.
func (r *rig) watched(t tidings.Transactor) tidings.Transactor {
	return tidings.Transactor{DB: t.DB, Run: func(ctx context.Context, body func(context.Context) error) error {
		var failure error // of the latest attempt
		returned := true
		err := t.Run(ctx, func(ctx context.Context) error {
			returned = false
			failure = body(ctx)
			returned = true
			return failure
		})
		switch {
		case err == nil && !returned:
			r.problem("the TxFunc returned nil although its body did not return")
		case err == nil && failure != nil:
			r.problem("the TxFunc returned nil although its body returned an error: %w", failure)
		case err != nil && failure != nil && !wraps(err, failure):
			r.problem("the TxFunc returned an error that does not wrap the one of its body (%v): %w", failure, err)
		}
		return err
	}}
}

// retrying returns the transactor with a TxFunc that tries up to attempts times.
func (r *rig) retrying(attempts int) tidings.Transactor {
	t := r.watched(r.subject.Transactor)
	return tidings.Transactor{DB: t.DB, Run: func(ctx context.Context, body func(context.Context) error) (err error) {
		for range attempts {
			if err = t.Run(ctx, body); err == nil {
				break
			}
		}
		return err
	}}
}

func (r *rig) publish(ctx context.Context, n int) error {
	if err := tidings.Publish(ctx, r.bus, inserted{N: n}); err != nil {
		return fmt.Errorf("publish %d: %w", n, err)
	}
	return nil
}

// insert inserts rows and publishes their events.
func (r *rig) insert(ctx context.Context, numbers ...int) error {
	return r.insertInto(ctx, r.subject, numbers...)
}

func (r *rig) insertInto(ctx context.Context, s Subject, numbers ...int) error {
	for _, n := range numbers {
		if err := s.Insert(ctx, n); err != nil {
			return fmt.Errorf("insert %d: %w", n, err)
		}
		if err := r.publish(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// insertAndFail is insert, followed by errOnPurpose.
func (r *rig) insertAndFail(ctx context.Context, numbers ...int) error {
	if err := r.insert(ctx, numbers...); err != nil {
		return err
	}
	return errOnPurpose
}

// fails fails the subtest unless err wraps want.
func (r *rig) fails(err, want error) {
	r.Helper()
	if !wraps(err, want) {
		r.Errorf("the transaction returned the error %v, want %v", err, want)
	}
}

// inside is fails for the inner transaction, where the subtest cannot go on. It returns
// the error for the outer one.
func inside(err, want error) error {
	if !wraps(err, want) {
		return fmt.Errorf("the inner transaction returned the error %w, want %v", orNil(err), want)
	}
	return nil
}

// wraps is errors.Is, also for errors that cannot be compared, as those of pgdriver.
func wraps(err, want error) bool {
	return errors.Is(err, want) || err != nil && want != nil && !reflect.TypeOf(want).Comparable() && strings.Contains(err.Error(), want.Error())
}

// orNil makes nil an error with that text.
func orNil(err error) error {
	if err == nil {
		return errors.New("<nil>")
	}
	return err
}

// noneYet returns an error if handlers that wait for the end of the transaction ran.
func (r *rig) noneYet() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.delivered)+len(r.rolledBack) > 0 {
		return fmt.Errorf("before the end of the transaction the events %v were delivered to AfterCommit handlers, and %v to AfterRollback handlers", r.delivered, r.rolledBack)
	}
	return nil
}

// committed fails the subtest unless these rows are stored, and their events were
// delivered, and no others.
func (r *rig) committed(numbers ...int) {
	r.Helper()
	r.stored(r.subject, numbers...)
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Equal(r.delivered, numbers) {
		r.Errorf("the events %v were delivered after the commit, want %v", r.delivered, numbers)
	}
}

func (r *rig) stored(s Subject, numbers ...int) {
	r.Helper()
	// Not with r.ctx: what is stored is of interest also if a connection was waited
	// for in vain.
	ctx, cancel := context.WithTimeout(r.Context(), r.features.Patience/2)
	defer cancel()
	stored, err := s.Stored(ctx)
	if err != nil {
		r.Fatalf("Subject.Stored: %v", err)
	}
	if !slices.Equal(stored, numbers) {
		r.Errorf("the rows %v are stored, want %v", stored, numbers)
	}
}

// dropped fails the subtest unless AfterRollback handlers got these events.
func (r *rig) dropped(numbers ...int) {
	r.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Equal(r.rolledBack, numbers) {
		r.Errorf("the events %v were delivered after a rollback, want %v", r.rolledBack, numbers)
	}
}

// goesOn fails the subtest unless a new transaction can commit, with a row after
// those that are stored: the connection is back in the pool, without a transaction.
func (r *rig) goesOn(before ...int) {
	r.Helper()
	const next = 1000
	if err := r.transact(r.ctx, func(ctx context.Context) error { return r.insert(ctx, next) }); err != nil {
		r.Errorf("the next transaction returned the error %v", err)
	}
	r.committed(append(before, next)...)
}

// panics calls fn and returns the value with which it panicked, or nil.
func panics(fn func()) (value any) {
	defer func() { value = recover() }()
	fn()
	return nil
}

// inGoroutine calls fn in a goroutine of its own, which it may end, and waits for it.
func inGoroutine(fn func()) {
	var wg sync.WaitGroup
	wg.Go(fn)
	wg.Wait()
}
