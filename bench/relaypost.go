package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/relay"
)

// A relayBroker is one to measure on.
type relayBroker struct {
	name  string
	skip  string // why it cannot be measured here; or ""
	start func() (url string, stop func() error, err error)
	bare  func(url string) (*barePost, error)
}

// runs numbers the topics.
var runs atomic.Int64

// began tells the topics of this process from those of earlier ones.
var began = time.Now().Unix()

func nextRun() string { return fmt.Sprintf("bench-%d-%d", began, runs.Add(1)) }

// A relayPost is ours: a bus, with a handler that is subscribed through the
// broker.
type relayPost struct {
	bus     *tidings.EventBus
	relay   *relay.Relay
	handled func()
}

func newRelayPost(url string) (post, error) {
	var registry tidings.Registry
	tidings.Register[Billed](&registry, billedName, billedVersion)
	r, err := relay.Open(context.Background(), url, &registry, relay.WithPrefix(nextRun()+"."))
	if err != nil {
		return nil, err
	}
	p := &relayPost{bus: tidings.New(), relay: r}
	tidings.Subscribe(p.bus, func(context.Context, Billed) error {
		p.handled()
		return nil
	}, tidings.Named(jobKind), tidings.Via(r))
	return p, nil
}

func (p *relayPost) open(context.Context) error { return nil } // the first publish does that

func (p *relayPost) publish(ctx context.Context) error { return publishBills(ctx, p.bus, 1) }

func (p *relayPost) consume(ctx context.Context, handled func()) error {
	p.handled = handled
	return p.relay.Start(ctx)
}

func (p *relayPost) close(ctx context.Context) error {
	return errors.Join(p.relay.Close(ctx), p.bus.Close(ctx))
}

// A barePost is an adapter of Watermill, with messages that were made
// beforehand: the same body and metadata, with an ID of its own.
type barePost struct {
	topic      string
	publisher  message.Publisher
	subscriber message.Subscriber
	then       func() error // closes what the adapter leaves open
	message    *message.Message
	decode     func([]byte) error // nil: it is not looked at
	consuming  sync.WaitGroup
	stop       chan struct{}
}

func newBarePost(topic string, p message.Publisher, s message.Subscriber) (*barePost, error) {
	m, err := billMessage()
	if err != nil {
		return nil, err
	}
	return &barePost{topic: topic, publisher: p, subscriber: s, then: func() error { return nil }, message: m, stop: make(chan struct{})}, nil
}

func (p *barePost) open(context.Context) error {
	if i, ok := p.subscriber.(message.SubscribeInitializer); ok {
		return i.SubscribeInitialize(p.topic)
	}
	return nil
}

func (p *barePost) publish(ctx context.Context) error {
	m := message.NewMessageWithContext(ctx, p.message.UUID, p.message.Payload)
	m.Metadata = p.message.Metadata
	return p.publisher.Publish(p.topic, m)
}

func (p *barePost) consume(_ context.Context, handled func()) error {
	messages, err := p.subscriber.Subscribe(context.Background(), p.topic)
	if err != nil {
		return err
	}
	p.consuming.Go(func() {
		for {
			select {
			case <-p.stop:
				return
			case m, ok := <-messages:
				if !ok {
					return
				}
				if p.decode != nil {
					if err := p.decode(m.Payload); err != nil {
						panic(err) // it is what billMessage made
					}
				}
				handled()
				m.Ack()
			}
		}
	})
	return nil
}

func (p *barePost) close(context.Context) error {
	close(p.stop)
	p.consuming.Wait()
	return errors.Join(p.subscriber.Close(), p.publisher.Close(), p.then())
}

// billMessage returns the message that a relay makes of an event.
func billMessage() (*message.Message, error) {
	var registry tidings.Registry
	tidings.Register[Billed](&registry, billedName, billedVersion)
	c := &capture{}
	r, err := relay.New(c, &registry)
	if err != nil {
		return nil, err
	}
	bus := tidings.New(tidings.WithTransport(r))
	if err := publishBills(context.Background(), bus, 1); err != nil {
		return nil, err
	}
	return c.message, errors.Join(r.Close(context.Background()), bus.Close(context.Background()))
}

// decodeBill reads the message as one would without tidings.
func decodeBill(body []byte) error {
	var e plainEvent
	return json.Unmarshal(body, &e)
}

// A capture is a broker that keeps a message.
type capture struct{ message *message.Message }

func (c *capture) Publish(_ string, messages ...*message.Message) error {
	c.message = messages[0]
	return nil
}

func (c *capture) Enqueue(relay.Group, ...*message.Message) error {
	return errors.New("nobody consumes")
}

func (c *capture) Subscriber(context.Context, relay.Group) (message.Subscriber, error) {
	return nil, errors.New("nobody consumes")
}

func (c *capture) Topic(name string) string { return name }
func (c *capture) Close() error             { return nil }
