package tidings

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
)

// A Subscription is one handler subscribed on one bus. Its methods are safe to call
// concurrently and inside a handler.
type Subscription struct {
	bus       *EventBus
	event     reflect.Type // E: a struct or an interface
	name      string
	phase     Phase
	named     bool
	removed   atomic.Bool
	transport Transport  // nil: called by the publisher
	stop      func()     // of transport; or nil
	serial    uint64     // distinguishes Async handlers without a name; otherwise 0
	callers   [3]uintptr // program counters of the call of Subscribe, and of its callers

	call handlerCall
	// handler is a func(context.Context, E) error, and appendFuncs is
	// appendHandlers[E]. Both are nil if the bus must do more than call the function.
	handler     any
	appendFuncs func(funcs any, l lane) any
}

// Unsubscribe ends the subscription. Once it has returned, the handler gets no event
// that is published later, and no event of a transaction that commits later. If the bus
// is running the handlers of a phase at that moment, it still runs all of those that it
// began with.
//
// [Async] still delivers the events in its queue. Another transport that delivers an
// event to the handler gets [ErrUnsubscribed], so that it can keep the event.
//
// Unsubscribe is idempotent. It is safe to call concurrently and inside any handler,
// even inside the handler that it removes.
func (s *Subscription) Unsubscribe() {
	if s.bus.unsubscribe(s) && s.stop != nil {
		s.stop()
	}
}

// Active reports whether the subscription has not ended.
func (s *Subscription) Active() bool { return !s.removed.Load() }

// accepts reports whether s handles events of type typ, which is a struct.
func (s *Subscription) accepts(typ reflect.Type) bool {
	return s.event == typ || s.event.Kind() == reflect.Interface && typ.Implements(s.event)
}

// unsubscribe ends the subscription, and reports whether it was active before.
func (b *EventBus) unsubscribe(sub *Subscription) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if sub.removed.Swap(true) {
		return false
	}
	if i := slices.Index(b.subs, sub); i >= 0 {
		b.subs = slices.Delete(b.subs, i, i+1)
	}
	if sub.named {
		delete(b.named, sub.name)
	}
	for t := range b.topicsOfLocked(sub) {
		t.remove(sub)
	}
	return true
}

// topicsOfLocked yields the topics of the event types that sub handles.
func (b *EventBus) topicsOfLocked(sub *Subscription) iter.Seq[*topic] {
	return func(yield func(*topic) bool) {
		topics := b.topics.Load()
		if sub.event.Kind() != reflect.Interface {
			yield(topics.Get(sub.event))
			return
		}
		for _, t := range topics.All {
			if sub.accepts(t.event.typ) && !yield(t) {
				return
			}
		}
	}
}

// key identifies the handler to its transport. It is the handler's name or, for an
// Async handler without one, the function's name and a number.
func (s *Subscription) key() string {
	if s.serial > 0 {
		return fmt.Sprintf("%s\x00%d", s.name, s.serial)
	}
	return s.name
}

// A handlerCall calls a handler with the event of n. ctx is n, or is derived from n.
type handlerCall func(ctx context.Context, n *node) error

// A SubscriptionInfo describes a subscription, see [EventBus.Subscriptions].
type SubscriptionInfo struct {
	EventType reflect.Type // E of Subscribe, a struct or an interface
	Handler   string       // the name given with Named, or the function's
	Phase     Phase        // for a transport: when it gets the event
	Transport Transport    // nil if the publisher calls the handler
	File      string       // where Subscribe was called
	Line      int
}

// Info describes the subscription as [EventBus.Subscriptions] does, even after it has
// ended.
func (s *Subscription) Info() SubscriptionInfo {
	frame := s.place()
	return SubscriptionInfo{
		EventType: s.event, Handler: s.name, Phase: s.phase, Transport: s.transport,
		File: frame.File, Line: frame.Line,
	}
}

// place returns where Subscribe was called. If a module of tidings called it, place
// returns where the application called that module.
func (s *Subscription) place() runtime.Frame {
	frames := runtime.CallersFrames(s.callers[:])
	first, more := frames.Next()
	for frame := first; ; frame, more = frames.Next() {
		ours := func(module string) bool { return strings.HasPrefix(frame.Function, module) }
		if !slices.ContainsFunc(subscribers, ours) {
			return frame
		}
		if !more {
			return first
		}
	}
}

// subscribers are the prefixes of modules with functions that subscribe on behalf of
// their caller.
var subscribers = []string{"github.com/tidings-go/tidings/relay.", "github.com/tidings-go/tidings/eventlog."}

func (i SubscriptionInfo) location() string { return fmt.Sprintf("%s:%d", i.File, i.Line) }

// MarshalJSON implements [json.Marshaler], for pages and logs that show the
// subscriptions. It writes types as %T prints them, and omits transport if the
// publisher calls the handler.
func (i SubscriptionInfo) MarshalJSON() ([]byte, error) {
	info := struct {
		EventType string `json:"event_type"`
		Handler   string `json:"handler"`
		Phase     string `json:"phase"`
		Transport string `json:"transport,omitempty"`
		File      string `json:"file"`
		Line      int    `json:"line"`
	}{Handler: i.Handler, Phase: i.Phase.String(), File: i.File, Line: i.Line}
	if i.EventType != nil {
		info.EventType = i.EventType.String()
	}
	if i.Transport != nil {
		info.Transport = fmt.Sprintf("%T", i.Transport)
	}
	return json.Marshal(info)
}

// functionName returns a name such as "crm.onAccepted" for the function whose entry
// is at pc.
func functionName(pc uintptr) string {
	name := runtime.FuncForPC(pc).Name()
	name = name[strings.LastIndexByte(name, '/')+1:]
	return strings.TrimSuffix(name, "-fm") // a method value
}
