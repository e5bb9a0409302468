package relay_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/relay"
	"github.com/tidings-go/tidings/relay/internal/testhook"
)

type ordered struct {
	tidings.DomainEvent
	Number int
}

type shipped struct {
	tidings.DomainEvent
	Number int
}

type wordy struct {
	tidings.DomainEvent
	Text string
}

type unregistered struct{ tidings.DomainEvent }

const (
	orderedName = "shop.ordered"
	shippedName = "shop.shipped"
)

func newRegistry() *tidings.Registry {
	registry := new(tidings.Registry)
	tidings.Register[ordered](registry, orderedName, 2)
	tidings.Register[shipped](registry, shippedName, 1)
	tidings.Register[wordy](registry, "shop.wordy", 1)
	return registry
}

// A rig is a relay on a broker of the test.
type rig struct {
	*relay.Relay
	t      *testing.T
	broker *broker
	bus    *tidings.EventBus
	logs   *logs
	began  time.Time

	mu       sync.Mutex
	reported []error // to the bus
}

// newRig returns a relay that is closed at the end of the test.
func newRig(t *testing.T, opts ...relay.Option) *rig {
	t.Helper()
	return newRigOn(t, newBroker(t), opts...)
}

func newRigOn(t *testing.T, b *broker, opts ...relay.Option) *rig {
	t.Helper()
	g := &rig{t: t, broker: b, logs: &logs{}, began: time.Now()}
	logger := slog.New(slog.NewTextHandler(g.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	r, err := relay.New(b, newRegistry(), append([]relay.Option{relay.WithLogger(logger)}, opts...)...)
	require.NoError(t, err)
	g.Relay = r
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.NoError(t, r.Close(ctx))
	})
	g.bus = tidings.New(tidings.WithErrorHandler(func(_ context.Context, err error) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.reported = append(g.reported, err)
	}), tidings.WithLogger(logger))
	return g
}

func (g *rig) start() {
	g.t.Helper()
	require.NoError(g.t, g.Start(g.t.Context()))
}

// handle subscribes a handler of ordered.
func (g *rig) handle(name string, handler func(context.Context, ordered) error, opts ...tidings.SubscribeOption) *tidings.Subscription {
	return tidings.Subscribe(g.bus, handler, tidings.Named(name), tidings.Via(g.Relay), tidings.SubscribeOptions(opts))
}

func (g *rig) publish(numbers ...int) {
	g.t.Helper()
	for _, n := range numbers {
		require.NoError(g.t, tidings.Publish(g.t.Context(), g.bus, ordered{Number: n}))
	}
}

// since returns the seconds since the rig was made.
func (g *rig) since() time.Duration { return time.Since(g.began) }

func (g *rig) errs() []error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]error(nil), g.reported...)
}

// letters returns the dead letters of a handler, and leaves them.
func (g *rig) letters(handler string) []relay.DeadLetter {
	g.t.Helper()
	var letters []relay.DeadLetter
	_, err := g.Redrive(g.t.Context(), handler, func(d relay.DeadLetter) relay.Verdict {
		letters = append(letters, d)
		return relay.Keep
	})
	require.NoError(g.t, err)
	return letters
}

// pass lets time pass in a bubble of synctest, and what is due happen.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// times are those at which something happened, since the rig was made.
type times struct {
	g  *rig
	mu sync.Mutex
	at []time.Duration
}

// add returns how many there are.
func (c *times) add() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = append(c.at, c.g.since())
	return len(c.at)
}

func (c *times) all() []time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]time.Duration(nil), c.at...)
}

// logs are what a relay logs, in text.
type logs struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logs) count(what string) int { return strings.Count(l.String(), what) }

// A broker is one in memory that can refuse and cut off.
type broker struct {
	relay.Broker

	mu            sync.Mutex
	onPublish     func(topic string, m *relay.Message) error // nil: accepts
	onSubscriber  func(relay.Group) error                    // by Declare
	onInitialize  func(group, topic string) error            // by Declare
	onSubscribe   func(group, topic string) error            // by Consume
	onClose       func(group string) error                   // when a group consumes no more
	onBrokerClose func()
	published     map[string]int // by topic, refused ones also
	subscribed    map[string]int // by group and topic
	groups        []relay.Group
	cancels       map[string][]context.CancelFunc // of subscriptions, by group
	consuming     map[string]int                  // the same, that have not ended
	closes        int
	closeErr      error
}

