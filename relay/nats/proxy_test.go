package nats_test

import (
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// What a proxy does with what it is sent.
type behaviour string

const (
	passOn      behaviour = "passes on"
	swallow     behaviour = "swallows what both send, as a network that drops packets"
	swallowUp   behaviour = "swallows what clients send"
	swallowDown behaviour = "swallows what the server sends"
	readNothing behaviour = "reads nothing, as a server that was stopped (SIGSTOP)"
)

// A proxy stands between clients and a server. It takes connections whatever its
// behaviour is.
type proxy struct {
	listener net.Listener
	target   string
	running  sync.WaitGroup

	mu      sync.Mutex
	changed sync.Cond
	does    behaviour
	closed  bool
	conns   []net.Conn
}

func startProxy(t testing.TB, target string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{listener: listener, target: target, does: passOn}
	p.changed.L = &p.mu
	p.running.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

func (p *proxy) url() string { return "nats://" + p.listener.Addr().String() }

func (p *proxy) set(does behaviour) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.does = does
	p.changed.Broadcast()
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		if !p.add(client, server) {
			return
		}
		p.running.Go(func() { p.copy(server, client, swallowUp) })
		p.running.Go(func() { p.copy(client, server, swallowDown) })
	}
}

func (p *proxy) add(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns = append(p.conns, conns...)
	if p.closed {
		p.closeConnsLocked()
	}
	return !p.closed
}

// copy copies, unless the proxy swallows this direction.
func (p *proxy) copy(to, from net.Conn, swallowsIt behaviour) {
	defer to.Close()
	buf := make([]byte, 1<<15)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		does := p.wait()
		if does == swallow || does == swallowsIt {
			continue
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// wait returns the behaviour once something is to be read.
func (p *proxy) wait() behaviour {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.does == readNothing && !p.closed {
		p.changed.Wait()
	}
	return p.does
}

func (p *proxy) close() {
	_ = p.listener.Close()
	p.mu.Lock()
	p.closed = true
	p.closeConnsLocked()
	p.changed.Broadcast()
	p.mu.Unlock()
	p.running.Wait()
}

func (p *proxy) closeConnsLocked() {
	for _, c := range p.conns {
		_ = c.Close()
	}
}
