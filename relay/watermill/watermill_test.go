package watermill_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/testmain"
	"github.com/tidings-go/tidings/relay"
	"github.com/tidings-go/tidings/relay/internal/testhook"
	"github.com/tidings-go/tidings/relay/relaytest"
	"github.com/tidings-go/tidings/relay/watermill"
)

func TestMain(m *testing.M) { testmain.Run(m) }

func init() {
	relay.RegisterBroker("bridge", func(ctx context.Context, target relay.Target) (relay.Broker, error) {
		b, err := open(ctx, "memory://"+target.URL.Host)
		if err != nil {
			return nil, err
		}
		return watermill.New(b), nil
	})
}

// broker is the broker in memory, in terms of Watermill. It counts the
// Subscribers that are open.
type broker struct {
	watermill.Broker
	refuse error // by Subscribe
	close  error // by Close of a Subscriber

	mu   sync.Mutex
	open int
	all  int
}

func newBroker(t *testing.T, url string) *broker {
	t.Helper()
	b, err := open(t.Context(), url)
	require.NoError(t, err)
	return b
}

func open(ctx context.Context, url string) (*broker, error) {
	r, err := relay.Open(ctx, url, new(tidings.Registry))
	if err != nil {
		return nil, err
	}
	return &broker{Broker: bridge{testhook.Broker(r).(relay.Broker)}}, nil
}

func (b *broker) Subscriber(ctx context.Context, group relay.Group) (message.Subscriber, error) {
	s, err := b.Broker.Subscriber(ctx, group)
	b.count(1)
	return &subscriber{s, b}, err
}

func (b *broker) count(change int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open += change
	b.all += max(0, change)
}

// subscribers returns how many are open, and how many there were.
func (b *broker) subscribers() (open, all int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.open, b.all
}

type subscriber struct {
	message.Subscriber
	broker *broker
}

func (s *subscriber) SubscribeInitialize(topic string) error {
	return s.Subscriber.(message.SubscribeInitializer).SubscribeInitialize(topic)
}

func (s *subscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	if err := s.broker.refuse; err != nil {
		return nil, err
	}
	return s.Subscriber.Subscribe(ctx, topic)
}

func (s *subscriber) Close() error {
	s.broker.count(-1)
	return errors.Join(s.Subscriber.Close(), s.broker.close)
}

func newURL() string { return "memory://" + uuid.NewString() }

var group = relay.Group{Name: "g"}

func TestSuite(t *testing.T) {
	t.Parallel()
	name := uuid.NewString()
	relaytest.Test(t, relaytest.Server{
		URL:         "bridge://" + name,
		RemoveTopic: func(_ *testing.T, topic string) { testhook.Forget("memory://"+name, topic, "") },
		RemoveQueue: func(_ *testing.T, group relay.Group, topic string) {
			testhook.Forget("memory://"+name, topic, group.Name)
		},
	})
}

// All calls for a group share a Subscriber, which is closed when the group
// consumes nothing more.
func TestOneSubscriber(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newBroker(t, newURL())
		b := watermill.New(w)
		require.NoError(t, b.Declare(t.Context(), group, "topic"))
		require.NoError(t, b.Declare(t.Context(), group, "topic"))
		ctx, end := context.WithCancel(t.Context())
		var got []string
		var all []<-chan error
		for range 3 {
			ended, err := b.Consume(ctx, group, "topic", func(m *relay.Message) bool {
				got = append(got, m.ID+string(m.Body)+m.Metadata["k"])
				return len(got) > 1 // the first one again
			})
			require.NoError(t, err)
			all = append(all, ended)
		}
		require.NoError(t, b.Publish(t.Context(), "topic", &relay.Message{ID: "1", Body: []byte("a"), Metadata: map[string]string{"k": "v"}}))
		synctest.Wait()
		require.Equal(t, []string{"1av", "1av"}, got)
		open, opened := w.subscribers()
		require.Equal(t, []int{1, 1}, []int{open, opened})

		w.close = errors.New("the server is silent")
		end()
		var errs []error
		for _, ended := range all {
			errs = append(errs, <-ended)
		}
		require.ErrorIs(t, errors.Join(errs...), w.close)
		open, _ = w.subscribers()
		require.Zero(t, open)
		w.close = nil

		require.NoError(t, b.Declare(t.Context(), group, "topic"), "a new one")
		open, opened = w.subscribers()
		require.Equal(t, []int{1, 2}, []int{open, opened})
		require.NoError(t, b.Close())
		open, _ = w.subscribers()
		require.Zero(t, open)
	})
}

// The Subscriber of a group that is only declared is kept as long as that goes on.
func TestDeclaredGroup(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newBroker(t, newURL())
		b := watermill.New(w)
		for range 10 {
			require.NoError(t, b.Declare(t.Context(), group, "topic"))
			time.Sleep(relay.DeclareEvery)
		}
		open, opened := w.subscribers()
		require.Equal(t, []int{1, 1}, []int{open, opened})
		time.Sleep(2 * relay.DeclareEvery)
		synctest.Wait()
		open, _ = w.subscribers()
		require.Zero(t, open)
		require.NoError(t, b.Close())
	})
}

// A subscription that fails or ends by itself leaves nothing behind.
func TestSubscriptionEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		url := newURL()
		w := newBroker(t, url)
		b := watermill.New(w)
		w.refuse = errors.New("no permission")
		_, err := b.Consume(t.Context(), group, "topic", nil)
		require.ErrorIs(t, err, w.refuse)
		w.refuse = nil
		ended, err := b.Consume(t.Context(), group, "topic", func(*relay.Message) bool { return true })
		require.NoError(t, err)
		testhook.Forget(url, "topic", "")
		require.ErrorContains(t, <-ended, "has closed the channel")
		open, _ := w.subscribers()
		require.Zero(t, open)
	})
}

// Consume waits for the verdict on the message that is being handled.
func TestEndWaitsForTheVerdict(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newBroker(t, newURL())
		b := watermill.New(w)
		ctx, end := context.WithCancel(t.Context())
		verdict := make(chan bool)
		handle := func(*relay.Message) bool { return <-verdict }
		ended, err := b.Consume(ctx, group, "topic", handle)
		require.NoError(t, err)
		require.NoError(t, b.Publish(t.Context(), "topic", &relay.Message{ID: "1"}, &relay.Message{ID: "2"}))
		synctest.Wait()
		end()
		synctest.Wait()
		require.Empty(t, ended)
		verdict <- true
		require.NoError(t, <-ended)

		var got []string
		ctx, end = context.WithCancel(t.Context())
		ended, err = b.Consume(ctx, group, "topic", func(m *relay.Message) bool { got = append(got, m.ID); return true })
		require.NoError(t, err)
		synctest.Wait()
		end()
		require.NoError(t, <-ended)
		require.Equal(t, []string{"2"}, got)
	})
}
