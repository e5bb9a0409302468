package scope

import (
	"slices"
	"sync"
)

// A Queue holds all values of one transaction in the order in which they were added.
// Values of a savepoint that rolled back stay in the list; their scope tells that
// they are rolled back. The zero Queue is empty.
type Queue[V any] struct {
	// Implicit says that there is no database transaction. Set it before use.
	Implicit bool

	mu          sync.Mutex // guards the fields below, and the state of the scopes
	innermost   *Scope[V]  // all scopes in progress are on the path from it to the outermost
	first, last *Entry[V]
	prepared    *Entry[V] // the last entry that Unprepared has returned
	sealed      bool      // no more entries are accepted
	failed      error     // why the transaction cannot commit
	ends        []end
	attached    any
}

// An Entry is a value in the list of a queue.
type Entry[V any] struct {
	Value V
	next  *Entry[V]
	scope *Scope[V]
}

// Next returns the next entry, or nil. Call it only after the outermost scope has
// ended.
func (e *Entry[V]) Next() *Entry[V] { return e.next }

// Dropped reports whether the entry counts as rolled back, see [Scope.Dropped].
func (e *Entry[V]) Dropped() bool { return e.scope.Dropped() }

// Add adds e, which must be new, to the innermost scope, if s is open: everything that
// happens in a transaction belongs to the savepoint that was set last. It reports whether
// s is open; otherwise it does nothing.
func (s *Scope[V]) Add(e *Entry[V]) bool {
	q := s.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if !s.openLocked() {
		return false
	}
	e.scope = q.innermost
	if q.last == nil {
		q.first = e
	} else {
		q.last.next = e
	}
	q.last = e
	return true
}

// Unprepared returns the next entry that it has not returned yet and that is not
// rolled back, or nil if there is none.
func (q *Queue[V]) Unprepared() *Entry[V] {
	q.mu.Lock()
	defer q.mu.Unlock()
	e := q.nextLocked()
	if e != nil {
		q.prepared = e
	}
	return e
}

func (q *Queue[V]) nextLocked() *Entry[V] {
	e := q.first
	if q.prepared != nil {
		e = q.prepared.next
	}
	for e != nil && e.Dropped() {
		e = e.next
	}
	return e
}

// Seal makes the queue refuse further entries, unless Unprepared has more to return.
// It reports whether the queue is sealed.
func (q *Queue[V]) Seal() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sealed = q.nextLocked() == nil
	return q.sealed
}

// Fail records why the transaction cannot commit. With nil, it can commit.
func (q *Queue[V]) Fail(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.failed = err
}

// Prepared reports whether nothing is left to do before the commit: either q is
// sealed, or it has failed with err.
func (q *Queue[V]) Prepared() (done bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.sealed || q.failed != nil, q.failed
}

// Reopen undoes Seal and Fail, for another attempt.
func (q *Queue[V]) Reopen() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sealed, q.failed = false, nil
}

// An end is a function that Notify has recorded for End, and its key.
type end struct {
	key  any
	call func()
}

// Notify calls begin if s is open, and records the function that begin returns: End
// calls it. Notify does so only once for each key. It calls begin with q's lock held.
func (s *Scope[V]) Notify(key any, begin func() (end func())) {
	q := s.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if s.openLocked() && !slices.ContainsFunc(q.ends, func(e end) bool { return e.key == key }) {
		q.ends = append(q.ends, end{key, begin()})
	}
}

// Attached returns the value that is attached to q, which is the result of attach in the
// first call. It calls attach with q's lock held. End removes the value.
func (q *Queue[V]) Attached(attach func() any) any {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.attached == nil {
		q.attached = attach()
	}
	return q.attached
}

// End calls the functions that Notify recorded, and returns the first entry of the
// list. It clears q, so that a context that outlives the transaction does not keep
// the events in memory. Call it once, after the outermost scope has ended.
func (q *Queue[V]) End() (first *Entry[V]) {
	for _, e := range q.ends {
		e.call()
	}
	first = q.first
	q.first, q.last, q.prepared, q.ends, q.attached = nil, nil, nil, nil, nil
	return first
}
