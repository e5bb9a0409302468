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

// config holds the settings of a bus. It does not change after New.
type config struct {
	logger       *slog.Logger // nil: slog.Default at the time of logging
	errorHandler func(context.Context, error)
	middleware   []Middleware
	workers      int
	queueLimit   int              // 0: no limit
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

// WithLogger sets the logger that the default error handler writes to. The default is
// [slog.Default] at the time of logging.
func WithLogger(logger *slog.Logger) Option {
	mustNotBeNil(logger == nil, "WithLogger", "*slog.Logger")
	return option(func(c *config) { c.logger = logger })
}

// WithErrorHandler sets the function that gets the failures that cannot be returned
// to a caller, because the handler ran after a commit or rollback, or asynchronously.
// The error is a [*HandlerError] if a handler failed. The context is the handler's
// context. The function is called from several goroutines at once; if it panics, the
// panic is recovered and logged. The default logs at level ERROR with the handler's
// name and the event's type, ID and correlation ID.
func WithErrorHandler(handle func(context.Context, error)) Option {
	mustNotBeNil(handle == nil, "WithErrorHandler", "function")
	return option(func(c *config) { c.errorHandler = handle })
}

// WithMiddleware wraps every handler of the bus. The first Middleware is the
// outermost, and all of them are outside the middleware given to [Subscribe].
func WithMiddleware(middleware ...Middleware) Option {
	for _, m := range middleware {
		mustNotBeNil(m == nil, "WithMiddleware", "Middleware")
	}
	return option(func(c *config) { c.middleware = append(c.middleware, middleware...) })
}

// WithWorkers limits how many [Async] handlers of the bus run at once. The default is
// four per CPU.
func WithWorkers(n int) Option {
	mustBePositive(n, "WithWorkers")
	return option(func(c *config) { c.workers = n })
}

// WithQueueLimit limits the queue of each [Async] handler to n waiting events. When
// the queue is full, a further event is refused with [ErrQueueFull]. By default
// queues have no limit.
func WithQueueLimit(n int) Option {
	mustBePositive(n, "WithQueueLimit")
	return option(func(c *config) { c.queueLimit = n })
}

// WithClock sets the clock for [Event].OccurredAt. The default is [time.Now]. The
// function is called from several goroutines at once.
func WithClock(now func() time.Time) Option {
	mustNotBeNil(now == nil, "WithClock", "function")
	return option(func(c *config) { c.clock = now })
}

// WithMaxDepth limits how deeply handlers may nest, when a handler publishes an event
// whose handlers publish again. The default is 100. The limit also applies to events
// that are delivered after a commit, and to [Async] handlers.
func WithMaxDepth(n int) Option {
	mustBePositive(n, "WithMaxDepth")
	return option(func(c *config) { c.maxDepth = n })
}

// WithTransport sends every event of the bus through t, even an event that no handler
// of this bus subscribes to. t runs the handlers that have neither a [Via] nor a
// [Phase]; these handlers must be [Named].
func WithTransport(t Transport) Option {
	mustNotBeNil(t == nil, "WithTransport", "Transport")
	mustBeSound(t)
	return option(func(c *config) { c.transport = t })
}

// WithImmutable declares that no code changes the memory behind a value of type T, so
// that events may contain fields of type T: for example, a decimal that keeps a
// *big.Int unexported.
func WithImmutable[T any]() Option {
	return option(func(c *config) { c.immutable.known = append(c.immutable.known, reflect.TypeFor[T]()) })
}

// WithSharedEvents turns off the check for shared memory in events, to help during a
// migration. Handlers of events with slices, maps or pointers then see each other's
// changes, and may race with handlers in other goroutines.
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
