package fakedb

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// A Log records what happened in a database. It is safe for concurrent use.
type Log struct {
	mu         sync.Mutex
	statements []string
	committed  []string
	hooks      []hook
	names      map[string]string // of savepoints, as logged
}

type hook struct {
	prefix string
	fn     func() error
}

// Statements returns what reached the database, in order, also what it was
// told to fail: BEGIN (SERIALIZABLE, READ ONLY), COMMIT, ROLLBACK, and the
// others as they were written, followed by their arguments:
//
//	INSERT INTO orders VALUES (?, ?) 7 new
//
// The savepoints of tidings, numbered across the process, are renamed to
// tidings_1, tidings_2 and so on, in order of their appearance here.
func (l *Log) Statements() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.statements)
}

// Committed returns the statements that took effect: statements outside transactions, and
// statements of committed transactions, except those that were undone by a rollback to a
// savepoint. It omits queries, BEGIN, SAVEPOINT and so on.
func (l *Log) Committed() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.committed)
}

// Reset forgets all statements. What Fail and On have set stays.
func (l *Log) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.statements, l.committed = nil, nil
}

// Fail makes every statement that begins with prefix fail with err, until
// Fail or On is called for the same prefix again; nil lets them pass.
func (l *Log) Fail(prefix string, err error) {
	l.On(prefix, func() error { return err })
}

// On calls fn whenever a statement that begins with prefix reaches the
// database, before it takes effect; the statement fails with what fn
// returns. fn runs in the goroutine of the statement. For each prefix the
// latest fn counts, and of several that fit, the first that was set.
func (l *Log) On(prefix string, fn func() error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, h := range l.hooks {
		if h.prefix == prefix {
			l.hooks[i].fn = fn
			return
		}
	}
	l.hooks = append(l.hooks, hook{prefix, fn})
}

// reached logs a statement and returns why it fails.
func (l *Log) reached(ctx context.Context, statement string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var fn func() error
	l.mu.Lock()
	l.statements = append(l.statements, statement)
	for _, h := range l.hooks {
		if strings.HasPrefix(statement, h.prefix) {
			fn = h.fn
			break
		}
	}
	l.mu.Unlock()
	if fn != nil {
		return fn()
	}
	return nil
}

func (l *Log) commit(statements []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.committed = append(l.committed, statements...)
}

// rename replaces the name of a savepoint of tidings.
func (l *Log) rename(statement string) string {
	verb, name, ok := cutSavepoint(statement)
	if !ok || !strings.HasPrefix(name, "tidings_") {
		return statement
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.names[name] == "" {
		l.names[name] = fmt.Sprintf("tidings_%d", len(l.names)+1)
	}
	return verb + l.names[name]
}
