package nats_test

import (
	"context"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/relay"
	"github.com/tidings-go/tidings/relay/internal/brokertest"
)

// bodies receives and acknowledges n messages, and returns their bodies.
func bodies(t testing.TB, messages <-chan *brokertest.Message, n int) []string {
	t.Helper()
	var got []string
	for range n {
		m := receive(t, messages)
		got = append(got, string(m.Body))
		m.Ack()
	}
	return got
}

func numbers(from, to int) []string {
	var all []string
	for n := from; n <= to; n++ {
		all = append(all, strconv.Itoa(n))
	}
	return all
}

// What a subscriber has when it is closed, handed over or not, goes to another
// one at once, in order.
func TestCloseGivesBack(t *testing.T) {
	t.Parallel()
	b := openBroker(t, startServer(t).url())
	publish(t, b, "topic", 1, 200)
	leaving := brokertest.NewSubscriber(b, group("g")) // AckWait is long
	messages := subscribe(t, leaving, "topic")
	require.Equal(t, numbers(1, 50), bodies(t, messages, 50)) // so quick that it has more at hand
	inFlight := receive(t, messages)
	require.Equal(t, "51", string(inFlight.Body))
	require.NoError(t, leaving.Close())
	require.NoError(t, leaving.Close(), "a second time")
	_, ok := <-messages
	require.False(t, ok)
	inFlight.Ack() // too late, and harmless
	_, err := leaving.Subscribe(t.Context(), "topic")
	require.ErrorContains(t, err, "closed")

	publish(t, b, "topic", 201, 201) // the connection and the publisher go on
	require.Equal(t, numbers(51, 201), bodies(t, subscribe(t, subscriber(t, b, group("g")), "topic"), 151))
}

// What is being handled at the end goes back with a request, which the server
// answers when it has it, even if there is nothing behind it. So what is
// published later does not overtake it, whatever server of a cluster has it.
func TestCloseWaitsForTheReturn(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	conn, _ := s.client()
	verdicts := make(chan *nats.Msg, 10)
	_, err := conn.ChanSubscribe("$JS.ACK.topic.g.>", verdicts)
	require.NoError(t, err)
	require.NoError(t, conn.Flush())
	b := openBroker(t, s.url())
	leaving := brokertest.NewSubscriber(b, group("g"))
	messages := subscribe(t, leaving, "topic")
	publish(t, b, "topic", 1, 1)
	receive(t, messages)
	require.NoError(t, leaving.Close())
	publish(t, b, "topic", 2, 2)
	require.Equal(t, numbers(1, 2), bodies(t, subscribe(t, subscriber(t, b, group("g")), "topic"), 2))
	returned := <-verdicts
	require.Equal(t, "-NAK", string(returned.Data))
	require.NotEmpty(t, returned.Reply, "the server answers")
	require.Equal(t, "+ACK", string((<-verdicts).Data), "there is one return")
}

// The context of a subscription ends that one alone.
func TestContextEndsSubscription(t *testing.T) {
	t.Parallel()
	b := openBroker(t, startServer(t).url())
	s := subscriber(t, b, group("g"))
	ctx, cancel := context.WithCancel(t.Context())
	ending, err := s.Subscribe(ctx, "topic")
	require.NoError(t, err)
	cancel()
	_, ok := <-ending
	require.False(t, ok)
	messages := subscribe(t, s, "topic")
	publish(t, b, "topic", 1, 1)
	require.Equal(t, "1", string(receive(t, messages).Body))
}

// A worker that was quick and becomes slow leaves what it has at hand to others.
func TestSlowWorkerGivesBack(t *testing.T) {
	t.Parallel()
	b := openBroker(t, startServer(t).url())
	publish(t, b, "topic", 1, 300)
	slow := subscribe(t, subscriber(t, b, group("g")), "topic")
	bodies(t, slow, 100)
	held := receive(t, slow)
	require.Equal(t, "101", string(held.Body))

	quick := subscribe(t, subscriber(t, b, group("g")), "topic")
	require.ElementsMatch(t, numbers(102, 300), bodies(t, quick, 199))
	held.Ack()
}

// Alone, it gets them in order nonetheless.
func TestOrderAfterGivingBack(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	conn, js := s.client()
	var back atomic.Int64
	_, err := conn.Subscribe("$JS.ACK.topic.g.>", func(m *nats.Msg) {
		if string(m.Data) == "-NAK" {
			back.Add(1)
		}
	})
	require.NoError(t, err)
	require.NoError(t, conn.Flush())
	b := openBroker(t, s.url())
	publish(t, b, "topic", 1, 300)
	messages := subscribe(t, subscriber(t, b, group("g")), "topic")
	require.Equal(t, numbers(1, 100), bodies(t, messages, 100))
	held := receive(t, messages)
	require.Equal(t, "101", string(held.Body))
	require.Eventually(t, func() bool { // the handler takes until all but this one are back
		c, err := js.Consumer(t.Context(), "topic", "g")
		return err == nil && int64(c.CachedInfo().NumAckPending) == back.Load()+1
	}, patience, 10*time.Millisecond)
	held.Ack()
	require.Equal(t, numbers(102, 300), bodies(t, messages, 199))
}

// A message that is not acknowledged comes again after AckWait, to somebody
// else, without the subscriber being closed.
func TestAckWait(t *testing.T) {
	t.Parallel()
	b := openBroker(t, startServer(t).url())
	g := group("g")
	g.AckWait = time.Second
	publish(t, b, "topic", 1, 1)
	silent := receive(t, subscribe(t, subscriber(t, b, g), "topic"))
	other := receive(t, subscribe(t, subscriber(t, b, g), "topic"))
	require.Equal(t, silent.ID, other.ID)
	other.Ack()
}

