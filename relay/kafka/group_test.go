package kafka_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/tidings-go/tidings/relay"
	"github.com/tidings-go/tidings/relay/internal/brokertest"
)

// publish sends messages with the numbers from 0 to n-1 as bodies.
func publish(t *testing.T, b relay.Broker, topic string, n int) {
	t.Helper()
	var messages []*relay.Message
	for i := range n {
		messages = append(messages, &relay.Message{ID: fmt.Sprint(i), Body: []byte(fmt.Sprint(i))})
	}
	require.NoError(t, b.Publish(t.Context(), topic, messages...))
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
					seen[string(m.Body)]++
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
	for range 30 { // it is chance whether the message at hand is in the partition that is given away
		if checkJoin(t) {
			return
		}
	}
	require.FailNow(t, "never was a partition given away that had a message at hand")
}

// checkJoin has a member join another one that has a message at hand. It
// reports whether that was in the partition that is to be given away.
func checkJoin(t *testing.T) (revoked bool) {
	t.Helper()
	c := cluster(t)
	b := brokerOf(t, c, 2)
	s := subscriberOf(t, b, relay.Group{Name: "giving", AckWait: patience}, "t")
	first := subscribe(t, s, "t")
	publish(t, b, "t", 1)
	held := receive(t, first)
	second := subscribe(t, s, "t")
	isShared := func(info *kfake.GroupInfo) bool {
		return info.Members[0].NumAssigned() == 1 && info.Members[1].NumAssigned() == 1
	}
	_, err := c.WaitGroupInfo(within(t, patience), "giving", func(info *kfake.GroupInfo) bool {
		return info != nil && len(info.Members) == 2 && (info.NumAssigned() == 1 || isShared(info))
	})
	require.NoError(t, err)
	select {
	case m := <-second:
		require.FailNow(t, "a message has gone to two", m.ID)
	case <-time.After(time.Second): // some heartbeats
	}
	revoked = !isShared(c.GroupInfo("giving"))
	held.Ack()
	_, err = c.WaitGroupInfo(within(t, patience), "giving", func(info *kfake.GroupInfo) bool {
		return info != nil && len(info.Members) == 2 && isShared(info)
	})
	require.NoError(t, err)
	require.NoError(t, b.Publish(t.Context(), "t", &relay.Message{ID: "2"}, &relay.Message{ID: "3"}))
	for _, messages := range []<-chan *brokertest.Message{first, second} {
		m := receive(t, messages)
		require.Contains(t, []string{"2", "3"}, m.ID)
		m.Ack()
	}
	return revoked
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
	require.Equal(t, kept.ID, again.ID)
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
		require.Equal(t, want, string(m.Body))
		m.Nack()
	}
	for _, want := range []string{"0", "1"} {
		m := receive(t, messages)
		require.Equal(t, want, string(m.Body))
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
		require.Equal(t, "0", string(m.Body), "in round %d", i)
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
	var subscriptions []<-chan *brokertest.Message
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
	var held []*brokertest.Message
	for _, messages := range subscriptions {
		held = append(held, receive(t, messages))
	}
	for _, m := range held {
		m.Ack()
	}
}
