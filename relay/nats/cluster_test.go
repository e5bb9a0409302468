package nats_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/internal/testport"
	"github.com/tidings-go/tidings/relay"
)

// Two of the three servers of a cluster stop, so that nothing there has a leader:
// calls end, and accept no message, and when there is a leader again, all goes on where it
// was.
func TestClusterWithoutLeader(t *testing.T) {
	t.Parallel()
	var servers []*natsServer
	var routes []*url.URL
	var ports []int
	for range 3 {
		port := testport.Reserve(t)
		ports = append(ports, port)
		routes = append(routes, &url.URL{Scheme: "nats", Host: fmt.Sprintf("127.0.0.1:%d", port)})
	}
	var hosts []string
	for i, port := range ports {
		s := startServer(t, func(o *server.Options) {
			o.ServerName = fmt.Sprint("n", i)
			o.Cluster = server.ClusterOpts{Name: "tidings", Host: "127.0.0.1", Port: port}
			o.Routes = routes
		})
		servers = append(servers, s)
		hosts = append(hosts, s.host())
	}
	u := "nats://" + strings.Join(hosts, ",") + "?replicas=3"
	// A server that knows of no leader does not answer.
	require.Eventually(t, func() bool {
		return slices.ContainsFunc(servers, func(s *natsServer) bool {
			return s.running.JetStreamIsLeader() && len(s.running.JetStreamClusterPeers()) == len(servers)
		})
	}, 2*patience, 10*time.Millisecond)
	require.Eventually(t, func() bool {
		r, err := openRelay(t.Context(), u)
		if err != nil {
			return false
		}
		defer r.Close(t.Context())
		return brokerOf(r).Publish(t.Context(), "ready", &relay.Message{ID: "1"}) == nil
	}, 2*patience, 100*time.Millisecond)

	b, other, third := openPlain(t, u), openPlain(t, u), openPlain(t, u)
	sub := subscriber(t, b, group("g"))
	messages := subscribe(t, sub, "topic")
	publish(t, b, "topic", 1, 1)
	require.Equal(t, numbers(1, 1), bodies(t, messages, 1))
	// The leader of JetStream is the last one to stop: the one that goes on would
	// take itself for that for a while.
	leader := func(s *natsServer) bool { return s.running.JetStreamIsLeader() }
	if i := slices.IndexFunc(servers, leader); i >= 0 {
		servers[i], servers[2] = servers[2], servers[i]
	}
	servers[1].stop()
	servers[2].stop()
	var calls sync.WaitGroup
	for what, call := range map[string]func() error{
		"Publish":             func() error { return b.Publish(t.Context(), "topic", &relay.Message{ID: "2", Body: []byte("2")}) },
		"Publish, new":        func() error { return other.Publish(t.Context(), "other", &relay.Message{ID: "2"}) },
		"Enqueue":             func() error { return third.Enqueue(t.Context(), queue("g.retry"), &relay.Message{ID: "2"}) },
		"SubscribeInitialize": func() error { return sub.Declare("topic") },
	} {
		calls.Go(func() {
			began := time.Now()
			err := call()
			t.Logf("%s: %.1f s, %v", what, time.Since(began).Seconds(), err)
			if what != "SubscribeInitialize" { // which the last server may answer, of what was there
				assert.Error(t, err, what)
			}
			assert.Less(t, time.Since(began), 2*patience, what)
		})
	}
	calls.Wait()
	servers[1].start()
	servers[2].start()
	require.Eventually(t, func() bool {
		return b.Publish(t.Context(), "topic", &relay.Message{ID: "3", Body: []byte("3")}) == nil
	}, 2*time.Minute, 100*time.Millisecond)
	for bodies(t, messages, 1)[0] != "3" { // which failed, and may be there
	}
}
