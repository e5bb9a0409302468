package kafka_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/tidings-go/tidings/relay"
)

// publish sends messages with the numbers from 0 to n-1 as bodies.
func publish(t *testing.T, b relay.Broker, topic string, n int) {
	t.Helper()
	var messages []*message.Message
	for i := range n {
		messages = append(messages, message.NewMessage(fmt.Sprint(i), []byte(fmt.Sprint(i))))
	}
	require.NoError(t, b.Publish(topic, messages...))
}

// Members come and go while messages are handled, and no message comes twice:
// those who have to give a partition away finish what they have.
func TestRebalanceMakesNoDuplicates(t *testing.T) {
	t.Parallel()
	const n = 600
	b := brokerOf(t, cluster(t), 6)
	group := relay.Group{Name: "churning", AckWait: patience}
	var (
		mu   sync.Mutex
		seen = map[string]int{}
		some = make(chan int, n) // how many have been seen
	)
	// work handles messages until it is told to stop; then the subscriber is
	// closed, as a relay does it.
	work := func() (stop func()) {
		s := subscriberOf(t, b, group, "t")
		messages := subscribe(t, s, "t")
		quit, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			for {
				select {
				case <-quit:
					return
				case m := <-messages:
					time.Sleep(5 * time.Millisecond) // the work
					mu.Lock()
					seen[string(m.Payload)]++
					some <- len(seen)
					mu.Unlock()
					m.Ack()
				}
			}
		}()
		return sync.OnceFunc(func() {
			close(quit)
			<-done
			require.NoError(t, s.Close())
		})
	}
	until := func(want int) {
		for deadline := time.After(2 * patience); ; {
			select {
			case have := <-some:
				if have >= want {
					return
				}
			case <-deadline:
				require.FailNow(t, "too few messages")
			}
		}
	}
	publish(t, b, "t", n)
	stopFirst := work()
	until(n / 10)
	stopSecond := work()
	stopThird := work()
	until(n / 2)
	stopFirst()
	until(n * 3 / 4)
	stopSecond()
	until(n)
	stopThird()
	for body, times := range seen {
		require.Equal(t, 1, times, "of %s", body)
	}
}

// A member that has to give a partition away finishes its message, and only
// then does another one go on behind it.
func TestRevokedPartition(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	b := brokerOf(t, c, 2)
	s := subscriberOf(t, b, relay.Group{Name: "giving", AckWait: patience}, "t")
	first := subscribe(t, s, "t")
	publish(t, b, "t", 2)
	held := []*message.Message{receive(t, first), receive(t, first)} // one of each partition
	second := subscribe(t, s, "t")
	_, err := c.WaitGroupInfo(within(t, patience), "giving", func(info *kfake.GroupInfo) bool {
		return info != nil && len(info.Members) == 2 && info.NumAssigned() == 1 // the other one is to be given away
	})
	require.NoError(t, err)
	select {
	case m := <-second:
		require.FailNow(t, "a message has gone to two", m.UUID)
	case <-time.After(time.Second): // some heartbeats
	}
	for _, m := range held {
		m.Ack()
	}
	require.NoError(t, b.Publish("t", message.NewMessage("2", nil), message.NewMessage("3", nil)))
	for _, messages := range []<-chan *message.Message{first, second} {
		m := receive(t, messages)
		require.Contains(t, []string{"2", "3"}, m.UUID)
		m.Ack()
	}
}

// within returns a context that ends after d.
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func await(t *testing.T, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(2 * patience):
		require.FailNow(t, what+": not within the time")
	}
}

// A message that nobody says anything about goes to another member, although the
// process is alive; and the member is back once the handler has returned.
func TestSilence(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	b := brokerOf(t, c, 1)
	s := subscriberOf(t, b, relay.Group{Name: "silent", AckWait: time.Second}, "t")
	first := subscribe(t, s, "t")
	publish(t, b, "t", 1)
	kept := receive(t, first)
	second := subscribe(t, s, "t")
	again := receive(t, second)
	require.Equal(t, kept.UUID, again.UUID)
	again.Ack()
	kept.Ack() // too late, but the member may join again
	info, err := c.WaitGroupStable(within(t, patience), "silent", 2)
	require.NoError(t, err)
	require.Len(t, info.Members, 2)
}

// A message that is refused comes again, and before those behind it.
func TestNack(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	b := brokerOf(t, c, 1)
	messages := subscribe(t, subscriberOf(t, b, relay.Group{Name: "refusing"}, "t"), "t")
	publish(t, b, "t", 2)
	for _, want := range []string{"0", "0", "0"} {
		m := receive(t, messages)
		require.Equal(t, want, string(m.Payload))
		m.Nack()
	}
	for _, want := range []string{"0", "1"} {
		m := receive(t, messages)
		require.Equal(t, want, string(m.Payload))
		m.Ack()
	}
}

// Close does not wait for a message that nobody takes, and forgets no
// acknowledgement.
func TestCloseCommits(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	b := brokerOf(t, c, 1)
	group := relay.Group{Name: "closing"}
	for i := range 10 {
		s := subscriberOf(t, b, group, "t")
		publish(t, b, "t", 3)
		messages := subscribe(t, s, "t")
		m := receive(t, messages)
		require.Equal(t, "0", string(m.Payload), "in round %d", i)
		m.Ack()
		receive(t, messages).Ack()
		receive(t, messages).Ack()
		require.NoError(t, s.Close())
		_, open := <-messages
		require.False(t, open)
		_, err := s.Subscribe(t.Context(), "t")
		require.ErrorContains(t, err, "closed")
	}
}

// The workers of a handler share the partitions, and work at once.
func TestManyWorkers(t *testing.T) {
	t.Parallel()
	const workers = 4
	c := cluster(t)
	b := brokerOf(t, c, 8)
	s := subscriberOf(t, b, relay.Group{Name: "many", Workers: workers}, "t")
	var subscriptions []<-chan *message.Message
	for range workers {
		subscriptions = append(subscriptions, subscribe(t, s, "t"))
	}
	// A partition that moves waits for its message, and here nobody lets go of
	// one until all have one.
	_, err := c.WaitGroupInfo(within(t, patience), "many", func(info *kfake.GroupInfo) bool {
		return info != nil && len(info.Members) == workers && !slices.ContainsFunc(info.Members, func(m kfake.GroupMember) bool {
			return m.NumAssigned() != 8/workers
		})
	})
	require.NoError(t, err)
	publish(t, b, "t", 200)
	var held []*message.Message
	for _, messages := range subscriptions {
		held = append(held, receive(t, messages))
	}
	for _, m := range held {
		m.Ack()
	}
}
