package tidings

import "fmt"

// A SubscribeOption configures one subscription, see [Subscribe]: [Named],
// [Once], a [Phase], [Async], [Via], [Attempts], [Backoff], [Timeout], a
// [Middleware], and options of the transport.
type SubscribeOption interface{ subscribe(*settings) }

type subscribeOption func(*settings)

func (o subscribeOption) subscribe(s *settings) { o(s) }

// SubscribeOptions are several options as one, for code that takes one from
// its caller:
//
//	fulfilment.Register(bus, db, tidings.SubscribeOptions{tidings.Via(r), log.Inbox()})
type SubscribeOptions []SubscribeOption

func (opts SubscribeOptions) subscribe(s *settings) {
	for _, o := range opts {
		if o == nil {
			panic("tidings: Subscribe with a nil SubscribeOption")
		}
		o.subscribe(s)
	}
}

// settings collects the options of one subscription.
type settings struct {
	sub        *Subscription
	once       bool
	phased     bool
	middleware []Middleware
	nameFor    string  // what requires a name; "": nothing
	handler    Handler // for the transport
}

// Named gives the handler a name that outlives refactoring: it is what
// errors and [EventBus.Subscriptions] show, and what a transport binds
// stored jobs and queues to. A name is used once per bus.
func Named(name string) SubscribeOption {
	if name == "" {
		panic(`tidings: Named(""): give the handler a name like "clients.onboard"`)
	}
	return subscribeOption(func(s *settings) {
		if s.sub.named && s.sub.name != name {
			panic(fmt.Sprintf("tidings: Subscribe with two names, %q and %q", s.sub.name, name))
		}
		s.sub.name, s.sub.named = name, true
	})
}

// RequireName has [Subscribe] panic if the handler is not [Named]. It is for
// packages whose options keep something under the handler's name: by says
// what needs one, in a few words, such as "eventlog: Inbox".
func RequireName(by string) SubscribeOption {
	return subscribeOption(func(s *settings) { s.nameFor = by })
}

// Once ends the subscription with the first event that the handler is called
// for, whether or not it fails. Of several events published at once, that is
// one. An event that a [Middleware] keeps from the handler does not count, and a
// middleware that tries again calls the handler again, for the same event.
func Once() SubscribeOption {
	return subscribeOption(func(s *settings) { s.once = true })
}

// Via lets t run the handler. The handler must be [Named], and has no
// [Phase] of its own: the transport's phase applies.
func Via(t Transport) SubscribeOption {
	mustNotBeNil(t == nil, "Via", "Transport")
	mustBeSound(t)
	return subscribeOption(func(s *settings) { s.via(t) })
}

// TransportOption returns an option for the transport that runs the handler, which
// gets value in [Handler].Options. It is for packages with a [Transport] that
// have options of their own. value says what it is in error messages: it has a
// String method. Without a transport, [Subscribe] panics.
func TransportOption(value fmt.Stringer) SubscribeOption {
	mustNotBeNil(value == nil, "TransportOption", "value")
	return subscribeOption(func(s *settings) { s.handler.Options = append(s.handler.Options, value) })
}

// Async runs the handler on a worker of this process, after the commit:
// one event at a time, in the order of publishing. The publisher does not
// wait, and never for room in the queue, see [WithQueueLimit]. Failures go
// to the bus's error handler. The handler's context has the values of the
// publisher's, but neither its cancellation nor its transaction, and events
// that handlers publish with it are nested as everywhere: a chain that is longer
// than [WithMaxDepth] ends with [ErrMaxDepth]. A handler that goes on for ever by
// publishing to itself does so with a context from outside. What is queued when
// the process dies is lost; [EventBus.Close] drains it.
func Async() SubscribeOption {
	return subscribeOption(func(s *settings) { s.via(s.sub.bus.async) })
}

func (p Phase) subscribe(s *settings) {
	if p < 0 || p >= phases {
		panic(fmt.Sprintf("tidings: Subscribe with an unknown phase, %v", p))
	}
	if s.phased && s.sub.phase != p {
		panic(fmt.Sprintf("tidings: Subscribe with two phases, %v and %v", s.sub.phase, p))
	}
	s.sub.phase, s.phased = p, true
}

func (m Middleware) subscribe(s *settings) {
	mustNotBeNil(m == nil, "Subscribe", "Middleware")
	s.middleware = append(s.middleware, m)
}

func (s *settings) via(t Transport) {
	if s.sub.transport != nil && s.sub.transport != t {
		panic(fmt.Sprintf("tidings: Subscribe with two transports, %T and %T", s.sub.transport, t))
	}
	s.sub.transport = t
}

// finish settles what the options say together.
func (s *settings) finish() {
	sub := s.sub
	async := sub.bus.async
	if s.nameFor != "" && !sub.named {
		panic(fmt.Sprintf("tidings: Subscribe: %s needs a name that lasts, and %s is that of a function: add tidings.Named(%[2]q) or the like", s.nameFor, sub.name))
	}
	switch {
	case sub.transport == nil && !s.phased:
		sub.transport = sub.bus.transport // often nil
	case sub.transport != nil && s.phased:
		panic(fmt.Sprintf("tidings: Subscribe with %v and a transport: the transport's own phase counts; leave one of them out", sub.phase))
	}
	switch {
	case sub.transport == nil && len(s.handler.Options) > 0:
		panic(fmt.Sprintf("tidings: Subscribe: %v needs a transport: add tidings.Via", s.handler.Options[0]))
	case sub.transport == nil:
		return
	case sub.transport == async:
	case !sub.named:
		panic(fmt.Sprintf("tidings: Subscribe: %s goes through %T, which binds to the handler's name: add tidings.Named(%q) or the like", sub.name, sub.transport, sub.name))
	case s.once:
		panic(fmt.Sprintf("tidings: Subscribe: Once counts in this process, and %T may deliver in another: leave one of them out", sub.transport))
	}
	sub.phase = sub.transport.Phase()
	if !sub.named {
		sub.serial = async.serial.Add(1)
	}
}
