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

// A Subscription is one handler on one bus.
type Subscription struct {
	bus       *EventBus
	event     reflect.Type // E: a struct or an interface
	name      string
	phase     Phase
	named     bool
	removed   atomic.Bool
	transport Transport  // nil: called by the publisher
	stop      func()     // of transport; or nil
	serial    uint64     // tells Async handlers without a name apart; else 0
	callers   [3]uintptr // program counters of the call of Subscribe, and of its callers

	call handlerCall
	// handler is a func(context.Context, E) error, and appendFuncs appendHandlers[E];
	// nil if it takes more than to call it.
	handler     any
	appendFuncs func(funcs any, l lane) any
}

// Unsubscribe ends the subscription: no event that is published after it
// has returned reaches the handler, and no event queued in a transaction
// that commits after it. A phase that is under way goes on to the handlers
// that it began with. What a transport has accepted already is still
// delivered by [Async]; elsewhere it fails, so that the transport keeps it.
// Unsubscribe is idempotent, safe to call concurrently and inside
// any handler, also the one that it removes.
func (s *Subscription) Unsubscribe() {
	if s.bus.unsubscribe(s) && s.stop != nil {
		s.stop()
	}
}

// Active reports whether the subscription has not ended.
func (s *Subscription) Active() bool { return !s.removed.Load() }

// accepts reports whether events of type typ, a struct, are for s.
func (s *Subscription) accepts(typ reflect.Type) bool {
	return s.event == typ || s.event.Kind() == reflect.Interface && typ.Implements(s.event)
}

// unsubscribe reports whether it has ended the subscription.
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

// topicsOfLocked yields the registries of the event types that sub is for.
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

// key identifies the handler to its transport: its name or, for an Async handler
// without one, the function's name and a number.
func (s *Subscription) key() string {
	if s.serial > 0 {
		return fmt.Sprintf("%s\x00%d", s.name, s.serial)
	}
	return s.name
}

// A handlerCall calls a handler for the event of n. ctx is n, or derived from it.
type handlerCall func(ctx context.Context, n *node) error

// A SubscriptionInfo describes a subscription, see [EventBus.Subscriptions].
type SubscriptionInfo struct {
	EventType reflect.Type // E of Subscribe, a struct or an interface
	Handler   string       // the name given with Named, or the function's
	Phase     Phase        // of a transport: when it is handed the event
	Transport Transport    // nil if the publisher calls the handler itself
	File      string       // where Subscribe was called
	Line      int
}

// Info returns what [EventBus.Subscriptions] has of the subscription, also
// when that has ended.
func (s *Subscription) Info() SubscriptionInfo {
	frame := s.place()
	return SubscriptionInfo{
		EventType: s.event, Handler: s.name, Phase: s.phase, Transport: s.transport,
		File: frame.File, Line: frame.Line,
	}
}

// place returns where Subscribe was called, or the function of a module of tidings that
// has called it.
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

// subscribers are modules with functions that subscribe for their caller.
var subscribers = []string{"github.com/tidings-go/tidings/relay.", "github.com/tidings-go/tidings/eventlog."}

func (i SubscriptionInfo) location() string { return fmt.Sprintf("%s:%d", i.File, i.Line) }

// MarshalJSON implements [json.Marshaler], for a page or a log that shows what is
// subscribed. Types are written as %T prints them; transport is left out if the
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

// functionName returns "crm.onAccepted" for the function with that entry.
func functionName(pc uintptr) string {
	name := runtime.FuncForPC(pc).Name()
	name = name[strings.LastIndexByte(name, '/')+1:]
	return strings.TrimSuffix(name, "-fm") // a method value
}
