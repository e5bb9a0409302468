package durable_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
)

// inPgx is the Transactor of a pgx pool.
func inPgx(pool *pgxpool.Pool) tidings.Transactor {
	return tidings.Transactor{DB: pool, Run: func(ctx context.Context, body func(context.Context) error) error {
		run := func(tx pgx.Tx) error { return body(tidings.WithTx(ctx, pool, tx)) }
		if outer, ok := tidings.TxFrom[pgx.Tx](ctx, pool); ok {
			return pgx.BeginFunc(context.WithoutCancel(ctx), outer, run) // a savepoint
		}
		return pgx.BeginFunc(ctx, pool, run)
	}}
}

// newPgxJobs is for an application with transactions of a pgx pool.
func newPgxJobs(pool *pgxpool.Pool, registry *tidings.Registry) (*durable.Jobs, error) {
	config := durable.Configure(&river.Config{
		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 50}},
	})
	client, err := river.NewClient(riverpgxv5.New(pool), config)
	if err != nil {
		return nil, err
	}
	return durable.New(client, config.Workers, inPgx(pool), registry)
}

// newSQLJobs is for an application with transactions of a *sql.DB. River has a
// separate small pool, with which it listens for new jobs.
func newSQLJobs(db *sql.DB, pool *pgxpool.Pool, registry *tidings.Registry) (*durable.Jobs, error) {
	config := durable.Configure(&river.Config{
		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 50}},
	})
	client, err := river.NewClient(riverpgxv5.New(pool), config)
	if err != nil {
		return nil, err
	}
	return durable.New(client, config.Workers, tidings.SQL(db), registry)
}

// newPublisher is for a process that publishes and runs no jobs: a client without
// queues and workers.
func newPublisher(db *sql.DB, pool *pgxpool.Pool, registry *tidings.Registry) (*durable.Jobs, error) {
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{})
	if err != nil {
		return nil, err
	}
	return durable.New(client, nil, tidings.SQL(db), registry)
}

// TestExamplesOnPostgres tries the wiring that the guide shows: what publishes
// through one of the applications runs in the other.
func TestExamplesOnPostgres(t *testing.T) {
	h := openSQL(t)
	registry := newRegistry()
	tidings.Register[OrderPlaced](registry, "orders.order_placed", 1)
	publisher, err1 := newPublisher(h.sql, h.pool, registry)
	overSQL, err2 := newSQLJobs(h.sql, h.pool, registry)
	overPgx, err3 := newPgxJobs(h.pool, registry)
	require.NoError(t, errors.Join(err1, err2, err3))

	worked := make(chan string, 10)
	for name, worker := range map[string]*durable.Jobs{"sql": overSQL, "pgx": overPgx} {
		run := func(ctx context.Context, e OrderPlaced) error {
			_, isSQL := tidings.TxFrom[*sql.Tx](ctx, h.sql)
			_, isPgx := tidings.TxFrom[pgx.Tx](ctx, h.pool)
			worked <- fmt.Sprint(e.Item, " sql ", isSQL, " pgx ", isPgx)
			return nil
		}
		bus, remote := tidings.New(), tidings.New()
		tidings.Subscribe(bus, run, tidings.Named("run."+name), tidings.Via(worker))
		tidings.Subscribe(remote, run, tidings.Named("run."+name), tidings.Via(publisher))
		require.NoError(t, worker.Start(t.Context()))
		require.NoError(t, tidings.Publish(t.Context(), remote, OrderPlaced{Item: name}))
		require.Equal(t, map[string]string{"sql": "sql sql true pgx false", "pgx": "pgx sql false pgx true"}[name], <-worked)
		stop(t, worker)
	}
}
