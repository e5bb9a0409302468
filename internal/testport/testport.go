// Package testport reserves ports, for servers that a test stops and starts again, or
// for servers that must not exist.
package testport

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
)

// The ports are below the range from which the kernel chooses a port for a program
// that does not ask for a certain one, as most tests do: another program can get a
// port of that range as soon as it is free. The ports are also below those of
// .ci/run.
const (
	first = 10_000
	count = 10_000
)

// Reserve returns a port of 127.0.0.1 on which no program listens. No other call
// returns the same port before the test has ended, even in another process.
func Reserve(t testing.TB) int {
	t.Helper()
	for range 100 {
		port := first + rand.IntN(count)
		address := fmt.Sprintf("127.0.0.1:%d", port)
		// UDP has its own ports, so holding the UDP port reserves the TCP port of the
		// same number without using it.
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
