package kafka_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/tidings-go/tidings/internal/testport"
	"github.com/tidings-go/tidings/relay"
)

// start starts a cluster with data that lasts.
func start(t *testing.T, dir string, port int) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(port), kfake.DataDir(dir))
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// The cluster stops and starts again while messages are sent and handled. What
// Publish has accepted arrives, and both sides go on by themselves.
func TestRestartOfCluster(t *testing.T) {
	t.Parallel()
	const n = 400
	dir, port := t.TempDir(), testport.Reserve(t)
	c := start(t, dir, port)
	b := brokerOf(t, c, 3)
	messages := subscribe(t, subscriberOf(t, b, relay.Group{Name: "steady"}, "t"), "t")
	var (
		mu   sync.Mutex
		seen = map[string]int{}
		all  = make(chan struct{})
	)
	go func() {
		for m := range messages {
			mu.Lock()
			if seen[m.ID]++; len(seen) == n {
				close(all)
			}
			mu.Unlock()
			m.Ack()
		}
	}()
	failed := 0
	var slowest time.Duration
	send := func(from, to int) {
		for i := from; i < to; i++ {
			for {
				began := time.Now()
				err := b.Publish(t.Context(), "t", &relay.Message{ID: fmt.Sprint(i)})
				slowest = max(slowest, time.Since(began))
				if err == nil {
					break
				}
				failed++
				require.Less(t, failed, 1000)
				time.Sleep(100 * time.Millisecond)
			}
		}
	}
	send(0, n/2)
	c.Close()
	up := make(chan struct{})
	go func() {
		defer close(up)
		time.Sleep(2 * time.Second) // how long it is away
		start(t, dir, port)
	}()
	send(n/2, n)
	<-up
	await(t, all, "all messages")
	mu.Lock()
	defer mu.Unlock()
	twice := 0
	for _, times := range seen {
		twice += min(times-1, 1)
	}
	require.Less(t, slowest, soon)
	t.Logf("%d messages, %d twice; Publish failed %d times and took %v at most", n, twice, failed, slowest)
}

// Without the cluster, nothing hangs: neither Publish nor Close.
func TestClusterGone(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	b := brokerOf(t, c, 3)
	s := subscriberOf(t, b, relay.Group{Name: "left"}, "t")
	messages := subscribe(t, s, "t")
	publish(t, b, "t", 1)
	receive(t, messages)
	c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	m := &relay.Message{ID: "1"}
	require.ErrorIs(t, b.Publish(ctx, "t", m), context.DeadlineExceeded, "the ctx counts, and not the attempts of five seconds")
	for _, topic := range []string{"t", "new"} {
		began := time.Now()
		require.Error(t, b.Publish(t.Context(), topic, &relay.Message{ID: "2"}))
		require.Less(t, time.Since(began), soon)
	}
	began := time.Now()
	require.NoError(t, s.Close())
	require.Less(t, time.Since(began), soon)
	began = time.Now()
	require.NoError(t, b.Close())
	require.Less(t, time.Since(began), soon)
	require.ErrorContains(t, b.Publish(t.Context(), "t", m), "closed")
}
