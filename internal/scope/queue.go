package scope

import (
	"slices"
	"sync"
)

// A Queue holds all values of one transaction in the order in which they were
// added. What a savepoint drops stays in the list: whether a value is rolled back
// is read from its scope. The zero Queue is empty.
type Queue[V any] struct {
	// Implicit says that there is no transaction of a database. It is set before use.
	Implicit bool

	mu          sync.Mutex // guards what follows, and the state of the scopes
	first, last *Entry[V]
	prepared    *Entry[V] // the last one that Unprepared has returned
	sealed      bool      // nothing is accepted any more
	failed      error     // why the transaction cannot commit
	ends        []end
}

// An Entry is a value in a queue, in the list of all of them.
type Entry[V any] struct {
	Value V
	next  *Entry[V]
	scope *Scope[V]
}

// Next returns the next entry, or nil. Call it once the outermost scope has ended.
func (e *Entry[V]) Next() *Entry[V] { return e.next }

// Dropped reports whether the entry counts as rolled back, see [Scope.Dropped].
func (e *Entry[V]) Dropped() bool { return e.scope.Dropped() }

// Add appends e, which is new, in scope s, and reports whether that is open.
func (s *Scope[V]) Add(e *Entry[V]) bool {
	q := s.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if !s.openLocked() {
		return false
	}
	e.scope = s
	if q.last == nil {
		q.first = e
	} else {
		q.last.next = e
	}
	q.last = e
	return true
}

// Unprepared returns the next entry that it has not returned, and that is not rolled
// back; nil if there is none.
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

// Seal refuses further entries, unless Unprepared has more to return. It reports
// whether it did.
func (q *Queue[V]) Seal() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sealed = q.nextLocked() == nil
	return q.sealed
}

// Fail notes why the transaction cannot commit; nil: it can.
func (q *Queue[V]) Fail(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.failed = err
}

// Prepared reports whether there is nothing left to do before the commit: q is
// sealed, or has failed with err.
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

// An end is what Notify was called with.
type end struct {
	key  any
	call func()
}

// Notify calls begin if s is open, and what that returns when End is called: once
// for each key. begin runs with q's lock held.
func (s *Scope[V]) Notify(key any, begin func() (end func())) {
	q := s.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if s.openLocked() && !slices.ContainsFunc(q.ends, func(e end) bool { return e.key == key }) {
		q.ends = append(q.ends, end{key, begin()})
	}
}

// End calls what was noted by Notify, and returns the first entry of the list, which q
// forgets: a context that is kept does not keep the events. Call it once, when the
// outermost scope has ended.
func (q *Queue[V]) End() (first *Entry[V]) {
	for _, e := range q.ends {
		e.call()
	}
	first = q.first
	q.first, q.last, q.prepared, q.ends = nil, nil, nil, nil
	return first
}
