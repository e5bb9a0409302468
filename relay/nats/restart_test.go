package nats_test

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/relay"
	"github.com/tidings-go/tidings/relay/internal/brokertest"
	relaynats "github.com/tidings-go/tidings/relay/nats"
)

// The server is stopped and started in the middle of 3,000 messages: each publish
// succeeds, and each message arrives.
func TestRestart(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	b := openBroker(t, s.url())
	const publishers, each = 6, 500
	g := group("g")
	g.AckWait = 3 * time.Second // what was on its way when the server stopped
	sub := subscriber(t, b, g)
	arrived := make(chan string)
	stop := make(chan struct{})
	var workers sync.WaitGroup
	for range 3 {
		messages := subscribe(t, sub, "topic")
		workers.Go(func() {
			for {
				select {
				case m := <-messages:
					select {
					case arrived <- m.ID:
						m.Ack()
					case <-stop:
						return
					}
				case <-stop:
					return
				}
			}
		})
	}
	var publishing sync.WaitGroup
	for p := range publishers {
		publishing.Go(func() {
			for n := range each {
				if err := b.Publish(t.Context(), "topic", &relay.Message{ID: fmt.Sprint(p, "-", n), Body: []byte("body")}); err != nil {
					t.Errorf("publishing: %v", err)
				}
			}
		})
	}
	seen := map[string]int{}
	restarts := 0
	for len(seen) < publishers*each {
		select {
		case id := <-arrived:
			seen[id]++
		case <-time.After(patience):
			require.FailNow(t, "messages are lost", "%d of %d", len(seen), publishers*each)
		}
		if restarts < 2 && len(seen) > (restarts+1)*publishers*each/4 {
			restarts++
			s.stop()
			s.start()
		}
	}
	publishing.Wait()
	close(stop)
	workers.Wait()
	more := 0
	for _, n := range seen {
		more += n - 1
	}
	t.Logf("%d restarts, %d messages, %d of them twice", restarts, len(seen), more)
	require.Equal(t, 2, restarts)
}

// The connections of idle workers break: they ask again as soon as they are
// connected, and not when they miss the heartbeats of the server.
func TestLostConnection(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	b := openBroker(t, s.url())
	messages := subscribe(t, subscriber(t, b, group("g")), "topic")
	for n := range 4 {
		began := time.Now()
		publish(t, b, "topic", n, n)
		// A publish whose answer was lost with the connection is there twice.
		for bodies(t, messages, 1)[0] != strconv.Itoa(n) {
		}
		require.Less(t, time.Since(began), 10*time.Second, "without missing two heartbeats")
		s.disconnectAll()
	}
}

// A group that is declared gets what is published while no consumer and no
// server runs for a while.
func TestKeptWithoutConsumers(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	r := mustOpen(t, s.url())
	sub := brokertest.NewSubscriber(brokerOf(r), group("g"))
	require.NoError(t, sub.Declare("topic"))
	require.NoError(t, sub.Close())
	publish(t, brokerOf(r), "topic", 1, 3)
	require.NoError(t, r.Close(context.Background()))
	s.stop()
	s.start()
	b := openBroker(t, s.url())
	require.Equal(t, numbers(1, 3), bodies(t, subscribe(t, subscriber(t, b, group("g")), "topic"), 3))
}

// While the server is away, a publish waits, fails in the end, and succeeds
// when it is back.
func TestPublishWithoutServer(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	b := openBroker(t, s.url())
	publish(t, b, "topic", 1, 1)
	messages := subscribe(t, subscriber(t, b, group("g")), "topic")
	receive(t, messages).Ack()
	s.stop()

	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	err := b.Publish(ctx, "topic", &relay.Message{ID: "with a context"})
	require.ErrorIs(t, err, context.DeadlineExceeded)

	err = b.Publish(t.Context(), "topic", &relay.Message{ID: "without"})
	require.ErrorContains(t, err, "the connection to the server is lost")
	require.Less(t, time.Since(began), patience)

	s.start()
	publish(t, b, "topic", 2, 2)
	require.Equal(t, numbers(2, 2), bodies(t, messages, 1), "and nothing that was said to have failed")
}

// What is published in the moment in which the connection is found to be lost is
// not sent later, when the caller has been told that it failed.
func TestFailedPublishIsNotSentLater(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	b := openBroker(t, s.url())
	messages := subscribe(t, subscriber(t, b, group("g")), "topic")
	for n := range 10 {
		publish(t, b, "topic", n, n)
		require.Equal(t, numbers(n, n), bodies(t, messages, 1), "and nothing that was said to have failed")
		s.stop()
		var publishing sync.WaitGroup
		for range 4 {
			publishing.Go(func() {
				for range 50 {
					ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
					err := b.Publish(ctx, "topic", &relay.Message{ID: "failed"})
					cancel()
					assert.Error(t, err)
				}
			})
		}
		publishing.Wait()
		s.start()
	}
}

// A message that is acknowledged while the server is away does not come again.
func TestAcknowledgedWithoutServer(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	conn, js := s.client(nats.ReconnectBufSize(-1))
	b, err := relaynats.New(relaynats.Config{JetStream: js})
	require.NoError(t, err)
	messages := subscribe(t, subscriber(t, b, group("g")), "topic")
	publish(t, b, "topic", 1, 1)
	m := receive(t, messages)
	s.stop()
	require.Eventually(t, func() bool { return !conn.IsConnected() }, patience, time.Millisecond)
	m.Ack()
	s.start()
	require.Eventually(t, func() bool {
		consumer, err := js.Consumer(t.Context(), "topic", "g")
		return err == nil && consumer.CachedInfo().NumAckPending == 0
	}, patience, 50*time.Millisecond, "AckWait is longer")
}

// A subscriber that is closed while the server is away does not hang.
func TestCloseWithoutServer(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	r := mustOpen(t, s.url())
	sub := brokertest.NewSubscriber(brokerOf(r), group("g"))
	messages := subscribe(t, sub, "topic")
	publish(t, brokerOf(r), "topic", 1, 1)
	receive(t, messages)
	s.stop()
	began := time.Now()
	require.NoError(t, sub.Close())
	require.NoError(t, r.Close(context.Background()))
	require.Less(t, time.Since(began), patience)
}

// A server that takes connections and then says nothing more, as when its disk
// hangs: many publishers end together, and not one after the other. Each waits for
// five seconds, and there are as many topics, and publishers of each, as would
// take two minutes then.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	const each = 24
	s := startServer(t)
	b := openBroker(t, s.silenced())
	began := time.Now()
	var publishing sync.WaitGroup
	for n := range each * each {
		publishing.Go(func() {
			topic := fmt.Sprint("topic-", n%each)
			if err := b.Publish(t.Context(), topic, &relay.Message{ID: "1"}); err == nil {
				t.Error("a server that says nothing has stored a message")
			}
		})
	}
	publishing.Wait()
	require.Less(t, time.Since(began), patience)
}
