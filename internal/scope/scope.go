// Package scope implements the tree of a transaction and its savepoints, and the
// queue of the values that are published in them. It does not know about events or
// buses.
package scope

// A Scope is a transaction, if it is the outermost scope, or a savepoint inside a
// transaction. Its methods are safe to call concurrently, unless they say otherwise.
type Scope[V any] struct {
	queue  *Queue[V]
	parent *Scope[V] // nil for the outermost scope
	state  state     // guarded by queue.mu; does not change once the outermost scope has ended
}

type state int

const (
	open state = iota
	committed
	rolledBack
)

// Init makes s the outermost scope of q. Both must be new.
func (s *Scope[V]) Init(q *Queue[V]) { s.queue, q.innermost = q, s }

// Nest makes s, which must be new, a scope inside parent: inside the innermost scope,
// if parent is in progress.
func (s *Scope[V]) Nest(parent *Scope[V]) {
	q := parent.queue
	s.queue, s.parent = q, parent
	q.mu.Lock()
	defer q.mu.Unlock()
	if parent.inProgressLocked() {
		s.parent, q.innermost = q.innermost, s
	}
}

// Outermost reports whether s is a transaction, and not a savepoint inside one.
func (s *Scope[V]) Outermost() bool { return s.parent == nil }

// Within reports whether s is outer, or is inside outer.
func (s *Scope[V]) Within(outer *Scope[V]) bool {
	for ; s != nil; s = s.parent {
		if s == outer {
			return true
		}
	}
	return false
}

// Queue returns the queue of the transaction.
func (s *Scope[V]) Queue() *Queue[V] { return s.queue }

// Open reports whether s accepts entries.
func (s *Scope[V]) Open() bool {
	s.queue.mu.Lock()
	defer s.queue.mu.Unlock()
	return s.openLocked()
}

func (s *Scope[V]) openLocked() bool { return !s.queue.sealed && s.inProgressLocked() }

// inProgressLocked reports whether neither s nor a scope around it has ended.
func (s *Scope[V]) inProgressLocked() bool {
	for ; s != nil; s = s.parent {
		if s.state != open {
			return false
		}
	}
	return true
}

// Ended reports whether s itself has committed or rolled back.
func (s *Scope[V]) Ended() bool {
	s.queue.mu.Lock()
	defer s.queue.mu.Unlock()
	return s.state != open
}

// Commit ends s, and reports whether it was in progress.
func (s *Scope[V]) Commit() bool { return s.end(committed) }

// Rollback ends s, and reports whether it was in progress.
func (s *Scope[V]) Rollback() bool { return s.end(rolledBack) }

func (s *Scope[V]) end(as state) bool {
	s.queue.mu.Lock()
	defer s.queue.mu.Unlock()
	if !s.inProgressLocked() {
		return false
	}
	s.state = as
	s.queue.innermost = s.parent // it was s, or inside s
	return true
}

// Dropped reports whether s or a scope around it has rolled back. Call it after the
// outermost scope has ended, or with the queue's lock held.
func (s *Scope[V]) Dropped() bool {
	for ; s != nil; s = s.parent {
		if s.state == rolledBack {
			return true
		}
	}
	return false
}
