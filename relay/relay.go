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
	receiving *tidings.EventBus // whose handlers are the calls of Receive
	started   bool
	unstarted *time.Timer     // see warnUnstarted
	closing   bool            // no consumer is added
	ctx       context.Context // for handlers; set by Start
	cancel    context.CancelFunc

	running      sync.WaitGroup // consumers
	disconnected chan struct{}  // closed when the broker is

	firstLetterWithin, nextLetterWithin, deadAckWait time.Duration // see Redrive
}

var _ tidings.Transport = (*Relay)(nil)

// New returns a relay through a broker that [Open] does not know. Events must be
// in registry. The relay closes the broker, even if New fails.
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
	// The handlers of receiving pass events on, and keep none.
	r := &Relay{registry: registry, receiving: tidings.New(tidings.WithSharedEvents()), consumers: map[string]*consumer{}, config: config{maxSize: defaultMaxSize},
		disconnected: make(chan struct{}), firstLetterWithin: firstLetterWithin, nextLetterWithin: nextLetterWithin, deadAckWait: deadAckWait}
	for _, o := range opts {
		if o == nil {
			return nil, errors.New("relay: a nil Option")
		}
		o.apply(&r.config)
	}
	if !aName.MatchString(r.config.prefix) {
		return nil, fmt.Errorf("relay: WithPrefix(%q) is used in the names of topics and queues: it may only contain letters, digits and ._/:-", r.config.prefix)
	}
	return r, nil
}

// Phase returns [tidings.AfterCommit]: an event that a broker has accepted
// cannot be rolled back.
func (r *Relay) Phase() tidings.Phase { return tidings.AfterCommit }

// Handle registers a handler. It returns an error if its EventType is not registered,
// if its name would share the queues of another handler at the broker, or if the relay
// is closed. After [Relay.Start] the handler begins to fetch events; if the broker does
// not answer, that is logged and retried.
func (r *Relay) Handle(h tidings.Handler) (stop func(), err error) {
	if h.EventType.Kind() != reflect.Interface {
		if _, err := r.registeredName(h.EventType); err != nil {
			return nil, err
		}
	}
	c, err := newConsumer(r, h)
	if err != nil {
		return nil, err
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	r.mu.Lock()
	if r.closing {
		r.mu.Unlock()
		return nil, fmt.Errorf("relay: the handler %q: %w", h.Name, ErrClosed)
	}
	for _, other := range r.consumers {
		if err := c.checkOther(other); err != nil {
			r.mu.Unlock()
			return nil, err
		}
	}
	started := r.started
	r.consumers[h.Name] = c
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

// isA reports whether events of typ, a struct, are events of eventType.
func isA(typ, eventType reflect.Type) bool {
	return typ == eventType || eventType.Kind() == reflect.Interface && typ.Implements(eventType)
}

// forget drops a consumer that has stopped.
func (r *Relay) forget(c *consumer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.consumers[c.Name] == c {
		delete(r.consumers, c.Name)
	}
}

func (r *Relay) logger() *slog.Logger {
	if r.config.logger != nil {
		return r.config.logger
	}
	return slog.Default()
}
