package tidings

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"runtime"
	"time"
)

// An Option configures a bus, see [New].
type Option interface{ configure(*config) }

type option func(*config)

func (o option) configure(c *config) { o(c) }

// config is what the options of a bus amount to. It does not change after New.
type config struct {
	logger       *slog.Logger // nil: slog.Default at the time of logging
	errorHandler func(context.Context, error)
	middleware   []Middleware
	workers      int
	queueLimit   int              // 0: none
	clock        func() time.Time // nil: time.Now
	maxDepth     int
	transport    Transport // nil: handlers run here
	immutable    immutability
}

func newConfig(opts []Option) config {
	c := config{workers: 4 * runtime.GOMAXPROCS(0), maxDepth: 100}
	for _, o := range opts {
		if o == nil {
			panic("tidings: New with a nil Option")
		}
		o.configure(&c)
	}
	return c
}

// WithLogger sets the logger of the default error handler; the default is
// [slog.Default] at the time of logging.
func WithLogger(logger *slog.Logger) Option {
	mustNotBeNil(logger == nil, "WithLogger", "*slog.Logger")
	return option(func(c *config) { c.logger = logger })
}

// WithErrorHandler sets what is called for failures that have no caller
// left, because the handler ran after a commit or rollback, or asynchronously. The error is a [*HandlerError] wherever a handler failed.
// The context is the handler's. It is called from several goroutines
// at once; a panic in it is contained and logged. The default logs at
// ERROR with the event's ID, type and correlation, and the handler.
func WithErrorHandler(handle func(context.Context, error)) Option {
	mustNotBeNil(handle == nil, "WithErrorHandler", "function")
	return option(func(c *config) { c.errorHandler = handle })
}

// WithMiddleware wraps every handler of the bus; the first Middleware is
// outermost, and all of them are outside those given to [Subscribe].
func WithMiddleware(middleware ...Middleware) Option {
	for _, m := range middleware {
		mustNotBeNil(m == nil, "WithMiddleware", "Middleware")
	}
	return option(func(c *config) { c.middleware = append(c.middleware, middleware...) })
}

// WithWorkers sets how many [Async] handlers of the bus run at once; the
// default is four per CPU.
func WithWorkers(n int) Option {
	mustBePositive(n, "WithWorkers")
	return option(func(c *config) { c.workers = n })
}

// WithQueueLimit bounds the queue of every [Async] handler to n waiting
// events; one more is refused with [ErrQueueFull]. By default queues grow.
func WithQueueLimit(n int) Option {
	mustBePositive(n, "WithQueueLimit")
	return option(func(c *config) { c.queueLimit = n })
}

// WithClock sets where [Event].OccurredAt comes from; the default is
// [time.Now]. It is called from several goroutines at once.
func WithClock(now func() time.Time) Option {
	mustNotBeNil(now == nil, "WithClock", "function")
	return option(func(c *config) { c.clock = now })
}

// WithMaxDepth bounds how deeply handlers may nest, when what they publish
// is handled and its handlers publish again; the default is 100. It holds
// through transactions, after their commit, and through [Async] handlers.
func WithMaxDepth(n int) Option {
	mustBePositive(n, "WithMaxDepth")
	return option(func(c *config) { c.maxDepth = n })
}

// WithTransport sends every event through t, also an event that nothing
// here subscribes to, and runs the handlers that have neither a [Via] nor a
// [Phase] of their own when it arrives. These handlers must be [Named].
func WithTransport(t Transport) Option {
	mustNotBeNil(t == nil, "WithTransport", "Transport")
	mustBeSound(t)
	return option(func(c *config) { c.transport = t })
}

// WithImmutable declares that no code changes the memory behind a value of
// type T, so that events may have fields of it: a decimal, say, that keeps
// a *big.Int to itself.
func WithImmutable[T any]() Option {
	return option(func(c *config) { c.immutable.known = append(c.immutable.known, reflect.TypeFor[T]()) })
}

// WithSharedEvents switches off the check for shared memory in events, for
// the time of a migration. Handlers of events with slices, maps or pointers
// then see each other's changes, and race in other goroutines.
func WithSharedEvents() Option {
	return option(func(c *config) { c.immutable.off = true })
}

func mustNotBeNil(isNil bool, function, what string) {
	if isNil {
		panic(fmt.Sprintf("tidings: %s with a nil %s", function, what))
	}
}

func mustBePositive(n int, function string) {
	if n < 1 {
		panic(fmt.Sprintf("tidings: %s(%d): must be at least 1", function, n))
	}
}
