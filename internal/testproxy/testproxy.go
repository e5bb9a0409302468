// Package testproxy has a proxy between clients and a server, which fails as a
// network does, or a server that was stopped.
package testproxy

import (
	"crypto/tls"
	"net"
	"sync"
	"testing"
)

// A Proxy passes bytes between clients and a server until the test has ended.
type Proxy struct {
	listener net.Listener
	server   string
	running  sync.WaitGroup

	mu      sync.Mutex
	refuses bool
	filter  Filter           // of new connections
	open    map[*line]Filter // of the others
	gates   []chan struct{}  // of each Stall
}

// A line is a connection through the proxy: that of the client, and that to the
// server.
type line [2]net.Conn

func (l *line) close() {
	_ = l[0].Close()
	_ = l[1].Close()
}

// A Fate is what becomes of bytes.
type Fate int

const (
	Pass Fate = iota
	Lose
	Cut // together with their connection
)

// A Filter decides what becomes of bytes to the server, or from it. It is called
// concurrently.
type Filter func(toServer bool, b []byte) Fate

// Losing returns a Filter that loses all bytes of these directions.
func Losing(toServer, fromServer bool) Filter {
	return func(to bool, _ []byte) Fate {
		if to && toServer || !to && fromServer {
			return Lose
		}
		return Pass
	}
}

// Start returns a proxy of the server at an address. Clients speak TLS to it if
// config is not nil.
func Start(t testing.TB, server string, config *tls.Config) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if config != nil {
		listener = tls.NewListener(listener, config)
	}
	p := &Proxy{listener: listener, server: server, open: map[*line]Filter{}}
	p.running.Go(p.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		p.Cut(true)
		p.Resume()
		p.running.Wait()
	})
	return p
}

// Addr returns the address of the proxy.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Filter filters the bytes of all connections. A nil Filter passes them.
func (p *Proxy) Filter(f Filter) {
	p.FilterOpen(f)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.filter = f
}

// FilterOpen filters the bytes of the connections that are open, and not of
// new ones.
func (p *Proxy) FilterOpen(f Filter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.open {
		p.open[l] = f
	}
}

// Stall reads no more bytes, and ends no connection.
func (p *Proxy) Stall() {
	gate := make(chan struct{})
	p.mu.Lock()
	p.gates = append(p.gates, gate)
	p.mu.Unlock()
	p.Filter(func(bool, []byte) Fate {
		<-gate
		return Pass
	})
}

// Resume passes all bytes again.
func (p *Proxy) Resume() {
	p.Filter(nil)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, gate := range p.gates {
		close(gate)
	}
	p.gates = nil
}

// Cut ends all connections and, if that lasts, new ones until the next Cut.
func (p *Proxy) Cut(lasts bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuses = lasts
	for l := range p.open {
		l.close()
	}
}

func (p *Proxy) accept() {
	for client, err := p.listener.Accept(); err == nil; client, err = p.listener.Accept() {
		p.running.Go(func() {
			server, err := net.Dial("tcp", p.server)
			if err != nil {
				_ = client.Close()
				return
			}
			p.connect(&line{client, server})
		})
	}
}

func (p *Proxy) connect(l *line) {
	defer l.close()
	p.mu.Lock()
	refuses := p.refuses
	if !refuses {
		p.open[l] = p.filter
	}
	p.mu.Unlock()
	if refuses {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { p.copy(l, l[1], l[0]) })
	both.Go(func() { p.copy(l, l[0], l[1]) })
	both.Wait()
	p.mu.Lock()
	delete(p.open, l)
	p.mu.Unlock()
}

func (p *Proxy) copy(l *line, to, from net.Conn) {
	defer l.close()
	b := make([]byte, 1<<15)
	for n, err := from.Read(b); err == nil; n, err = from.Read(b) {
		p.mu.Lock()
		filter, fate := p.open[l], Pass
		p.mu.Unlock()
		if filter != nil {
			fate = filter(to == l[1], b[:n])
		}
		if fate == Cut {
			return
		}
		if fate == Pass {
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
	}
}
