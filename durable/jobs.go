package durable

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/riverqueue/river"

	"github.com/tidings-go/tidings"
)

// Jobs is a [tidings.Transport] that stores one River job for each event and
// handler, in the publisher's transaction, and runs the handler later in any
// process that works the queue. Make one with [New]. All methods are safe to
// call concurrently and inside a handler, except that a handler that calls Close
// waits for itself.
type Jobs struct {
	engine     engine
	workers    *river.Workers // nil: this process stores jobs and works none
	place      *string        // where New was called; not in this struct, see byworkers.Map
	registry   *tidings.Registry
	transactor tidings.Transactor
	config     config
	mu         sync.RWMutex
	handlers   map[string]*handler // by kind: names and aliases
	worked     map[string]bool     // kinds that River passes to us
	ordered    bool                // some handler has an order
	started    bool

	running  lifecycle
	draining atomic.Bool // by package durabletest
	silent   atomic.Bool // Start was called, or sayIfIdle has logged that it was not
}

var _ tidings.Transport = (*Jobs)(nil)

// An Option is an option of [New].
type Option interface{ apply(*config) }

type optionFunc func(*config)

func (f optionFunc) apply(c *config) { f(c) }

type config struct {
	bus     *tidings.EventBus // nil: no events are published
	logger  *slog.Logger
	clock   func() time.Time // nil: the machine's
	inject  func(context.Context) map[string]string
	extract func(context.Context, map[string]string) context.Context
}

// WithBus makes Jobs publish [JobDied], [JobRetried] and [JobDiscarded] on bus,
// so that an event log records them and modules can react. Register them with
// [Register].
func WithBus(bus *tidings.EventBus) Option {
	mustNotBeNil(bus == nil, "WithBus", "*tidings.EventBus")
	return optionFunc(func(c *config) { c.bus = bus })
}

// WithLogger sets the logger for dead jobs, which are logged at level ERROR.
// The default is [slog.Default].
func WithLogger(logger *slog.Logger) Option {
	mustNotBeNil(logger == nil, "WithLogger", "*slog.Logger")
	return optionFunc(func(c *config) { c.logger = logger })
}

// WithClock sets the clock from which waits are counted; use the same clock as
// the River client. The default is [time.Now].
func WithClock(now func() time.Time) Option {
	mustNotBeNil(now == nil, "WithClock", "function")
	return optionFunc(func(c *config) { c.clock = now })
}

// WithTrace carries a trace from the publisher to the handler. inject returns
// the values to store with the job, nil for none; extract puts them back into
// the ctx of the handler. For W3C trace contexts:
//
//	durable.WithTrace(
//		func(ctx context.Context) map[string]string {
//			carrier := propagation.MapCarrier{}
//			propagator.Inject(ctx, carrier)
//			return carrier
//		},
//		func(ctx context.Context, carrier map[string]string) context.Context {
//			return propagator.Extract(ctx, propagation.MapCarrier(carrier))
//		})
//
// Correlation and causation need no option: they are in the event.
func WithTrace(inject func(context.Context) map[string]string, extract func(context.Context, map[string]string) context.Context) Option {
	mustNotBeNil(inject == nil || extract == nil, "WithTrace", "function")
	return optionFunc(func(c *config) { c.inject, c.extract = inject, extract })
}

func mustNotBeNil(isNil bool, function, what string) {
	if isNil {
		panic(fmt.Sprintf("durable: %s with a nil %s", function, what))
	}
}

// noKind is never the kind of a job: [checkName] refuses it.
const noKind = "no kind"

// New returns the transport that stores jobs through client and, once
// [Jobs.Start] is called, works them.
//
// workers are the Workers of the client's configuration, which [Configure] must
// have configured: each subscription adds its handler to them. A client has one
// Jobs. A process that works no jobs passes nil, and a client without Workers.
// Handlers run in transactions of transactor, which must use the client's
// database: tidings.SQL(db), or the Transactor of another library. The events of
// durable handlers must be in registry.
func New[TTx any](client *river.Client[TTx], workers *river.Workers, transactor tidings.Transactor, registry *tidings.Registry, opts ...Option) (*Jobs, error) {
	if client == nil || registry == nil {
		return nil, errors.New("durable: New with a nil Client or Registry")
	}
	if transactor.Run == nil || transactor.DB == nil {
		return nil, errors.New("durable: New with a Transactor without Run or DB: pass tidings.SQL(db), or that of the application's library")
	}
	if err := registry.Validate(); err != nil {
		return nil, fmt.Errorf("durable: New: %w", err)
	}
	j := &Jobs{
		workers:    workers,
		registry:   registry,
		transactor: transactor,
		handlers:   map[string]*handler{},
		worked:     map[string]bool{},
	}
	for _, o := range opts {
		if o == nil {
			return nil, errors.New("durable: New with a nil Option")
		}
		o.apply(&j.config)
	}
	j.engine = newEngine(client, transactor.DB, j.config.clock)
	if workers == nil {
		if j.engine.refuses(noKind) {
			return nil, errors.New("durable: New without Workers for a client that has some, and would not store the jobs of handlers: pass those of its configuration, or a client without Workers to publish only")
		}
		return j, nil
	}
	if err := checkConfigured(workers); err != nil {
		return nil, fmt.Errorf("durable: New: %w", err)
	}
	_, file, line, _ := runtime.Caller(1)
	place := fmt.Sprintf("%s:%d", file, line)
	j.place = &place
	return j, nil
}

// Phase returns [tidings.BeforeCommit]: one statement stores the jobs of a
// transaction just before it commits.
func (j *Jobs) Phase() tidings.Phase { return tidings.BeforeCommit }

// Handle registers a handler. It returns an error if its name cannot be a job kind,
// if the name is taken (with the handler and its place), if [InOrderBy] has the key
// of another event, or if it is called too late: River must know all handlers before
// it starts.
func (j *Jobs) Handle(h tidings.Handler) (stop func(), err error) {
	s, err := settingsOf(h)
	if err != nil {
		return nil, err
	}
	return nil, j.add(&handler{
		name: h.Name, sub: h.Subscription, deliver: h.Deliver, settings: s,
		opts: river.InsertOpts{MaxAttempts: s.attempts, Queue: s.queue, Priority: s.priority},
	})
}

// transact runs fn in a transaction of the handlers' database.
func (j *Jobs) transact(ctx context.Context, fn func(context.Context) error) error {
	return tidings.Transact(ctx, j.transactor, fn)
}

func (j *Jobs) now() time.Time {
	if j.config.clock != nil {
		return j.config.clock()
	}
	return time.Now()
}

func (j *Jobs) logger() *slog.Logger {
	if j.config.logger != nil {
		return j.config.logger
	}
	return slog.Default()
}
