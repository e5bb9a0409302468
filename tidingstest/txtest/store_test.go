package txtest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/tidingstest/txtest"
)

var (
	errRefused = errors.New("statement refused")
	errNoTx    = errors.New("not in a transaction")
	errDone    = errors.New("the transaction has ended")
)

// A store is a database of numbers in memory, with a pool of one connection. After a
// failed statement a transaction accepts only a rollback, as on Postgres.
type store struct {
	sin  string
	conn chan struct{} // filled while the connection is in use

	mu   sync.Mutex
	rows []int
	last *memTx // for a sin
}

// A memTx is a transaction of a store.
type memTx struct {
	store *store
	kept  context.Context // as a library keeps it

	mu         sync.Mutex
	rows       []int
	aborted    bool
	failCommit bool
	done       bool
}

func newStore(sin string) *store { return &store{sin: sin, conn: make(chan struct{}, 1)} }

func (s *store) begin(ctx context.Context) (*memTx, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case s.conn <- struct{}{}:
		return &memTx{store: s, kept: ctx}, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for a connection: %w", ctx.Err())
	}
}

// close waits for the connection.
func (s *store) close() { s.conn <- struct{}{} }

// end ends the transaction, which gives its connection back.
func (tx *memTx) end(commit bool) error {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.done {
		return errDone
	}
	tx.done = true
	if tx.store.sin != "keeps the connection" {
		defer func() { <-tx.store.conn }()
	}
	switch {
	case !commit:
		return nil
	case tx.aborted || tx.failCommit:
		return errors.New("COMMIT refused")
	}
	tx.store.mu.Lock()
	defer tx.store.mu.Unlock()
	tx.store.rows = append(tx.store.rows, tx.rows...)
	return nil
}

func (tx *memTx) exec(ctx context.Context, statement func() error) error {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case tx.done:
		return errDone
	case tx.aborted:
		return errors.New("the transaction is aborted")
	}
	err := statement()
	tx.aborted = err != nil
	return err
}

// savepoint runs fn in a savepoint.
func (tx *memTx) savepoint(fn func() error) error {
	var rows int
	if err := tx.exec(context.Background(), func() error { rows = len(tx.rows); return nil }); err != nil {
		return err
	}
	released, returned := false, false
	defer func() {
		if released || !returned && tx.store.sin == "keeps the savepoint of a panic" {
			return
		}
		tx.mu.Lock()
		defer tx.mu.Unlock()
		tx.rows, tx.aborted = tx.rows[:rows], false
	}()
	err := fn()
	returned = true
	if err != nil {
		return err
	}
	err = tx.exec(context.Background(), func() error { return nil })
	released = err == nil
	return err
}

type ownKey struct{}

// outer returns the transaction in which a savepoint is to be set.
func (s *store) outer(ctx context.Context) (*memTx, bool) {
	if s.sin == "finds the outer transaction by itself" {
		tx, ok := ctx.Value(ownKey{}).(*memTx)
		return tx, ok && tx.store == s
	}
	return tidings.TxFrom[*memTx](ctx, s.db())
}

// db is the DB of the Transactor.
func (s *store) db() any {
	if s.sin == "has one name for all databases" {
		return "the database"
	}
	return s
}

// run is the TxFunc. Without a sin it is sound.
func (s *store) run(ctx context.Context, body func(context.Context) error) (err error) {
	if outer, ok := s.outer(ctx); ok && s.sin != "begins another transaction when nested" {
		return s.nested(ctx, outer, body)
	}
	tx, err := s.begin(ctx)
	if err != nil {
		return err
	}
	if s.sin == "uses the failed transaction again" {
		s.mu.Lock()
		if s.last != nil {
			_ = tx.end(false)
			tx = s.last
		}
		s.last = tx
		s.mu.Unlock()
	}
	inside := s.inside(ctx, tx)
	ended, returned := false, false
	defer func() {
		switch {
		case ended:
		case !returned && s.sin == "leaks the transaction of a panic":
		case !returned && s.sin == "leaks the transaction of Goexit":
			if v := recover(); v != nil {
				_ = tx.end(false)
				panic(v)
			}
		case !returned && s.sin == "commits after a panic":
			_ = tx.end(true)
		case !returned && s.sin == "returns nil after a panic":
			_ = recover()
			_ = tx.end(false)
		case s.sin == "rolls back with the context that has ended" && ctx.Err() != nil:
		default:
			_ = tx.end(false)
		}
	}()
	switch s.sin {
	case "calls the body after the commit":
		ended = true
		return errors.Join(tx.end(true), body(inside))
	case "calls the body twice":
		if err := body(inside); err != nil {
			return err
		}
	case "calls the body again in the same transaction":
		if err := body(inside); err == nil {
			ended, returned = true, true
			return tx.end(true)
		}
	}
	err = body(inside)
	returned = true
	switch {
	case err == nil:
	case s.sin == "commits although the body failed":
		ended = true
		return errors.Join(err, tx.end(true))
	case s.sin == "drops the error of the body":
		return nil
	case s.sin == "replaces the error of the body":
		return errors.New("rolled back")
	default:
		return err
	}
	if s.sin == "returns the end of its context after the commit" {
		ended = true
		return errors.Join(tx.end(true), ctx.Err())
	}
	ended = true
	if err := tx.end(true); s.sin != "drops the error of COMMIT" {
		return err
	}
	return nil
}

