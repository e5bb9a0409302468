package gormtx

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"

	"gorm.io/gorm"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/nested"
)

// bind returns db in tx. Its context is ctx.
func bind(ctx context.Context, db *gorm.DB, sqlDB *sql.DB, tx *sql.Tx) *gorm.DB {
	c := &conn{ConnPool: tx, tx: tx, db: sqlDB, savepoints: nested.Of(ctx, sqlDB)}
	c.scope, _ = tidings.TxFrom[*scope](ctx, sqlDB)
	if prepared, ok := db.Statement.ConnPool.(*gorm.PreparedStmtDB); ok {
		c.ConnPool = &gorm.PreparedStmtTX{Tx: tx, PreparedStmtDB: prepared}
	}
	bound := db.WithContext(ctx) // has a Statement of its own
	bound.Statement.ConnPool = c
	return bound
}

// A conn is the connection of a *gorm.DB that is in a transaction. It is a gorm.TxCommitter,
// so that GORM sets savepoints, and a gorm.Tx, so that a session can turn PrepareStmt on.
type conn struct {
	gorm.ConnPool                    // runs all statements that do not set or end savepoints
	tx            *sql.Tx            // the transaction itself
	db            *sql.DB            // the database of tx
	savepoints    *nested.Savepoints // nil where no events wait for the end of tx
	scope         *scope             // nil if tidings.InTx, or a test, has begun tx
}

var _ interface {
	gorm.Tx
	gorm.GetDBConnector
} = (*conn)(nil)

// ExecContext runs a statement, and follows the savepoints. It does not prepare their
// statements: each has another name, and some databases refuse to prepare them.
//
// The dialects of GORM drop the errors of SavePoint and RollbackTo. So these statements run
// even if ctx has ended, and if a rollback fails, the transaction cannot commit: it has the
// changes that should be undone, unless it has ended already.
func (c *conn) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	savepoint, rollback := nested.IsSavepoint(query)
	if !savepoint {
		return c.ConnPool.ExecContext(ctx, query, args...)
	}
	result, err := c.tx.ExecContext(context.WithoutCancel(ctx), query, args...)
	switch {
	case err == nil && c.savepoints != nil:
		c.savepoints.Ran(query)
	case err != nil && rollback && !errors.Is(err, sql.ErrTxDone):
		_ = c.doom(fmt.Errorf("tx/gormtx: %s has failed, so the transaction cannot commit: %w", query, err))
	}
	return result, err
}

// PrepareContext refuses statements of savepoints: a *sql.Stmt would run them unseen.
func (c *conn) PrepareContext(ctx context.Context, query string) (*sql.Stmt, error) {
	if savepoint, _ := nested.IsSavepoint(query); savepoint {
		return nil, errors.New("tx/gormtx: a statement of a savepoint cannot be prepared: call SavePoint or RollbackTo, or Exec in a session without PrepareStmt")
	}
	return c.tx.PrepareContext(ctx, query)
}

func (c *conn) StmtContext(ctx context.Context, stmt *sql.Stmt) *sql.Stmt {
	return c.tx.StmtContext(ctx, stmt)
}

// GetDBConn lets the DB method of *gorm.DB work.
func (c *conn) GetDBConn() (*sql.DB, error) { return c.db, nil }

var (
	errCommit   = errors.New("tx/gormtx: Commit of a transaction that InTx or Transact ends: return nil from its function instead")
	errRollback = errors.New("tx/gormtx: Rollback of a transaction that InTx or Transact ends: return an error from its function instead")
)

// Commit fails: the events would be lost if the code after it failed. It makes the
// transaction roll back, since that code takes it for committed.
func (c *conn) Commit() error { return errors.Join(errCommit, c.doom(errCommit)) }

// Rollback fails too, and makes the transaction roll back even if the caller ignores that.
func (c *conn) Rollback() error { return errors.Join(errRollback, c.doom(errRollback)) }

// doom makes the scope return err and roll back. Without a scope, or after its function, it
// rolls back at once.
func (c *conn) doom(err error) error {
	if c.scope == nil || !c.scope.fail(err) {
		return c.tx.Rollback()
	}
	return nil
}

// A scope is a transaction or a savepoint that this package has begun.
type scope struct {
	mu     sync.Mutex
	ended  bool
	failed error // why it may not commit
}

// inScope runs body in a scope, in a transaction of db that has begun.
func inScope(ctx context.Context, db *sql.DB, body func(context.Context) error) error {
	s := &scope{}
	err := body(tidings.WithTx(ctx, db, s))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	if err != nil {
		return err
	}
	return s.failed
}

// fail makes the scope roll back, with the first err. It reports false if that is too late.
func (s *scope) fail(err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.failed = err
	}
	return !s.ended
}
