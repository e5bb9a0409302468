package redis_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/relay"
	"github.com/tidings-go/tidings/relay/internal/brokertest"
	"github.com/tidings-go/tidings/relay/redis"
)

// What a subscriber has when it is closed goes to the next one, long before it
// would be overdue.
func TestCloseGivesBack(t *testing.T) {
	t.Parallel()
	eachServer(t, func(t *testing.T, url string) {
		b, client := newBroker(t, url)
		topic := topicName(t)
		first := newConsumer(t, b, "group", topic, time.Hour)
		publish(t, b, topic, "one", "two")
		held := first.next()
		require.Equal(t, "one", string(held.Body))
		first.close()

		second := newConsumer(t, b, "group", topic, time.Hour)
		for _, want := range []string{"one", "two"} {
			m := second.next()
			require.Equal(t, want, string(m.Body))
			require.True(t, m.Ack())
		}
		second.close()
		require.Zero(t, pending(t, client, topic, "group"))
	})
}

// A message that nobody has taken yet goes back as well.
func TestCloseGivesBackWhatNobodyTook(t *testing.T) {
	t.Parallel()
	eachServer(t, func(t *testing.T, url string) {
		b, client := newBroker(t, url)
		topic := topicName(t)
		first := newConsumer(t, b, "group", topic, time.Hour)
		publish(t, b, topic, "one")
		require.Eventually(t, func() bool { return pending(t, client, topic, "group") == 1 }, patience, 10*time.Millisecond)
		first.close()
		m := newConsumer(t, b, "group", topic, time.Hour).next()
		require.True(t, m.Ack())
	})
}

// What is acknowledged just before Close stays so, and Close leaves no consumer.
func TestCloseAfterAck(t *testing.T) {
	t.Parallel()
	eachServer(t, func(t *testing.T, url string) {
		b, client := newBroker(t, url)
		topic := topicName(t)
		for n := range 30 {
			c := newConsumer(t, b, "group", topic, time.Hour)
			publish(t, b, topic, fmt.Sprint(n))
			m := c.next()
			require.Equal(t, fmt.Sprint(n), string(m.Body))
			require.True(t, m.Ack())
			c.close()
			require.Zero(t, pending(t, client, topic, "group"), "message %d", n)
		}
		consumers, err := client.XInfoConsumers(t.Context(), topic, "group").Result()
		require.NoError(t, err)
		require.Empty(t, consumers)
	})
}

// What was acknowledged before the end counts, although both are seen at once.
func TestEndAfterAck(t *testing.T) {
	t.Parallel()
	b, client := newBroker(t, "redis://"+miniredis.RunT(t).Addr())
	s := brokertest.NewSubscriber(b, relay.Group{Name: "group"})
	defer func() { require.NoError(t, s.Close()) }()
	for n := range 20 {
		ctx, end := context.WithCancel(t.Context())
		messages, err := s.Subscribe(ctx, "topic")
		require.NoError(t, err)
		publish(t, b, "topic", fmt.Sprint(n))
		require.Eventually(t, func() bool { return pending(t, client, "topic", "group") == 1 }, patience, 10*time.Millisecond)
		m := <-messages // of which the subscription hears later than this goroutine
		m.Ack()
		end()
		for range messages {
			t.Fatal("a second message")
		}
		require.Zero(t, pending(t, client, "topic", "group"), "message %d", n)
	}
}

// One subscriber's Close is nobody else's affair.
func TestCloseAlone(t *testing.T) {
	t.Parallel()
	eachServer(t, func(t *testing.T, url string) {
		b, _ := newBroker(t, url)
		topic := topicName(t)
		one, other := newConsumer(t, b, "one", topic, time.Minute), newConsumer(t, b, "other", topic, time.Minute)
		one.close()
		one.close()
		_, err := one.subscriber.Subscribe(t.Context(), topic)
		require.ErrorContains(t, err, "closed")
		publish(t, b, topic, "still there")
		m := other.next()
		require.Equal(t, "still there", string(m.Body))
		require.True(t, m.Ack())
	})
}

// A message that is refused comes again, with its time anew.
func TestNack(t *testing.T) {
	t.Parallel()
	eachServer(t, func(t *testing.T, url string) {
		b, client := newBroker(t, url)
		topic := topicName(t)
		c := newConsumer(t, b, "group", topic, time.Minute)
		publish(t, b, topic, "again")
		for range 3 {
			m := c.next()
			require.Equal(t, "again", string(m.Body))
			require.True(t, m.Nack())
		}
		require.True(t, c.next().Ack())
		require.Eventually(t, func() bool { return pending(t, client, topic, "group") == 0 }, patience, 10*time.Millisecond)
	})
}

