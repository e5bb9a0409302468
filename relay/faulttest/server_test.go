package faulttest_test

import (
	"net"
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

// forEach runs a test on every broker.
func forEach(t *testing.T, test func(*testing.T, server)) {
	for name, open := range brokers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
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
