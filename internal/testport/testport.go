// Package testport has ports for servers that a test stops and starts again, or
// that are not to be there.
package testport

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
)

// The ports are below those of which a kernel picks one for who does not name
// any, which is what most tests do: a port of these is another one's as soon as
// nobody listens on it. They are also below the ports of .ci/run.
const (
	first = 10_000
	count = 10_000
)

// Reserve returns a port of 127.0.0.1 that nobody listens on, and that no other
// call returns, in whatever process, before the test has ended.
func Reserve(t testing.TB) int {
	t.Helper()
	for range 100 {
		port := first + rand.IntN(count)
		address := fmt.Sprintf("127.0.0.1:%d", port)
		// The ports of UDP are others, so that this one can be held meanwhile.
		reservation, err := net.ListenPacket("udp", address)
		if err != nil {
			continue
		}
		if listener, err := net.Listen("tcp", address); err == nil && listener.Close() == nil {
			t.Cleanup(func() { _ = reservation.Close() })
			return port
		}
		_ = reservation.Close()
	}
	t.Fatal("all ports are taken")
	return 0
}
