package faulttest_test

import (
	"cmp"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"
)

// A server is a broker that can be stopped and started again. Both return when
// that has happened. What it has stored, it keeps.
type server interface {
	name() string
	url() string
	stop(t *testing.T)
	start(t *testing.T)
}

// brokers start a server each, for one test.
var brokers = map[string]func(*testing.T) server{}

// slow are those that take the longest. They begin first.
var slow = map[string]int{"RabbitMQ": 2, "Kafka": 1}

// forEach runs a test on every broker, at the same time as the other tests.
func forEach(t *testing.T, test func(*testing.T, server)) {
	t.Parallel()
	names := slices.SortedFunc(maps.Keys(brokers), func(a, b string) int {
		return cmp.Or(cmp.Compare(slow[b], slow[a]), cmp.Compare(a, b))
	})
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, brokers[name](t))
		})
	}
}

// A line is a listener whose connections can be cut, as if the server were gone.
type line struct {
	net.Listener
	mu    sync.Mutex
	down  bool
	conns map[net.Conn]bool
}

func newLine(l net.Listener) *line { return &line{Listener: l, conns: map[net.Conn]bool{}} }

func (l *line) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.add(c) {
			return c, nil
		}
		_ = c.Close() // it is down
	}
}

func (l *line) add(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.down {
		l.conns[c] = true
	}
	return !l.down
}

// set cuts the connections and lets no others through, or ends that.
func (l *line) set(down bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = down
	if down {
		for c := range l.conns {
			_ = c.Close()
		}
		clear(l.conns)
	}
}
