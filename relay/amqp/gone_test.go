package amqp_test

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/relay"
	"github.com/tidings-go/tidings/relay/amqp"
	"github.com/tidings-go/tidings/relay/internal/brokertest"
)

// errorLog keeps the problems that a broker logs.
type errorLog struct {
	mu    sync.Mutex
	lines []string
}

// logger returns a logger that writes to l.
func (l *errorLog) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

func (l *errorLog) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(line))
	return len(line), nil
}

// with returns the lines that have all of these texts.
func (l *errorLog) with(texts ...string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		has := true
		for _, text := range texts {
			has = has && strings.Contains(line, text)
		}
		if has {
			found = append(found, line)
		}
	}
	return found
}

func initialize(t *testing.T, s *brokertest.Subscriber, topic string) {
	t.Helper()
	require.NoError(t, patiently(t, func() error { return s.Declare(topic) }))
}

// bodies takes all that is in a queue.
func bodies(t *testing.T, ch *amqp091.Channel, queue string) (all []string) {
	t.Helper()
	for {
		d, ok, err := ch.Get(queue, true)
		require.NoError(t, err)
		if !ok {
			return all
		}
		all = append(all, string(d.Body))
	}
}

func TestEnqueue(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"classic", "quorum"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			u := serverURL(t)
			log := &errorLog{}
			b := newBroker(t, u, amqp.Config{QueueType: kind, Logger: log.logger()})
			group := relay.Group{Name: newName() + ".dead", AckWait: time.Minute, Workers: 1, Queue: true}
			raw := rawClient(t, u)
			enqueue := func(body string) {
				t.Helper()
				require.NoError(t, b.Enqueue(t.Context(), group, &relay.Message{ID: uuid.NewString(), Body: []byte(body)}))
			}
			enqueue("makes the queue")
			require.Equal(t, []string{"makes the queue"}, bodies(t, raw, group.Name))
			enqueue("goes with the queue")
			_, err := raw.QueueDelete(group.Name, false, false, false)
			require.NoError(t, err)
			enqueue("makes it again")
			enqueue("finds it")
			require.Equal(t, []string{"makes it again", "finds it"}, bodies(t, raw, group.Name))
			require.Len(t, log.with("is created again", group.Name), 1)
			arguments := amqp091.Table{"x-queue-type": kind}
			if kind == "quorum" {
				arguments["x-delivery-limit"] = 1_000_000
			}
			_, err = raw.QueueDeclare(group.Name, true, false, false, false, arguments)
			require.NoError(t, err, "it is as it was at first")
			require.NoError(t, b.Publish(t.Context(), group.Name, &relay.Message{Body: []byte("of an event")}))
			require.Empty(t, bodies(t, raw, group.Name), "an event of that name is not for it")
			require.NoError(t, b.Enqueue(t.Context(), group), "nothing to enqueue")

			_, err = raw.QueueDelete(group.Name, false, false, false)
			require.NoError(t, err)
			m := &relay.Message{ID: "an ID", Body: []byte("has another ID among its metadata"), Metadata: map[string]string{"_watermill_message_uuid": "another ID"}}
			require.NoError(t, b.Enqueue(t.Context(), group, m))
			require.Len(t, bodies(t, raw, group.Name), 1)
		})
	}
}