// inside returns the context of the body.
func (s *store) inside(ctx context.Context, tx *memTx) context.Context {
	switch s.sin {
	case "does not add the transaction":
		return ctx
	case "adds the transaction for another database":
		return tidings.WithTx(ctx, "another", tx)
	case "passes on another context":
		return tidings.WithTx(context.Background(), s, tx)
	case "finds the outer transaction by itself":
		ctx = context.WithValue(ctx, ownKey{}, tx)
	case "does not let its context end":
		ctx = context.WithoutCancel(ctx)
	}
	return tidings.WithTx(ctx, s.db(), tx)
}

func (s *store) nested(ctx context.Context, tx *memTx, body func(context.Context) error) error {
	inside := s.inside(ctx, tx)
	switch s.sin {
	case "refuses to nest":
		return errors.New("no savepoints here")
	case "sets no savepoint":
		return body(inside)
	case "commits everything when the inner body succeeds":
		err := body(inside)
		if err == nil {
			_ = tx.end(true)
		}
		return err
	case "rolls back everything when the inner body fails":
		err := body(inside)
		if err != nil {
			_ = tx.end(false)
		}
		return err
	case "keeps the savepoint when its context has ended":
		if err := ctx.Err(); err != nil {
			return err
		}
		var err error
		released := tx.savepoint(func() error {
			err = body(inside)
			if ctx.Err() != nil {
				return nil
			}
			return err
		})
		if released != nil {
			return released
		}
		return err
	}
	err := tx.savepoint(func() error { return body(inside) })
	if s.sin == "returns the end of its context after the commit" {
		err = errors.Join(err, ctx.Err())
	}
	return err
}

// native runs fn in a savepoint without Transact, and tells the bus.
func (s *store) native(ctx context.Context, fn func(context.Context) error) error {
	tx, ok := tidings.TxFrom[*memTx](ctx, s.db())
	if !ok {
		return errNoTx
	}
	if s.sin == "does not tell the bus of the savepoints of the library" {
		return tx.savepoint(func() error { return fn(ctx) })
	}
	ctx, hook := tidings.NewTxHook(ctx, s.db())
	if s.sin != "forgets the savepoint of the library after a panic" {
		defer hook.Rollback(ctx)
	}
	if err := tx.savepoint(func() error { return fn(ctx) }); err != nil {
		hook.Rollback(ctx)
		return err
	}
	return hook.Commit(ctx)
}

func (s *store) subject() txtest.Subject {
	in := func(ctx context.Context, statement func(*memTx) error) error {
		tx, ok := tidings.TxFrom[*memTx](ctx, s.db())
		if !ok {
			return errNoTx
		}
		return tx.exec(ctx, func() error { return statement(tx) })
	}
	return txtest.Subject{
		Transactor: tidings.Transactor{DB: s.db(), Run: s.run},
		Insert: func(ctx context.Context, n int) error {
			return in(ctx, func(tx *memTx) error {
				if s.sin == "begins no transaction" {
					s.mu.Lock()
					defer s.mu.Unlock()
					s.rows = append(s.rows, n)
					return nil
				}
				tx.rows = append(tx.rows, n)
				return nil
			})
		},
		Fail: func(ctx context.Context) error { return in(ctx, func(*memTx) error { return errRefused }) },
		FailCommit: func(ctx context.Context) error {
			return in(ctx, func(tx *memTx) error { tx.failCommit = true; return nil })
		},
		Stored: func(context.Context) ([]int, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			return slices.Clone(s.rows), nil
		},
		Kept: func(ctx context.Context) context.Context {
			tx, _ := tidings.TxFrom[*memTx](ctx, s.db())
			if s.sin == "keeps a context without the transaction" {
				return context.Background()
			}
			return tx.kept
		},
		Native: s.native,
		Sandbox: func(t *testing.T) any {
			tx, err := s.begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = tx.end(false) })
			return tx
		},
	}
}
