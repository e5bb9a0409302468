package bench

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	watermillsql "github.com/ThreeDotsLabs/watermill-sql/v4/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/jackc/pgx/v5"
)

const (
	watermillSQLModule = "github.com/ThreeDotsLabs/watermill-sql/v4"
	watermillTopic     = "orders"
)

// watermillSQL publishes so many messages in a transaction, with the header
// of an event as their metadata. Its tables are for Postgres and MySQL, so
// there is none for SQLite.
func watermillSQL(open logDBFunc, events int) Subject {
	return Subject{
		Name: "watermill-sql",
		Note: versionedName(watermillSQLModule) + ": NewPublisher on the transaction, with DefaultPostgreSQLSchema: one index, and no list of types, times or correlations (it has no tables for SQLite)",
		Setup: func() (*Runner, error) {
			d, err := open()
			if err != nil {
				return nil, err
			}
			config := watermillsql.PublisherConfig{SchemaAdapter: watermillsql.DefaultPostgreSQLSchema{}}
			if err := d.watermillTables(config); err != nil {
				return nil, errors.Join(err, d.remove())
			}
			w, err := newBillWriter(false)
			if err != nil {
				return nil, errors.Join(err, d.remove())
			}
			return perTransaction(func(ctx context.Context) error {
				return d.watermillTx(ctx, func(tx watermillsql.Tx) error {
					messages, err := w.messages(ctx, events)
					if err != nil {
						return err
					}
					publisher, err := watermillsql.NewPublisher(tx, config, watermill.NopLogger{})
					if err != nil {
						return err
					}
					return publisher.Publish(watermillTopic, messages...)
				})
			}, d.counter("watermill_"+watermillTopic), d.remove), nil
		},
	}
}

func (d *logDB) watermillTables(config watermillsql.PublisherConfig) error {
	queries, err := config.SchemaAdapter.SchemaInitializingQueries(watermillsql.SchemaInitializingQueriesParams{Topic: watermillTopic})
	if err != nil {
		return err
	}
	return d.bare(context.Background(), func(do exec) error {
		for _, q := range queries {
			if err := do(context.Background(), q.Query, q.Args...); err != nil {
				return err
			}
		}
		return nil
	})
}

// watermillTx runs fn in a transaction as watermill-sql wants it.
func (d *logDB) watermillTx(ctx context.Context, fn func(watermillsql.Tx) error) error {
	if d.pool == nil {
		tx, err := d.sql.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		if err := fn(watermillsql.TxFromStdSQL(tx)); err != nil {
			return errors.Join(err, tx.Rollback())
		}
		return tx.Commit()
	}
	return pgx.BeginFunc(ctx, d.pool, func(tx pgx.Tx) error { return fn(watermillsql.TxFromPgx(tx)) })
}

func (w *billWriter) messages(ctx context.Context, events int) ([]*message.Message, error) {
	messages := make([]*message.Message, events)
	for i := range messages {
		data, err := w.marshal()
		if err != nil {
			return nil, err
		}
		id := w.nextID().String()
		m := message.NewMessageWithContext(ctx, id, []byte(data))
		m.Metadata.Set("type", billedName)
		m.Metadata.Set("version", strconv.Itoa(billedVersion))
		m.Metadata.Set("occurred_at", time.Now().UTC().Format(time.RFC3339Nano))
		m.Metadata.Set("correlation_id", id)
		messages[i] = m
	}
	return messages, nil
}