// Many find a queue deleted at the same time.
func TestEnqueueIntoQueueThatIsDeleted(t *testing.T) {
	t.Parallel()
	u := serverURL(t)
	b, raw := newBroker(t, u, amqp.Config{}), rawClient(t, u)
	group := relay.Group{Name: newName() + ".retry", AckWait: time.Minute, Workers: 1, Queue: true}
	for range 10 {
		const workers = 20
		var all sync.WaitGroup
		for range workers {
			all.Go(func() {
				if err := b.Enqueue(t.Context(), group, &relay.Message{ID: uuid.NewString(), Body: []byte("x")}); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		n, err := raw.QueueDelete(group.Name, false, false, false)
		require.NoError(t, err)
		require.Equal(t, workers, n)
	}
}

// Two messages that the server returns are told from others, also those that
// have no ID.
func TestEnqueueOfMessagesWithoutID(t *testing.T) {
	t.Parallel()
	u := serverURL(t)
	b := newBroker(t, u, amqp.Config{})
	var all sync.WaitGroup
	groups := make([]relay.Group, 20)
	for i := range groups {
		groups[i] = relay.Group{Name: fmt.Sprint(newName(), i), Queue: true}
		for range 3 {
			all.Go(func() {
				if err := b.Enqueue(t.Context(), groups[i], &relay.Message{Body: []byte("x")}, &relay.Message{Body: []byte("y")}); err != nil {
					t.Error(err)
				}
			})
		}
	}
	all.Wait()
	for _, g := range groups {
		n := map[string]int{}
		for _, body := range bodies(t, rawClient(t, u), g.Name) {
			n[body]++
		}
		require.GreaterOrEqual(t, n["x"], 3, "%v", n)
		require.GreaterOrEqual(t, n["y"], 3, "%v", n)
	}
}

// wantGone checks that a topic takes nothing, and says for how long.
func wantGone(t *testing.T, err error) {
	t.Helper()
	require.ErrorContains(t, err, "declare themselves again")
	var after interface{ RetryAfter() time.Duration }
	require.True(t, errors.As(err, &after))
	require.LessOrEqual(t, after.RetryAfter(), amqp.RefuseFor)
}

// accept publishes messages of these bodies until one is accepted, and returns
// when that was.
func accept(t *testing.T, b relay.Broker, topic, body string) time.Time {
	t.Helper()
	require.Eventually(t, func() bool {
		return b.Publish(t.Context(), topic, &relay.Message{ID: uuid.NewString(), Body: []byte(body)}) == nil
	}, amqp.RefuseFor+2*time.Minute, 10*time.Millisecond)
	return time.Now()
}

// Nothing is lost of what a publisher publishes while the groups, which are in
// another process, find out later than it does.
func TestTopicIsGone(t *testing.T) {
	t.Parallel()
	u := serverURL(t)
	var all sync.WaitGroup
	defer all.Wait()
	for _, tt := range []struct {
		name   string
		remove func(*amqp091.Channel, string) error
	}{
		{"exchange", func(ch *amqp091.Channel, topic string) error { return ch.ExchangeDelete(topic, false, false) }},
		{"queues", func(ch *amqp091.Channel, topic string) error {
			_, err1 := ch.QueueDelete("one@"+topic, false, false, false)
			_, err2 := ch.QueueDelete("two@"+topic, false, false, false)
			return errors.Join(err1, err2)
		}},
	} {
		atOnce(t, &all, tt.name, func(t *testing.T) {
			for !testTopicIsGone(t, u, tt.name, tt.remove) {
				t.Log("too slow: the topic was no longer refused; once again")
			}
		})
	}
}

// testTopicIsGone returns false if it was so slow that the topic was no longer
// refused when it was to be.
func testTopicIsGone(t *testing.T, u, name string, remove func(*amqp091.Channel, string) error) bool {
	log := &errorLog{}
	b, topic, others := newBroker(t, u, amqp.Config{Logger: log.logger()}), newName(), newBroker(t, u, amqp.Config{})
	one, two := subscriber(t, others, "one"), subscriber(t, others, "two")
	initialize(t, one, topic)
	initialize(t, two, topic)
	publish(t, b, topic, "before")
	require.NoError(t, remove(rawClient(t, u), topic))
	removed := time.Now()
	refused := func(body string) bool {
		err := b.Publish(t.Context(), topic, &relay.Message{Body: []byte(body)})
		if err == nil && time.Since(removed) >= amqp.RefuseFor {
			return false
		}
		wantGone(t, err)
		return true
	}
	if !refused("lost") || !refused("lost too") {
		return false
	}
	publish(t, b, newName(), "another topic goes on")
	initialize(t, one, topic)
	if !refused("only one would get it") {
		return false
	}
	initialize(t, two, topic)
	require.GreaterOrEqual(t, accept(t, b, topic, "after").Sub(removed), amqp.RefuseFor)
	for _, s := range []*brokertest.Subscriber{one, two} {
		messages := subscribe(t, s, topic)
		m := receive(t, messages)
		if name == "exchange" { // the queue was not deleted
			require.Equal(t, "before", string(m.Body))
			m.Ack()
			m = receive(t, messages)
		}
		require.Equal(t, "after", string(m.Body))
	}
	require.Len(t, log.with("a topic was deleted", topic), 1, "it is said once")
	return true
}

// A topic whose groups do not come back is one to which nobody subscribes.
func TestTopicIsGoneForGood(t *testing.T) {
	t.Parallel()
	u := serverURL(t)
	log := &errorLog{}
	b, topic, others, raw := newBroker(t, u, amqp.Config{Logger: log.logger()}), newName(), newBroker(t, u, amqp.Config{}), rawClient(t, u)
	publish(t, b, topic, "nobody has subscribed yet", "or ever")
	initialize(t, subscriber(t, others, "group"), topic)
	publish(t, b, topic, "before")
	_, err := raw.QueueDelete("group@"+topic, false, false, false)
	require.NoError(t, err)
	wantGone(t, b.Publish(t.Context(), topic, &relay.Message{}))
	accept(t, b, topic, "goes to nobody")
	publish(t, b, topic, "and so on")
	require.NoError(t, raw.ExchangeDelete(topic, false, false))
	wantGone(t, b.Publish(t.Context(), topic, &relay.Message{}))
	accept(t, b, topic, "makes the exchange again")
	require.Len(t, log.with("a topic was deleted", topic), 2)
}

// The subscribers of the publisher's process are told at once.
func TestOwnSubscribersDeclareAgain(t *testing.T) {
	t.Parallel()
	u := serverURL(t)
	b, topic, raw := newBroker(t, u, amqp.Config{}), newName(), rawClient(t, u)
	messages := subscribe(t, subscriber(t, b, "group"), topic)
	publish(t, b, topic, "before")
	receive(t, messages).Ack()
	require.NoError(t, raw.ExchangeDelete(topic, false, false))
	wantGone(t, b.Publish(t.Context(), topic, &relay.Message{}))
	require.Eventually(t, func() bool { // as another process may publish
		ch := rawClient(t, u) // the server closes it if there is no exchange
		if err := ch.Confirm(false); err != nil {
			return false
		}
		c, err := ch.PublishWithDeferredConfirm(topic, "", false, false, amqp091.Publishing{Body: []byte("after")})
		return err == nil && c.Wait() && arrives(messages)
	}, time.Minute, 10*time.Millisecond)
	accept(t, b, topic, "last")
	for m := receive(t, messages); string(m.Body) != "last"; m = receive(t, messages) {
		require.Equal(t, "after", string(m.Body), "one that was late")
		m.Ack()
	}
}

func arrives(messages <-chan *brokertest.Message) bool {
	select {
	case m := <-messages:
		return m.Ack()
	case <-time.After(10 * time.Millisecond):
		return false
	}
}

// A group that finds its topic gone tells the publisher of its process, and
// leaves others the time to find out.
func TestGroupFindsTopicGone(t *testing.T) {
	t.Parallel()
	u := serverURL(t)
	log := &errorLog{}
	b, topic, others := newBroker(t, u, amqp.Config{Logger: log.logger()}), newName(), make([]string, 10)
	s := subscriber(t, b, "group")
	raw := rawClient(t, u)
	for i := range others {
		others[i] = newName()
	}
	for _, name := range append(others, topic) {
		initialize(t, s, name)
		publish(t, b, name, "before")
		require.NoError(t, raw.ExchangeDelete(name, false, false))
	}
	again := func(name string) time.Duration {
		began := time.Now()
		initialize(t, s, name)
		took := time.Since(began)
		wantGone(t, b.Publish(t.Context(), name, &relay.Message{}))
		require.Len(t, log.with("a topic was deleted", name), 1)
		return took
	}
	require.GreaterOrEqual(t, again(topic), amqp.OthersWithin)
	require.True(t, slices.ContainsFunc(others, func(name string) bool { // of many, one that the machine was not slow with
		return again(name) < amqp.OthersWithin
	}), "the others have found out of all of them")
	accept(t, b, topic, "after")
	messages := subscribe(t, s, topic)
	receive(t, messages).Ack()
	require.Equal(t, "after", string(receive(t, messages).Body))
}

// The queue of one group of two is deleted: the exchange passes the group by
// until the consumer has declared it again, which it does at once.
func TestQueueOfConsumerIsDeleted(t *testing.T) {
	t.Parallel()
	u := serverURL(t)
	log := &errorLog{}
	b, topic, publisher := newBroker(t, u, amqp.Config{Logger: log.logger()}), newName(), newBroker(t, u, amqp.Config{})
	messages := subscribe(t, subscriber(t, b, "group"), topic)
	initialize(t, subscriber(t, b, "other"), topic)
	<-time.After(amqp.LastPause + 100*time.Millisecond) // one that ends sooner waits before it goes on
	publish(t, publisher, topic, "before")
	receive(t, messages).Ack()
	_, err := rawClient(t, u).QueueDelete("group@"+topic, false, false, false)
	require.NoError(t, err)
	deleted, published := time.Now(), 0
	for !arrives(messages) {
		publish(t, publisher, topic, "after")
		published++
		require.Less(t, time.Since(deleted), time.Minute)
	}
	t.Logf("%d messages in %v until one arrives", published, time.Since(deleted))
	require.NotEmpty(t, log.with("cancelled the consumer", "group"))
	require.Len(t, log.with("is created again", "group@"+topic), 1)
}

// A group that has ended in this process is not declared again: its queue would
// fill up if the handler was removed.
func TestEndedGroupIsNotDeclaredAgain(t *testing.T) {
	t.Parallel()
	u := serverURL(t)
	b, topic, raw := newBroker(t, u, amqp.Config{}), newName(), rawClient(t, u)
	s := subscriber(t, b, "group")
	initialize(t, s, topic)
	messages := subscribe(t, s, topic)
	publish(t, b, topic, "before")
	receive(t, messages).Ack()
	require.NoError(t, s.Close())
	_, err := raw.QueueDelete("group@"+topic, false, false, false)
	require.NoError(t, err)
	wantGone(t, b.Publish(t.Context(), topic, &relay.Message{}))
	accept(t, b, topic, "goes to nobody")
	_, err = raw.QueueDeclarePassive("group@"+topic, true, false, false, false, nil)
	require.ErrorContains(t, err, "404")
}