// A message goes to another consumer when its time is up, and not before; and
// the first one's late acknowledgement does no harm.
func TestOverdue(t *testing.T) {
	t.Parallel()
	eachServer(t, func(t *testing.T, url string) {
		const ackWait = 2 * time.Second
		b, client := newBroker(t, url)
		topic := topicName(t)
		slow := newConsumer(t, b, "group", topic, ackWait)
		since := time.Now()
		publish(t, b, topic, "slow")
		held := slow.next()
		other := newConsumer(t, b, "group", topic, ackWait)
		m := other.next()
		require.Equal(t, "slow", string(m.Body))
		require.Equal(t, held.ID, m.ID)
		require.Greater(t, time.Since(since), ackWait-100*time.Millisecond)
		require.True(t, held.Ack())
		require.True(t, m.Ack())
		other.close()
		publish(t, b, topic, "next")
		m = slow.next()
		require.Equal(t, "next", string(m.Body))
		require.True(t, m.Ack())
		require.Eventually(t, func() bool { return pending(t, client, topic, "group") == 0 }, patience, 10*time.Millisecond)
	})
}

// A message that is refused is not overdue: it has its time anew.
func TestNotOverdue(t *testing.T) {
	t.Parallel()
	eachServer(t, func(t *testing.T, url string) {
		const ackWait = 9 * time.Second // of which a busy machine may take half
		// begin returns a consumer that has "first", and what waits and fails
		// the test if another one gets a message meanwhile.
		begin := func(t *testing.T) (busy *consumer, notBy func(time.Duration)) {
			t.Parallel()
			b, client := newBroker(t, url)
			topic := topicName(t)
			busy = newConsumer(t, b, "group", topic, ackWait)
			publish(t, b, topic, "first")
			require.Eventually(t, func() bool { return pending(t, client, topic, "group") == 1 }, patience, 10*time.Millisecond)
			other := newConsumer(t, b, "group", topic, ackWait)
			publish(t, b, topic, "second")
			m := other.next()
			require.Equal(t, "second", string(m.Body))
			require.True(t, m.Ack())
			return busy, func(d time.Duration) {
				select {
				case m := <-other.messages:
					t.Fatalf("%s is another's", m.Body)
				case <-time.After(d):
				}
			}
		}
		t.Run("refused", func(t *testing.T) {
			busy, notBy := begin(t)
			for range 4 {
				m := busy.next()
				require.Equal(t, "first", string(m.Body))
				notBy(ackWait / 3)
				require.True(t, m.Nack())
			}
			require.True(t, busy.next().Ack())
		})
	})
}

// Many who look for the same overdue messages get each of them once.
func TestOverdueOnce(t *testing.T) {
	t.Parallel()
	eachServer(t, func(t *testing.T, url string) {
		b, client := newBroker(t, url)
		topic := topicName(t)
		require.NoError(t, client.XGroupCreateMkStream(t.Context(), topic, "group", "$").Err())
		const messages = 25
		for n := range messages {
			publish(t, b, topic, fmt.Sprint(n))
		}
		// A consumer that has died two hours ago.
		read, err := client.XReadGroup(t.Context(), &goredis.XReadGroupArgs{Group: "group", Consumer: "dead", Streams: []string{topic, ">"}, Count: messages}).Result()
		require.NoError(t, err)
		for _, entry := range read[0].Messages {
			require.NoError(t, client.Do(t.Context(), "XCLAIM", topic, "group", "dead", 0, entry.ID, "IDLE", (2*time.Hour).Milliseconds(), "JUSTID").Err())
		}
		var mu sync.Mutex
		got := map[string]int{}
		for range 4 {
			c := newConsumer(t, b, "group", topic, time.Hour)
			go func() {
				for m := range c.messages {
					mu.Lock()
					got[string(m.Body)]++
					mu.Unlock()
					m.Ack()
				}
			}()
		}
		require.Eventually(t, func() bool { return pending(t, client, topic, "group") == 0 }, patience, 10*time.Millisecond)
		mu.Lock()
		defer mu.Unlock()
		require.Len(t, got, messages)
		for body, n := range got {
			require.Equal(t, 1, n, body)
		}
	})
}

