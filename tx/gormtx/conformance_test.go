package gormtx_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/testdb"
	"github.com/tidings-go/tidings/tidingstest/txtest"
	"github.com/tidings-go/tidings/tx/gormtx"
)

type Note struct {
	ID int64
	N  int
}

func TestConformance(t *testing.T) {
	t.Parallel()
	for _, on := range []kind{onSQLite, onPostgres} {
		for name, config := range map[string]gorm.Config{"none": {}, "PrepareStmt": {PrepareStmt: true}} {
			t.Run(on.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				if on.name == onPostgres.name {
					testdb.Server(t)
				}
				txtest.Test(t, txtest.Features{}, func(t *testing.T) txtest.Subject { return subject(t, on, config) })
			})
		}
	}
}

func subject(t *testing.T, on kind, config gorm.Config) txtest.Subject {
	t.Helper()
	pool, observer := on.open(t)
	config.Logger = logger.Discard
	db, err := gorm.Open(on.dialector(pool), &config)
	require.NoError(t, err)
	require.NoError(t, db.AutoMigrate(&Note{}))
	observed, err := gorm.Open(on.dialector(observer), &gorm.Config{Logger: logger.Discard})
	require.NoError(t, err)
	in := func(ctx context.Context) (*gorm.DB, error) {
		if _, ok := tidings.TxFrom[*sql.Tx](ctx, pool); !ok {
			return nil, errors.New("not in a transaction")
		}
		return gormtx.From(ctx, db), nil
	}
	exec := func(ctx context.Context, statement string) error {
		tx, err := in(ctx)
		if err != nil {
			return err
		}
		return tx.Exec(statement).Error
	}
	return txtest.Subject{
		Transactor: gormtx.Transactor(db),
		Insert: func(ctx context.Context, n int) error {
			tx, err := in(ctx)
			if err != nil {
				return err
			}
			return tx.Create(&Note{N: n}).Error
		},
		Fail:       func(ctx context.Context) error { return exec(ctx, "INSERT INTO nowhere VALUES (1)") },
		FailCommit: func(ctx context.Context) error { return exec(ctx, "INSERT INTO payments (invoice_id) VALUES (4711)") },
		Stored: func(ctx context.Context) (numbers []int, err error) {
			err = observed.WithContext(ctx).Model(&Note{}).Order("id").Pluck("n", &numbers).Error
			return numbers, err
		},
		Kept: func(ctx context.Context) context.Context { return gormtx.From(ctx, db).Statement.Context },
		Native: func(ctx context.Context, fn func(context.Context) error) error {
			tx, err := in(ctx)
			if err != nil {
				return err
			}
			return tx.Transaction(func(tx *gorm.DB) error { return fn(tx.Statement.Context) })
		},
		Sandbox: func(t *testing.T) any {
			tx, err := pool.Begin()
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, tx.Rollback()) })
			return tx
		},
	}
}
