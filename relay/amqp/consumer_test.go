package amqp_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/relay"
	"github.com/tidings-go/tidings/relay/amqp"
	"github.com/tidings-go/tidings/relay/internal/brokertest"
)

func TestGroups(t *testing.T) {
	t.Parallel()
	b, topic := newBroker(t, serverURL(t), amqp.Config{Prefetch: 1}), newName()
	one, same, other := subscriber(t, b, "one"), subscriber(t, b, "one"), subscriber(t, b, "other")
	initialize(t, other, topic)
	first, second := subscribe(t, one, topic), subscribe(t, same, topic)
	publish(t, b, topic, "a", "b")
	a, c := receive(t, first), receive(t, second) // at the same time
	require.ElementsMatch(t, []string{"a", "b"}, []string{string(a.Body), string(c.Body)})
	a.Ack()
	c.Ack()
	receiveNone(t, first)
	kept := subscribe(t, other, topic)
	for _, body := range []string{"a", "b"} {
		m := receive(t, kept)
		require.Equal(t, body, string(m.Body))
		m.Ack()
	}
}

func TestWorkersAreParallel(t *testing.T) {
	t.Parallel()
	b, topic := newBroker(t, serverURL(t), amqp.Config{}), newName()
	s := subscriber(t, b, "group")
	var workers []<-chan *brokertest.Message
	for range 4 {
		workers = append(workers, subscribe(t, s, topic))
	}
	publish(t, b, topic, "a", "b", "c", "d")
	seen := map[string]bool{}
	for _, messages := range workers {
		seen[string(receive(t, messages).Body)] = true // and not acknowledged
	}
	require.Len(t, seen, 4)
}

func TestCloseGivesBack(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"classic", "quorum"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			b, topic := newBroker(t, serverURL(t), amqp.Config{QueueType: kind}), newName()
			s, other := subscriber(t, b, "group"), subscriber(t, b, "group")
			messages := subscribe(t, s, topic)
			publish(t, b, topic, "done", "in flight", "waits")
			receive(t, messages).Ack()
			inFlight := receive(t, messages)
			rest := subscribe(t, other, topic)
			require.NoError(t, s.Close())
			inFlight.Ack() // too late
			seen := map[string]bool{}
			for range 2 {
				m := receive(t, rest)
				seen[string(m.Body)] = true
				m.Ack()
			}
			require.Equal(t, map[string]bool{"in flight": true, "waits": true}, seen)
			receiveNone(t, rest)
			_, ok := <-messages
			require.False(t, ok)
			require.NoError(t, s.Close(), "twice")
			_, err := s.Subscribe(t.Context(), topic)
			require.ErrorContains(t, err, "closed")
			require.ErrorContains(t, s.Declare(topic), "closed")
			publish(t, b, topic, "others go on")
			receive(t, rest).Ack()
		})
	}
}

// An acknowledgement just before Close counts: the event would be handled twice.
func TestCloseAfterAck(t *testing.T) {
	t.Parallel()
	b, topic := newBroker(t, serverURL(t), amqp.Config{}), newName()
	for i := range 50 {
		s := subscriber(t, b, "group")
		messages := subscribe(t, s, topic)
		publish(t, b, topic, fmt.Sprint(i))
		m := receive(t, messages)
		require.Equal(t, fmt.Sprint(i), string(m.Body))
		m.Ack()
		require.NoError(t, s.Close())
	}
}

func TestEndOfContextEndsSubscription(t *testing.T) {
	t.Parallel()
	b, topic := newBroker(t, serverURL(t), amqp.Config{}), newName()
	s := subscriber(t, b, "group")
	ctx, cancel := context.WithCancel(t.Context())
	ended, err := s.Subscribe(ctx, topic)
	require.NoError(t, err)
	publish(t, b, topic, "in flight")
	receive(t, ended)
	cancel()
	_, ok := <-ended
	require.False(t, ok)
	receive(t, subscribe(t, s, topic)).Ack()
}

func TestNack(t *testing.T) {
	t.Parallel()
	b, topic := newBroker(t, serverURL(t), amqp.Config{QueueType: "quorum"}), newName()
	messages := subscribe(t, subscriber(t, b, "group"), topic)
	publish(t, b, topic, "again")
	for range 30 { // a quorum queue of RabbitMQ 4 drops it after 20, by default
		receive(t, messages).Nack()
	}
	receive(t, messages).Ack()
	receiveNone(t, messages)
}

func TestSilentConsumer(t *testing.T) {
	t.Parallel()
	b, topic := newBroker(t, serverURL(t), amqp.Config{}), newName()
	s := brokertest.NewSubscriber(b, relay.Group{Name: "group", AckWait: 2 * time.Second, Workers: 2})
	defer func() { require.NoError(t, s.Close()) }()
	messages := subscribe(t, s, topic)
	publish(t, b, topic, "stuck", "fetched with it")
	stuck := receive(t, messages)
	others := subscribe(t, s, topic)
	seen := map[string]bool{}
	for len(seen) < 2 {
		m := receive(t, others)
		seen[string(m.Body)] = true
		m.Ack()
	}
	require.Equal(t, map[string]bool{"stuck": true, "fetched with it": true}, seen)
	receiveNone(t, messages)
	stuck.Ack()
	require.Eventually(t, func() bool { // it has a part in the work again
		publish(t, b, topic, "next")
		select {
		case <-messages:
			return true
		case m := <-others:
			return !m.Ack()
		}
	}, time.Minute, 10*time.Millisecond)
}

func TestNames(t *testing.T) {
	t.Parallel()
	u := serverURL(t)
	b := newBroker(t, u, amqp.Config{})
	random := newName()
	long := random + strings.Repeat("x", 180)
	for _, test := range []struct{ group, topic, queue, reason string }{
		{random + ".retry", random + ".retry", random + ".retry@" + random + ".retry", "not the queue of what the handler is to try again"},
		{"a/b:c-d", random, "a/b:c-d@" + random, "all that names are made of is allowed"},
		{"amq.x", "amq." + random, "~amq.x@~amq." + random, "amq. is the server's"},
		{"g", long, "g@" + long, ""},
		{long, long + "y", "", "too long for the name of a queue"},
		{long, long + "z", "", "and different in what is cut off"},
		{"g", long + strings.Repeat("y", 100), "", "too long for the name of an exchange"},
	} {
		topic := b.Topic(test.topic)
		messages := subscribe(t, subscriber(t, b, test.group), topic)
		publish(t, b, topic, test.topic)
		m := receive(t, messages)
		require.Equal(t, test.topic, string(m.Body), test.reason)
		m.Ack()
		receiveNone(t, messages)
		if test.queue != "" {
			_, err := rawClient(t, u).QueueDeclarePassive(test.queue, true, false, false, false, nil)
			require.NoError(t, err, test.reason)
		}
	}
	for _, topic := range []string{"", strings.Repeat("x", 256), "amq.mine"} {
		require.ErrorContains(t, b.Publish(t.Context(), topic, &relay.Message{}), "relay/amqp: publishing to ")
		require.ErrorContains(t, subscriber(t, b, "g").Declare(topic), "relay/amqp: the group ")
	}
	require.NoError(t, b.Publish(t.Context(), ""), "nothing to publish")
}
