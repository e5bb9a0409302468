package eventlog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog/internal/backend"
	"github.com/tidings-go/tidings/internal/notifier"
)

// A Log is an append-only log of events in a database. Make one with [Open].
// All methods are safe to call concurrently and inside a handler.
type Log struct {
	db       Database
	registry *tidings.Registry
	dialect  backend.Dialect
	settings settings

	gates      gates // of handlers that catch up
	publishers publishers
	followers  followers
	notifier   notifier.Notifier[struct{}]
}

// An Option is an option of [Open].
type Option interface{ apply(*settings) }

type settings struct {
	noMigrate    bool
	pollInterval time.Duration // 0: the default
}

type optionFunc func(*settings)

func (f optionFunc) apply(s *settings) { f(s) }

// WithoutMigration makes [Open] leave the tables as they are, for programs that run
// [Migrate] or the SQL of [Migrations] at another time, or with other rights.
func WithoutMigration() Option { return optionFunc(func(s *settings) { s.noMigrate = true }) }

// Open returns the log in db; registry has the registered names of its events.
// It brings the tables up to date, see [Migrate] and [WithoutMigration]. The error
// wraps [ErrSchema] if they do not fit afterwards, and [ErrForeign] for a log
// that was restored on another Postgres server and needs [Rebase]. The log need
// not be closed: the database is the caller's.
func Open(ctx context.Context, db Database, registry *tidings.Registry, opts ...Option) (*Log, error) {
	if db == nil || registry == nil {
		return nil, errors.New("eventlog: Open with a nil Database or Registry")
	}
	l := &Log{db: db, registry: registry, dialect: db.Dialect()}
	for _, o := range opts {
		if o == nil {
			return nil, errors.New("eventlog: Open with a nil Option")
		}
		o.apply(&l.settings)
	}
	if err := registry.Validate(); err != nil {
		return nil, fmt.Errorf("eventlog: Open: %w", err)
	}
	if !l.settings.noMigrate {
		if err := Migrate(ctx, db); err != nil {
			return nil, err
		}
	}
	q, err := l.querier(ctx)
	if err != nil {
		return nil, err
	}
	if err := checkSchema(ctx, db, q); err != nil {
		return nil, err
	}
	if err := checkForeign(ctx, db, q); err != nil {
		return nil, err
	}
	return l, nil
}

// querier returns a Querier for the transaction of ctx, or for the pool if
// there is none.
func (l *Log) querier(ctx context.Context) (backend.Querier, error) {
	q, err := l.db.Tx(ctx)
	if q == nil && err == nil {
		q = l.db.Pool()
	}
	return q, err
}
