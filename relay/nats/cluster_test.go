package nats_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/internal/testport"
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
	require.Eventually(t, func() bool {
		r, err := openRelay(t.Context(), u)
		if err != nil {
			return false
		}
		defer r.Close(t.Context())
		return brokerOf(r).Publish("ready", message.NewMessage("1", nil)) == nil
	}, time.Minute, 100*time.Millisecond)

	b := openPlain(t, u)
	sub := subscriber(t, b, group("g"))
	messages := subscribe(t, sub, "topic")
	publish(t, b, "topic", 1, 1)
	require.Equal(t, numbers(1, 1), bodies(t, messages, 1))
	servers[1].stop()
	servers[2].stop()
	for what, call := range map[string]func() error{
		"Publish":             func() error { return b.Publish("topic", message.NewMessage("2", []byte("2"))) },
		"Publish, new":        func() error { return b.Publish("other", message.NewMessage("2", nil)) },
		"Enqueue":             func() error { return b.Enqueue(queue("g.retry"), message.NewMessage("2", nil)) },
		"SubscribeInitialize": func() error { return sub.(message.SubscribeInitializer).SubscribeInitialize("topic") },
	} {
		began := time.Now()
		err := call()
		t.Logf("%s: %.1f s, %v", what, time.Since(began).Seconds(), err)
		if what != "SubscribeInitialize" { // which the last server may answer, of what was there
			require.Error(t, err, what)
		}
		require.Less(t, time.Since(began), 40*time.Second, what)
	}
	servers[1].start()
	servers[2].start()
	require.Eventually(t, func() bool {
		return b.Publish("topic", message.NewMessage("3", []byte("3"))) == nil
	}, 2*time.Minute, 100*time.Millisecond)
	for bodies(t, messages, 1)[0] != "3" { // which failed, and may be there
	}
}
