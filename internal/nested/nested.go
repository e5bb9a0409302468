// Package nested follows the savepoints that a database library, or its user, sets in a
// transaction of tidings, so that events of a part that rolls back are dropped.
package nested

import (
	"context"
	"strings"
	"sync"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/txend"
)

// Savepoints are those of one transaction that were set without tidings.
type Savepoints struct {
	ctx context.Context // in the transaction
	db  any
	*stack
}

// A stack is what all code in the transaction shares.
type stack struct {
	mu   sync.Mutex
	open []point // outermost first
}

// A point is a savepoint, and the scope of what happens after it.
type point struct {
	name string
	hook *tidings.TxHook
}

// Of returns the savepoints of the transaction of db that ctx is in, whoever has begun it,
// or nil if there is none. What one result was told, all others know: a savepoint may be
// set with one of them and rolled back with another. The result is of use as long as the
// scope of ctx is.
func Of(ctx context.Context, db any) *Savepoints {
	shared, ok := txend.Attach(ctx, db, func() any { return &stack{} }).(*stack)
	if !ok {
		return nil
	}
	return &Savepoints{ctx, db, shared}
}

// IsSavepoint reports whether a statement sets, releases or rolls back to a savepoint, and
// whether it rolls back.
func IsSavepoint(statement string) (is, rollback bool) {
	does, _ := parse(statement)
	return does != nothing, does == rollbackTo
}

// Begin opens the scope of a savepoint that was set, for a library that tells how it ends.
func (s *Savepoints) Begin() *tidings.TxHook {
	_, hook := tidings.NewTxHook(s.ctx, s.db)
	return hook
}

// Ran looks at a statement that has succeeded in the transaction: whether it has set,
// released or rolled back to a savepoint. Most libraries set theirs with statements.
func (s *Savepoints) Ran(statement string) {
	does, name := parse(statement)
	if does == nothing {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if does != set && !s.endLocked(name, does) {
		return
	}
	if does != release { // a savepoint stays set after a rollback to it
		s.open = append(s.open, point{name, s.Begin()})
	}
}

// endLocked ends the savepoint and those inside it. It reports whether there is one of
// that name.
func (s *Savepoints) endLocked(name string, how action) bool {
	// Those at the end may have ended with a savepoint of tidings around them.
	for n := len(s.open); n > 0 && s.open[n-1].hook.Prepare(s.ctx) != nil; n-- {
		s.open = s.open[:n-1]
	}
	for i := len(s.open) - 1; i >= 0; i-- {
		if s.open[i].name != name {
			continue
		}
		// Ending the outer scope ends those inside it.
		if how == release {
			_ = s.open[i].hook.Commit(s.ctx) // it has not ended
		} else {
			s.open[i].hook.Rollback(s.ctx)
		}
		s.open = s.open[:i]
		return true
	}
	return false
}

type action int

const (
	nothing action = iota
	set
	release
	rollbackTo
)

// parse returns what a statement does with the savepoint of that name. The syntax is that
// of the SQL standard, or of SQL Server. Comments in front of it are not understood.
func parse(statement string) (does action, name string) {
	statement = strings.TrimLeft(statement, " \t\r\n")
	if len(statement) < 4 || !strings.EqualFold(statement[:4], "SAVE") && !strings.EqualFold(statement[:4], "RELE") && !strings.EqualFold(statement[:4], "ROLL") {
		return nothing, "" // as nearly all statements
	}
	words := strings.Fields(strings.TrimRight(statement, "; \t\r\n"))
	next := func(any ...string) bool {
		for _, word := range any {
			if len(words) > 1 && strings.EqualFold(words[0], word) {
				words = words[1:]
				return true
			}
		}
		return false
	}
	switch {
	case next("SAVEPOINT"):
		does = set
	case next("SAVE"):
		if !next("TRANSACTION", "TRAN") {
			return nothing, ""
		}
		does = set
	case next("RELEASE"):
		next("SAVEPOINT")
		does = release
	case next("ROLLBACK"):
		transaction := next("TRANSACTION", "TRAN", "WORK")
		if next("TO") {
			next("SAVEPOINT")
		} else if !transaction {
			return nothing, ""
		}
		does = rollbackTo
	default:
		return nothing, ""
	}
	return does, fold(words[0])
}

// fold returns one spelling of names that are equal: without quotes, in lower case.
func fold(name string) string { return strings.ToLower(strings.Trim(name, "\"`[]")) }
