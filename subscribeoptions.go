package tidings

import "fmt"

// A SubscribeOption configures one subscription, see [Subscribe]: [Named], [Once], a
// [Phase], [Async], [Via], [Attempts], [Backoff], [Timeout], a [Middleware], and
// options of the transport.
type SubscribeOption interface{ subscribe(*settings) }

type subscribeOption func(*settings)

func (o subscribeOption) subscribe(s *settings) { o(s) }

// SubscribeOptions combines several options into one, for code that takes one option
// from its caller:
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
	nameFor    string  // the option that requires a name; "": none
	handler    Handler // for the transport
}

// Named gives the handler a lasting name. Errors and [EventBus.Subscriptions] show
// the name, and transports store jobs and name queues by it, so it should not change
// when the code is refactored. Only one handler of a bus can have a given name. Named
// panics if name is empty.
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

// RequireName makes [Subscribe] panic if the handler is not [Named]. It is for
// packages whose options store something under the handler's name. by names the
// option that needs the name, such as "eventlog: Inbox"; the panic message quotes it.
func RequireName(by string) SubscribeOption {
	return subscribeOption(func(s *settings) { s.nameFor = by })
}

// Once ends the subscription after the first event for which the handler is called,
// whether the handler fails or not. If several events are published at once, the
// handler gets only one of them. An event that a [Middleware] does not pass on to the
// handler does not count. A middleware that retries calls the handler again for the
// same event.
func Once() SubscribeOption {
	return subscribeOption(func(s *settings) { s.once = true })
}

// Via makes the transport t run the handler. The handler must be [Named], and cannot
// have a [Phase]: the transport's phase applies. Via panics if t is nil, is not
// comparable, or has a phase in which a transport cannot send.
func Via(t Transport) SubscribeOption {
	mustNotBeNil(t == nil, "Via", "Transport")
	mustBeSound(t)
	return subscribeOption(func(s *settings) { s.via(t) })
}

// TransportOption returns an option for the transport that runs the handler. The
// transport finds value in [Handler].Options. Packages with a [Transport] use it to
// define their own options. In error messages, the String method of value names the
// option. [Subscribe] panics if the handler has such an option but no transport.
func TransportOption(value fmt.Stringer) SubscribeOption {
	mustNotBeNil(value == nil, "TransportOption", "value")
	return subscribeOption(func(s *settings) { s.handler.Options = append(s.handler.Options, value) })
}

// Async runs the handler on a background worker of this process, after the commit. The
// handler gets one event at a time, in the order of publishing. The publisher does not
// wait for the handler, nor for space in the queue: [WithQueueLimit] makes a full queue
// refuse events. The bus's error handler gets the handler's failures.
//
// The handler's context carries the values of the publisher's context, but neither
// its cancellation nor its transaction. [WithMaxDepth] limits chains of events
// through Async handlers too: a longer chain ends with [ErrMaxDepth]. A handler that
// runs forever by publishing to itself must publish with a context from outside the
// handler.
//
// The queue is in memory: events in it are lost when the process dies.
// [EventBus.Close] waits until it is empty.
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

// finish checks the options against each other, and settles the transport and the
// phase.
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
