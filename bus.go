package tidings

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/tidings-go/tidings/internal/inflight"
	"github.com/tidings-go/tidings/internal/testhook"
	"github.com/tidings-go/tidings/internal/typemap"
)

// An EventBus delivers events to their handlers. Create one with [New]; the zero
// EventBus cannot be used. All of its methods, and [Publish] and [Subscribe], are
// safe to call concurrently and inside a handler, except that Close inside a handler
// of the same bus returns an error.
type EventBus struct {
	config

	// topics holds one topic per event type. Publishers load the map without a lock;
	// it is replaced under mu.
	topics  atomic.Pointer[typemap.Map[topic]]
	closed  atomic.Bool // Close was called
	gaveUp  atomic.Bool // Close returned before everything was done
	drained atomic.Bool // Close found nothing more to wait for

	inflight inflight.Counter
	async    *asyncTransport

	// mu guards the fields below, and serializes changes of the topics. It is never
	// held while user code runs.
	mu    sync.RWMutex
	subs  []*Subscription          // in order of subscription
	named map[string]*Subscription // by the name given with Named
}

// New returns a bus. It panics if an option is nil; the functions that return options
// panic if a value is invalid.
func New(opts ...Option) *EventBus {
	b := &EventBus{config: newConfig(opts), named: map[string]*Subscription{}}
	b.topics.Store(typemap.New[topic]())
	b.async = newAsyncTransport(b)
	return b
}

func init() {
	testhook.Drain = func(ctx context.Context, bus any) error { return bus.(*EventBus).inflight.Wait(ctx) }
}

var defaultBus atomic.Pointer[EventBus]

// Default returns the default bus of the process. The first call creates it. Default
// is safe to call concurrently.
func Default() *EventBus {
	if b := defaultBus.Load(); b != nil {
		return b
	}
	defaultBus.CompareAndSwap(nil, New())
	return defaultBus.Load()
}

// SetDefault makes [Default] return bus. It panics if bus is nil or the zero
// EventBus.
func SetDefault(bus *EventBus) {
	bus.mustBeMade("SetDefault")
	defaultBus.Store(bus)
}

// errZeroBus returns the error of a function that was called with the zero EventBus.
func errZeroBus(function string) error {
	return fmt.Errorf("tidings: %s on the zero EventBus: make the bus with tidings.New", function)
}

// mustBeMade panics if the bus is nil or the zero EventBus.
func (b *EventBus) mustBeMade(function string) {
	mustNotBeNil(b == nil, function, "*EventBus")
	if b.topics.Load() == nil {
		panic(errZeroBus(function).Error())
	}
}

var (
	errNilBus     = errors.New("tidings: Publish on a nil *EventBus")
	errNilContext = errors.New("tidings: Publish with a nil context")
	errNilEvent   = errors.New("tidings: Publish of a nil event")
)

// topicOf returns the topic of an event type, which is a struct, and creates it if
// needed.
func (b *EventBus) topicOf(typ reflect.Type) *topic {
	if t := b.topics.Load().Get(typ); t != nil {
		return t
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if t := b.topics.Load().Get(typ); t != nil {
		return t
	}
	t := newTopic(b, typ)
	for _, sub := range b.subs {
		if sub.accepts(typ) {
			t.add(sub)
		}
	}
	b.topics.Store(b.topics.Load().With(typ, t))
	return t
}

// Subscriptions describes the current subscriptions, in the order of subscription.
func (b *EventBus) Subscriptions() []SubscriptionInfo {
	b.mu.RLock()
	subs := slices.Clone(b.subs)
	b.mu.RUnlock()
	infos := make([]SubscriptionInfo, len(subs))
	for i, sub := range subs {
		infos[i] = sub.Info()
	}
	return infos
}

// Close is the graceful shutdown of the bus. It refuses new events with [ErrClosed],
// and waits until the running handlers have returned and the queues of [Async]
// handlers are empty. If ctx ends before that, Close returns ctx.Err(). A second call
// waits again.
//
// While Close waits, the bus still accepts events that are published with the context
// of one of its handlers, and waits for their handlers too. Once Close has returned
// ctx.Err(), Async handlers get no more of these events, so that the work ends.
//
// Close does not wait for open transactions. Events that are queued in one were
// accepted before, so their handlers run at the commit and may publish, even if
// something that they need was shut down meanwhile. If Close has returned by then,
// Async handlers do not run, and ErrClosed is reported for each of them.
//
// Close with the context of a handler of the same bus would wait for itself: it
// returns an error immediately, but still refuses new events from then on.
func (b *EventBus) Close(ctx context.Context) error {
	b.closed.Store(true)
	if nodeFrom(ctx).within(b, false) {
		return errors.New("tidings: Close inside a handler of the same bus would wait for itself: call it with a context from outside (new events are refused from now on)")
	}
	if err := b.inflight.Wait(ctx); err != nil {
		b.gaveUp.Store(true)
		return err
	}
	b.drained.Store(true)
	return b.inflight.Wait(ctx) // for work that was accepted in between
}

// admit returns ErrClosed for an event that is published in n after Close was called,
// unless it belongs to work that was accepted before: while Close waits, an event
// that a handler publishes, and afterwards, an event that a late handler publishes.
// admit does not check whether that handler has returned meanwhile: to note that
// would cost every Publish an atomic write.
func (b *EventBus) admit(n *node) error {
	if b.closed.Load() && !n.within(b, b.drained.Load()) {
		return ErrClosed
	}
	return nil
}

// report passes to the error handler a failure that cannot be returned to a caller.
func (b *EventBus) report(ctx context.Context, err error) {
	defer func() {
		if p := recover(); p != nil {
			b.log(ctx, err)
			b.log(ctx, fmt.Errorf("tidings: the error handler panicked: %v", p))
		}
	}()
	if b.errorHandler != nil {
		b.errorHandler(ctx, err)
	} else {
		b.log(ctx, err)
	}
}

func (b *EventBus) log(ctx context.Context, err error) {
	logger := b.logger
	if logger == nil {
		logger = slog.Default()
	}
	attrs := []slog.Attr{slog.Any("error", err)}
	if he := (*HandlerError)(nil); errors.As(err, &he) {
		attrs = append(attrs, slog.String("handler", he.Handler))
		if he.Event != nil {
			attrs = append(attrs,
				slog.String("event_type", nameOf(he.Event)),
				slog.String("event_id", he.Event.EventID().String()),
				slog.String("correlation_id", he.Event.CorrelationID().String()))
		}
	}
	if pe := (*PanicError)(nil); errors.As(err, &pe) {
		attrs = append(attrs, slog.String("stack", string(pe.Stack)))
	}
	logger.LogAttrs(ctx, slog.LevelError, "event handler failed", attrs...)
}

// A failure is an error together with the bus and the context of the handler that
// returned it.
type failure struct {
	ctx context.Context
	bus *EventBus
	err error
}

// report passes failures that cannot be returned to a caller to the error handlers of
// their buses.
func report(failures []failure) {
	for _, f := range failures {
		f.bus.report(f.ctx, f.err)
	}
}
