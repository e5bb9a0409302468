package tidings

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/tidings-go/tidings/internal/testhook"
)

// An EventBus carries events to their handlers. Make one with [New]; the
// zero EventBus is not usable. All of its methods, and [Publish] and
// [Subscribe], are safe to call concurrently and inside a handler.
type EventBus struct {
	config

	// topics holds one registry per event type. Publishers load the map
	// without a lock; it is replaced under mu and never changed.
	topics  atomic.Pointer[map[typeID]anyTopic]
	closed  atomic.Bool // Close was called
	gaveUp  atomic.Bool // and has returned before it was done
	drained atomic.Bool // and has nothing more to wait for

	inflight inflight
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
	b.topics.Store(&map[typeID]anyTopic{})
	b.async = newAsyncTransport(b)
	b.inflight.token.Store(&token{})
	return b
}

func init() {
	testhook.Drain = func(ctx context.Context, bus any) error { return bus.(*EventBus).inflight.wait(ctx, &token{}) }
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

// Publish stamps event, unless it is stamped, and gives it to the handlers
// that are subscribed to its type, or to an interface that it implements.
//
// Outside a transaction all of them run now, in this goroutine and in the
// order of subscription; Publish returns what failed, each as a
// [*HandlerError], joined with [errors.Join]. Inside a transaction ([InTx],
// [Transact], [Begin]) InTransaction handlers run now and Publish returns
// the first failure; the others wait for the commit, and their failures go
// to the bus's error handler.
//
// The error is ctx.Err() for a cancelled ctx (if it is cancelled while
// handlers run, the remaining ones are skipped and the error says so), and
// wraps [ErrClosed], [ErrTxDone] or [ErrMaxDepth] where those apply. An
// event type through which handlers could share memory is refused, see
// [Event]; no handler runs then.
//
// Publish is safe to call concurrently. Inside a handler it is immediate
// and depth first.
func Publish[E Event](ctx context.Context, bus *EventBus, event E) error {
	if bus == nil {
		return errNilBus
	}
	if ctx == nil {
		return errNilContext
	}
	topics := bus.topics.Load()
	if topics == nil {
		return errZeroBus("Publish")
	}
	if t, ok := (*topics)[idOf(reflect.TypeFor[E]())].(*topic[E]); ok {
		return t.publish(ctx, &event)
	}
	return publishUnknown(ctx, bus, event)
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

// publishUnknown publishes the first event of a type, and events whose
// static type is an interface.
func publishUnknown[E Event](ctx context.Context, bus *EventBus, event E) error {
	if reflect.TypeFor[E]().Kind() != reflect.Interface {
		return topicFor[E](bus).publish(ctx, &event)
	}
	if any(event) == nil {
		return errNilEvent
	}
	return bus.topicOf(event).publishBoxed(ctx, event)
}

// topicFor returns the registry of E, which is no interface.
func topicFor[E Event](bus *EventBus) *topic[E] {
	typ := reflect.TypeFor[E]()
	if t, ok := (*bus.topics.Load())[idOf(typ)].(*topic[E]); ok {
		return t
	}
	bus.mu.Lock()
	defer bus.mu.Unlock()
	// Only boxed events of this type were seen so far, if any.
	if t, ok := (*bus.topics.Load())[idOf(typ)].(*topic[E]); ok {
		return t
	}
	t := newTopic[E](bus, typ)
	bus.addTopicLocked(typ, t)
	return t
}

// topicOf returns the registry for the dynamic type of event.
func (b *EventBus) topicOf(event Event) anyTopic {
	typ := reflect.TypeOf(event)
	if t, ok := (*b.topics.Load())[idOf(typ)]; ok {
		return t
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if t, ok := (*b.topics.Load())[idOf(typ)]; ok {
		return t
	}
	t := newTopic[Event](b, typ)
	b.addTopicLocked(typ, t)
	return t
}

func (b *EventBus) addTopicLocked(typ reflect.Type, t anyTopic) {
	for _, sub := range b.subs {
		if sub.accepts(typ) {
			t.add(sub)
		}
	}
	topics := maps.Clone(*b.topics.Load())
	if boxed := topics[idOf(typ)]; boxed != nil {
		boxed.retire()
	}
	topics[idOf(typ)] = t
	b.topics.Store(&topics)
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
// Close finds out with the help of the garbage collector whether publishers
// are still at work, which it therefore runs, once or a few times.
//
// Close does not wait for open transactions. What is queued in one was
// accepted, so its handlers are called at the commit, may publish, and run
// into whatever was shut down after Close; Async ones are not, and reported
// with ErrClosed. Inside a handler of b Close would wait for itself: with a
// handler's context it returns an error at once.
func (b *EventBus) Close(ctx context.Context) error {
	b.closed.Store(true)
	b.inflight.replace(nil)
	if nodeFrom(ctx).within(b, false) {
		return errors.New("tidings: Close inside a handler of the same bus would wait for itself: call it with a context from outside (new events are refused from now on)")
	}
	if err := b.inflight.wait(ctx, nil); err != nil {
		b.gaveUp.Store(true)
		return err
	}
	b.drained.Store(true)
	return b.inflight.wait(ctx, nil) // for what was accepted in between
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
