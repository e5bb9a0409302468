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

// An EventBus carries events to their handlers. Make one with [New]; the
// zero EventBus is not usable. All of its methods, and [Publish] and
// [Subscribe], are safe to call concurrently and inside a handler.
type EventBus struct {
	config

	// topics holds one registry per event type. Publishers load the map
	// without a lock; it is replaced under mu.
	topics  atomic.Pointer[typemap.Map[topic]]
	closed  atomic.Bool // Close was called
	gaveUp  atomic.Bool // and has returned before it was done
	drained atomic.Bool // and has nothing more to wait for

	inflight inflight.Counter
	async    *asyncTransport

	// mu guards what follows, and the registries against concurrent
	// writers. It is never held while code of a user runs.
	mu    sync.RWMutex
	subs  []*Subscription          // in order of subscription
	named map[string]*Subscription // by the name given with Named
}

// New returns a bus. It panics on a nil or impossible option.
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

// Default returns the process's default bus, made on first use.
func Default() *EventBus {
	if b := defaultBus.Load(); b != nil {
		return b
	}
	defaultBus.CompareAndSwap(nil, New())
	return defaultBus.Load()
}

// SetDefault makes bus the one that [Default] returns.
func SetDefault(bus *EventBus) {
	bus.mustBeMade("SetDefault")
	defaultBus.Store(bus)
}

// errZeroBus is the error of a function that was given a bus not made by New.
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

// topicOf returns the registry of an event type, a struct.
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

// Subscriptions returns what is subscribed, in the order of subscription.
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

// Close refuses new events with [ErrClosed] and waits until the handlers
// that run have returned and the queues of [Async] handlers are empty, or
// returns ctx.Err(). Meanwhile events that are published with the context
// of a handler of b are accepted: they are part of what Close waits for. Once
// Close has returned ctx.Err(), Async handlers get no more of these, so that the
// work comes to an end. A second call waits again.
//
// Close does not wait for open transactions. What is queued in one was
// accepted, so its handlers are called at the commit, may publish, and run
// into whatever was shut down after Close; Async ones are not, and reported
// with ErrClosed. Inside a handler of b Close would wait for itself: with a
// handler's context it returns an error at once.
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
	return b.inflight.Wait(ctx) // for what was accepted in between
}

// admit returns ErrClosed for what is published in n after Close began,
// unless it belongs to the work that was accepted before: while Close waits,
// what is published in a handler, and after that, what a late one publishes.
// (Whether a handler has returned meanwhile is not looked at: to note that
// would cost every publish an atomic write.)
func (b *EventBus) admit(n *node) error {
	if b.closed.Load() && !n.within(b, b.drained.Load()) {
		return ErrClosed
	}
	return nil
}

// report passes a failure that has no caller left to the error handler.
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

// A failure is an error, and the context of the handler that it is from.
type failure struct {
	ctx context.Context
	bus *EventBus
	err error
}

// report passes failures that have no caller left to the error handlers.
func report(failures []failure) {
	for _, f := range failures {
		f.bus.report(f.ctx, f.err)
	}
}