func newBroker(t *testing.T) *broker {
	t.Helper()
	r, err := relay.Open(t.Context(), newURL(), newRegistry())
	require.NoError(t, err)
	return &broker{
		Broker: brokerOf(r), published: map[string]int{}, subscribed: map[string]int{}, cancels: map[string][]context.CancelFunc{}, consuming: map[string]int{},
	}
}

func brokerOf(r *relay.Relay) relay.Broker { return testhook.Broker(r).(relay.Broker) }

// newURL returns that of a broker of this process that nobody else has.
func newURL() string { return "memory://" + uuid.NewString() }

var errRefused = errors.New("the broker refuses")

// set changes the broker under its lock.
func (b *broker) set(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
}

func (b *broker) Publish(ctx context.Context, topic string, messages ...*relay.Message) error {
	return b.pass(topic, messages, func(m *relay.Message) error { return b.Broker.Publish(ctx, topic, m) })
}

func (b *broker) Enqueue(ctx context.Context, group relay.Group, messages ...*relay.Message) error {
	return b.pass(b.Topic(group.Name), messages, func(m *relay.Message) error { return b.Broker.Enqueue(ctx, group, m) })
}

func (b *broker) pass(topic string, messages []*relay.Message, on func(*relay.Message) error) error {
	for _, m := range messages {
		b.mu.Lock()
		b.published[topic]++
		onPublish := b.onPublish
		b.mu.Unlock()
		if onPublish != nil {
			if err := onPublish(topic, m); err != nil {
				return err
			}
		}
		if err := on(m); err != nil {
			return err
		}
	}
	return nil
}

func (b *broker) count(topic string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.published[topic]
}

// asked returns the groups that were declared.
func (b *broker) asked() []relay.Group {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.groups)
}

// subscriptions returns how often there was a Consume, by group and topic.
func (b *broker) subscriptions() map[string]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.subscribed)
}

func (b *broker) Declare(ctx context.Context, g relay.Group, topic string) error {
	b.mu.Lock()
	if !slices.Contains(b.groups, g) {
		b.groups = append(b.groups, g)
	}
	onSubscriber, onInitialize := b.onSubscriber, b.onInitialize
	b.mu.Unlock()
	if onSubscriber != nil {
		if err := onSubscriber(g); err != nil {
			return err
		}
	}
	if onInitialize != nil {
		if err := onInitialize(g.Name, topic); err != nil {
			return err
		}
	}
	return b.Broker.Declare(ctx, g, topic)
}

func (b *broker) Consume(ctx context.Context, g relay.Group, topic string, handle func(*relay.Message) bool) (<-chan error, error) {
	ctx, cancel := context.WithCancel(ctx)
	b.mu.Lock()
	b.cancels[g.Name] = append(b.cancels[g.Name], cancel)
	b.subscribed[g.Name+" "+topic]++
	onSubscribe := b.onSubscribe
	b.mu.Unlock()
	if onSubscribe != nil {
		if err := onSubscribe(g.Name, topic); err != nil {
			return nil, err
		}
	}
	inner, err := b.Broker.Consume(ctx, g, topic, handle)
	if err != nil {
		return nil, err
	}
	b.set(func() { b.consuming[g.Name]++ })
	ended := make(chan error, 1)
	go func() {
		err := <-inner
		b.mu.Lock()
		b.consuming[g.Name]--
		last, onClose := b.consuming[g.Name] == 0, b.onClose
		b.mu.Unlock()
		if last && onClose != nil {
			err = errors.Join(err, onClose(g.Name))
		}
		ended <- err
	}()
	return ended, nil
}

func (b *broker) Close() error {
	b.mu.Lock()
	b.closes++
	onBrokerClose, err := b.onBrokerClose, b.closeErr
	b.mu.Unlock()
	if onBrokerClose != nil {
		onBrokerClose()
	}
	return err
}

// cut ends the subscriptions of a group.
func (b *broker) cut(group string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, cancel := range b.cancels[group] {
		cancel()
	}
	b.cancels[group] = nil
}

func reflectType[E tidings.Event]() reflect.Type { return reflect.TypeFor[E]() }

// send sends an event for a handler past the bus.
func (g *rig) send(handler string, number int) {
	g.t.Helper()
	e := tidings.Stamp(g.t.Context(), ordered{Number: number})
	encoded, err := g.Encode(g.t.Context(), tidings.Outgoing{Event: e})
	require.NoError(g.t, err)
	require.NoError(g.t, g.Send(g.t.Context(), []tidings.Outgoing{{Event: e, Handlers: []string{handler}, Encoded: encoded}}))
}

func newMessage(id string, body []byte) *relay.Message {
	return &relay.Message{ID: id, Body: body, Metadata: map[string]string{}}
}
