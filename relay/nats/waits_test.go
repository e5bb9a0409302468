package nats_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/internal/testproxy"
	"github.com/tidings-go/tidings/relay"
	"github.com/tidings-go/tidings/relay/internal/brokertest"
)

// Whatever has become of a connection after it was used, each call ends within
// seconds.
func TestEveryWaitEnds(t *testing.T) {
	t.Parallel()
	const within = 2 * patience // what doc.go says is less; the machine may be busy
	for _, silence := range silences {
		t.Run(silence.name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t)
			p := testproxy.Start(t, s.host(), nil)
			r := mustOpen(t, "nats://"+p.Addr())
			b := brokerOf(r)
			sub := brokertest.NewSubscriber(b, group("g"))
			closing := brokertest.NewSubscriber(b, group("closing"))
			messages := subscribe(t, closing, "topic")
			subscribe(t, closing, "idle")
			subscribe(t, sub, "topic")
			publish(t, b, "topic", 1, 2)
			require.NoError(t, b.Enqueue(t.Context(), queue("g.retry"), &relay.Message{ID: "1"}))
			receive(t, messages) // and does not answer
			silence.begin(p)

			ends := func(what string, call func() error) {
				began := time.Now()
				err := call()
				took := time.Since(began)
				t.Logf("%s: %.1f s, %v", what, took.Seconds(), err)
				assert.Less(t, took, within, what)
			}
			fails := func(what string, call func() error) {
				ends(what, func() error {
					err := call()
					assert.Error(t, err, what)
					return err
				})
			}
			large := &relay.Message{ID: "1", Body: bytes.Repeat([]byte("x"), 1<<19)}
			var calls sync.WaitGroup
			for range 60 { // which fill the buffers of a connection that nobody reads
				calls.Go(func() { fails("Publish", func() error { return b.Publish(t.Context(), "topic", large) }) })
			}
			for n := range 4 {
				calls.Go(func() {
					fails("Publish to a new topic", func() error { return b.Publish(t.Context(), fmt.Sprint("topic-", n), large) })
				})
				calls.Go(func() {
					fails("Enqueue", func() error { return b.Enqueue(t.Context(), queue("g.retry"), large) })
				})
				calls.Go(func() {
					fails("Enqueue to a new queue", func() error { return b.Enqueue(t.Context(), queue(fmt.Sprint("g.dead-", n)), large) })
				})
				calls.Go(func() {
					fails("SubscribeInitialize", func() error { return sub.Declare("topic") })
				})
				calls.Go(func() {
					fails("Subscribe", func() error { _, err := sub.Subscribe(context.Background(), "topic"); return err })
				})
			}
			calls.Go(func() { ends("Close of a subscriber", closing.Close) })
			calls.Wait()
			ends("Close of another one", sub.Close)
			ends("Close", func() error { return r.Close(context.Background()) })
		})
	}
}

// The same for Close as the first call.
func TestCloseEnds(t *testing.T) {
	t.Parallel()
	for _, silence := range silences {
		t.Run(silence.name, func(t *testing.T) {
			t.Parallel()
			p := testproxy.Start(t, startServer(t).host(), nil)
			r := mustOpen(t, "nats://"+p.Addr())
			sub := brokertest.NewSubscriber(brokerOf(r), group("g"))
			messages := subscribe(t, sub, "topic")
			publish(t, brokerOf(r), "topic", 1, 2)
			held := receive(t, messages)
			silence.begin(p)
			held.Ack()
			began := time.Now()
			require.NoError(t, sub.Close())
			require.NoError(t, r.Close(context.Background()))
			t.Logf("%.1f s", time.Since(began).Seconds())
			require.Less(t, time.Since(began), patience)
		})
	}
}

// A ctx that ends is heeded, also while the connection is made again.
func TestContextEndsPublish(t *testing.T) {
	t.Parallel()
	p := testproxy.Start(t, startServer(t).host(), nil)
	b := openBroker(t, "nats://"+p.Addr())
	publish(t, b, "topic", 1, 1)
	p.Filter(testproxy.Losing(true, true))
	quickest := patience
	for range 3 { // a busy machine may hold up one of them
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, cancel)
		began := time.Now()
		err := b.Publish(ctx, "topic", &relay.Message{ID: "1"})
		require.True(t, errors.Is(err, context.Canceled), "%v", err)
		quickest = min(quickest, time.Since(began))
	}
	require.Less(t, quickest, 4*time.Second, "an answer is waited for five seconds")
	p.Resume()
}