func TestNackBringsItBack(t *testing.T) {
	t.Parallel()
	b := openBroker(t, startServer(t).url())
	messages := subscribe(t, subscriber(t, b, group("g")), "topic")
	publish(t, b, "topic", 1, 1)
	for range 3 {
		m := receive(t, messages)
		require.Equal(t, "id-1", m.ID)
		m.Nack()
	}
	receive(t, messages).Ack()
}

// Each Subscribe is a worker that runs beside the others, in as many processes
// as there are.
func TestWorkersRunInParallel(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	const each = 20
	var messages []<-chan *brokertest.Message
	var publisher relay.Broker
	for range 2 {
		publisher = openBroker(t, s.url())
		g := group("g")
		g.Workers = each
		sub := subscriber(t, publisher, g)
		for range each {
			messages = append(messages, subscribe(t, sub, "topic"))
		}
	}
	publish(t, publisher, "topic", 1, 2*each)
	held := map[string]*brokertest.Message{}
	for _, c := range messages {
		m := receive(t, c) // and do not acknowledge
		held[m.ID] = m
	}
	require.Len(t, held, 2*each)
	for _, m := range held {
		m.Ack()
	}
}

// Somebody deletes the consumer, or the stream, of running workers.
func TestDeletedConsumerAndStream(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	b := openBroker(t, s.url())
	_, js := s.client()
	messages := subscribe(t, subscriber(t, b, group("g")), "topic")
	publish(t, b, "topic", 1, 1)
	require.Equal(t, numbers(1, 1), bodies(t, messages, 1))

	require.NoError(t, js.DeleteConsumer(t.Context(), "topic", "g"))
	require.Equal(t, numbers(1, 1), bodies(t, messages, 1), "a new consumer, which begins at the beginning")

	require.NoError(t, js.DeleteStream(t.Context(), "topic"))
	publish(t, b, "topic", 2, 2)
	require.Equal(t, numbers(2, 2), bodies(t, messages, 1))
}

// A publisher with no consumers makes the stream anew, too.
func TestDeletedStreamOfPublisher(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	b := openBroker(t, s.url())
	_, js := s.client()
	publish(t, b, "topic", 1, 1)
	require.NoError(t, js.DeleteStream(t.Context(), "topic"))
	publish(t, b, "topic", 2, 2)
	require.Equal(t, numbers(2, 2), bodies(t, subscribe(t, subscriber(t, b, group("g")), "topic"), 1))
}

// What a new group gets is set by the URL. That of a group which exists stays.
func TestDeliver(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	all, fresh := openBroker(t, s.url()), openBroker(t, s.url()+"?deliver=new")
	publish(t, all, "topic", 1, 3)
	require.NoError(t, subscriber(t, fresh, group("fresh")).Declare("topic"))
	publish(t, all, "topic", 4, 5)
	for _, b := range []relay.Broker{fresh, all} {
		g := group("fresh")
		g.AckWait = time.Second // may be changed
		sub := brokertest.NewSubscriber(b, g)
		m := receive(t, subscribe(t, sub, "topic"))
		require.Equal(t, "4", string(m.Body))
		require.NoError(t, sub.Close())
	}
	require.Equal(t, numbers(1, 5), bodies(t, subscribe(t, subscriber(t, all, group("all")), "topic"), 5))

	// What is to be tried again is never left out.
	require.NoError(t, all.Enqueue(t.Context(), queue("g.retry"), &relay.Message{ID: "1", Body: []byte("1")}))
	require.Equal(t, numbers(1, 1), bodies(t, subscribe(t, subscriber(t, fresh, queue("g.retry")), "g.retry"), 1))
}

// Close with all kinds of things going on neither panics nor hangs, nor leaves a
// goroutine behind. Not parallel: it looks at all goroutines.
func TestCloseWhileBusy(t *testing.T) {
	s := startServer(t)
	for range 20 {
		closeWhileBusy(t, s)
	}
	require.Eventually(t, func() bool { return len(ours()) == 0 }, patience, 10*time.Millisecond, "%v", ours())
}

func closeWhileBusy(t *testing.T, s *natsServer) {
	t.Helper()
	r := mustOpen(t, s.url())
	b := brokerOf(r)
	var done sync.WaitGroup
	var subs []*brokertest.Subscriber
	for _, g := range []string{"a", "b"} {
		sub := brokertest.NewSubscriber(b, group(g))
		subs = append(subs, sub)
		for range 4 {
			messages := subscribe(t, sub, "topic")
			done.Go(func() {
				for m := range messages {
					m.Ack()
				}
			})
		}
	}
	for range 2 {
		done.Go(func() { publish(t, b, "topic", 1, 50) })
	}
	var closing sync.WaitGroup
	for _, sub := range subs {
		closing.Go(func() {
			if err := sub.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	closing.Wait()
	done.Wait()
	require.NoError(t, r.Close(context.Background()))
}

// ours returns the stacks of goroutines of this package and of the client.
func ours() (stacks []string) {
	var all strings.Builder
	_ = pprof.Lookup("goroutine").WriteTo(&all, 2)
	for stack := range strings.SplitSeq(all.String(), "\n\n") {
		if strings.Contains(stack, "relay/nats.(") || strings.Contains(stack, "nats.go@") {
			stacks = append(stacks, stack)
		}
	}
	return stacks
}
