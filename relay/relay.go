package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidings-go/tidings"
)

// A Relay is a [tidings.Transport] through a message broker. Make one with
// [Open] or [New]; several buses may share it. All methods are safe to call
// concurrently and inside a handler, except that a handler that calls Close
// waits for itself.
type Relay struct {
	broker   Broker
	registry *tidings.Registry
	config   config
	kinds    sync.Map // of types of events: reflect.Type to *kind
	topics   sync.Map // of registered names: string to string

	forwarding atomic.Bool // Forward was called
	warned     atomic.Bool // by warnUnstarted, or there is no reason to
	closed     atomic.Bool // nothing more is sent

	mu        sync.Mutex
	consumers map[string]*consumer // by the handler's name
	forwards  []forward
	receives  []received
	started   bool
	unstarted *time.Timer     // see warnUnstarted
	closing   bool            // no consumer is added
	ctx       context.Context // for handlers; set by Start
	cancel    context.CancelFunc

	running      sync.WaitGroup // consumers
	disconnected chan struct{}  // closed when the broker is

	firstLetterWithin, nextLetterWithin, deadAckWait time.Duration // see Redrive
}

var (
	_ tidings.Encoder     = (*Relay)(nil)
	_ tidings.Broadcaster = (*Relay)(nil)
)

// New returns a relay through a broker that [Open] does not know: any Watermill
// Publisher and Subscriber. Events must be in registry. The relay closes the
// broker, even if New fails.
func New(broker Broker, registry *tidings.Registry, opts ...Option) (*Relay, error) {
	if broker == nil {
		return nil, errors.New("relay: New with a nil Broker")
	}
	r, err := newRelay(registry, opts)
	if err != nil {
		return nil, errors.Join(err, broker.Close())
	}
	r.broker = broker
	return r, nil
}

func newRelay(registry *tidings.Registry, opts []Option) (*Relay, error) {
	if registry == nil {
		return nil, errors.New("relay: a nil Registry: events that are sent need names")
	}
	if err := registry.Validate(); err != nil {
		return nil, fmt.Errorf("relay: %w", err)
	}
	r := &Relay{registry: registry, consumers: map[string]*consumer{}, config: config{maxSize: defaultMaxSize},
		disconnected: make(chan struct{}), firstLetterWithin: firstLetterWithin, nextLetterWithin: nextLetterWithin, deadAckWait: deadAckWait}
	for _, o := range opts {
		if o == nil {
			return nil, errors.New("relay: a nil Option")
		}
		o.apply(&r.config)
	}
	if !aName.MatchString(r.config.prefix) {
		return nil, fmt.Errorf("relay: WithPrefix(%q) becomes a part of topics and queues: use letters, digits and ._/:-", r.config.prefix)
	}
	return r, nil
}

// With returns a view of the relay with its own settings:
//
//	tidings.Via(r.With(relay.Attempts(10), relay.Workers(4)))
func (r *Relay) With(opts ...HandlerOption) tidings.Transport {
	return &view{r, newSettings(opts)}
}

// Phase returns [tidings.AfterCommit]: an event that a broker has accepted
// cannot be rolled back.
func (r *Relay) Phase() tidings.Phase { return tidings.AfterCommit }

// Sender returns r, through which all of its views send.
func (r *Relay) Sender() tidings.Transport { return r }

// Handle is [Relay.HandleType] for a handler that takes all events.
func (r *Relay) Handle(name string, deliver func(context.Context, tidings.Event) error) error {
	_, err := r.HandleType(name, anyEvent, deliver)
	return err
}

// HandleType registers the handler of that name. It returns an error if
// eventType is not registered, if the name would share the queues of another
// handler at the broker, or if the relay is closed. After [Relay.Start] the
// handler begins to fetch events; if the broker does not answer, that is logged
// and retried.
func (r *Relay) HandleType(name string, eventType reflect.Type, deliver func(context.Context, tidings.Event) error) (stop func(), err error) {
	return r.handle(name, newSettings(nil), eventType, deliver)
}

func (r *Relay) handle(name string, s settings, eventType reflect.Type, deliver func(context.Context, tidings.Event) error) (stop func(), err error) {
	if eventType.Kind() != reflect.Interface {
		if _, err := r.registeredName(eventType); err != nil {
			return nil, err
		}
	}
	c := newConsumer(r, name, s, eventType, deliver)
	if err := c.check(); err != nil {
		return nil, err
	}
	r.mu.Lock()
	if r.closing {
		r.mu.Unlock()
		return nil, ErrClosed
	}
	for _, other := range r.consumers {
		if err := c.checkOther(other); err != nil {
			r.mu.Unlock()
			return nil, err
		}
	}
	started := r.started
	r.consumers[name] = c
	if !started && r.unstarted == nil {
		r.unstarted = time.AfterFunc(startWithin, r.warnUnstarted)
	}
	r.mu.Unlock()
	c.warnOfSettings()
	if started {
		c.startSometime(r.ctx)
	}
	return c.stop, nil
}

var anyEvent = reflect.TypeFor[tidings.Event]()

// isA reports whether events of typ, a struct, are events of eventType.
func isA(typ, eventType reflect.Type) bool {
	return typ == eventType || eventType.Kind() == reflect.Interface && typ.Implements(eventType)
}

// forget drops a consumer that has stopped.
func (r *Relay) forget(c *consumer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.consumers[c.name] == c {
		delete(r.consumers, c.name)
	}
}

// A view is the relay for the handlers of one [Relay.With].
type view struct {
	relay *Relay
	settings
}

var _ tidings.Broadcaster = (*view)(nil)

func (v *view) Phase() tidings.Phase      { return v.relay.Phase() }
func (v *view) Sender() tidings.Transport { return v.relay }

func (v *view) Send(ctx context.Context, events []tidings.Outgoing) error {
	return v.relay.Send(ctx, events)
}

func (v *view) Handle(name string, deliver func(context.Context, tidings.Event) error) error {
	_, err := v.HandleType(name, anyEvent, deliver)
	return err
}

func (v *view) HandleType(name string, eventType reflect.Type, deliver func(context.Context, tidings.Event) error) (func(), error) {
	return v.relay.handle(name, v.settings, eventType, deliver)
}

func (r *Relay) logger() *slog.Logger {
	if r.config.logger != nil {
		return r.config.logger
	}
	return slog.Default()
}