// An entry that is deleted while it is pending is forgotten.
func TestDeletedWhilePending(t *testing.T) {
	t.Parallel()
	eachServer(t, func(t *testing.T, url string) {
		if strings.Contains(t.Name(), "miniredis") {
			t.Skip("miniredis keeps such entries pending, unlike Redis 7")
		}
		b, client := newBroker(t, url)
		topic := topicName(t)
		require.NoError(t, client.XGroupCreateMkStream(t.Context(), topic, "group", "$").Err())
		publish(t, b, topic, "gone")
		read, err := client.XReadGroup(t.Context(), &goredis.XReadGroupArgs{Group: "group", Consumer: "dead", Streams: []string{topic, ">"}}).Result()
		require.NoError(t, err)
		require.NoError(t, client.XDel(t.Context(), topic, read[0].Messages[0].ID).Err())
		c := newConsumer(t, b, "group", topic, 100*time.Millisecond)
		require.Eventually(t, func() bool { return pending(t, client, topic, "group") == 0 }, patience, 10*time.Millisecond)
		publish(t, b, topic, "next")
		require.Equal(t, "next", string(c.next().Body))
	})
}

// There may be more subscriptions than the client's pools have connections: each
// has its own.
func TestManySubscriptions(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	b, _ := newBroker(t, "redis://"+server.Addr())
	consumers := make([]*consumer, 21*runtime.GOMAXPROCS(0)) // two pools have 20
	for n := range consumers {
		consumers[n] = newConsumer(t, b, fmt.Sprint("group-", n), "topic", time.Minute)
	}
	require.Eventually(t, func() bool { return server.CurrentConnectionCount() > len(consumers) }, patience, 10*time.Millisecond)
	publish(t, b, "topic", "to all")
	for _, c := range consumers {
		m := c.next()
		require.Equal(t, "to all", string(m.Body))
		require.True(t, m.Ack())
	}
	var closing sync.WaitGroup
	for _, c := range consumers {
		closing.Go(func() { _ = c.subscriber.Close() }) // again at the end
	}
	closing.Wait()
}

// The subscriptions of a group work at the same time.
func TestParallel(t *testing.T) {
	t.Parallel()
	eachServer(t, func(t *testing.T, url string) {
		b, _ := newBroker(t, url)
		topic := topicName(t)
		s := brokertest.NewSubscriber(b, relay.Group{Name: "group", AckWait: time.Minute, Workers: 3})
		defer func() { require.NoError(t, s.Close()) }()
		var held []*brokertest.Message
		var consumers []*consumer
		for range 3 {
			messages, err := s.Subscribe(t.Context(), topic)
			require.NoError(t, err)
			consumers = append(consumers, &consumer{t, s, messages})
		}
		publish(t, b, topic, "a", "b", "c")
		for _, c := range consumers {
			held = append(held, c.next())
		}
		for _, m := range held {
			require.True(t, m.Ack())
		}
	})
}

// The context of a subscription ends that one.
func TestSubscribeContext(t *testing.T) {
	t.Parallel()
	eachServer(t, func(t *testing.T, url string) {
		b, _ := newBroker(t, url)
		topic := topicName(t)
		var messages [2]<-chan *brokertest.Message
		s := brokertest.NewSubscriber(b, relay.Group{Name: "group"})
		defer func() { require.NoError(t, s.Close()) }()
		ctx, cancel := context.WithCancel(t.Context())
		var err error
		messages[0], err = s.Subscribe(ctx, topic)
		require.NoError(t, err)
		messages[1], err = s.Subscribe(t.Context(), topic)
		require.NoError(t, err)
		cancel()
		for range messages[0] {
			t.Fatal("a message that was not sent")
		}
		publish(t, b, topic, "for the other")
		require.True(t, (&consumer{t, s, messages[1]}).next().Ack())
	})
}

// Nothing goes on running after Close.
func TestNoLeak(t *testing.T) { // alone, since it counts goroutines
	server := miniredis.RunT(t)
	before := runtime.NumGoroutine()
	for range 5 {
		b, err := redis.New(redis.Config{Client: &goredis.UniversalOptions{Addrs: []string{server.Addr()}}})
		require.NoError(t, err)
		c := newConsumer(t, b, "group", "topic", time.Minute)
		publish(t, b, "topic", "x")
		c.next() // and keep it
		c.close()
		require.NoError(t, b.Close())
		require.NoError(t, b.Close())
	}
	require.Eventually(t, func() bool { return runtime.NumGoroutine() <= before+1 }, patience, 10*time.Millisecond,
		"%d goroutines before", before)
}
