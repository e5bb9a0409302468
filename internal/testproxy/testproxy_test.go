package testproxy_test

import (
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/internal/testproxy"
)

func TestProxy(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() { // returns what it gets
		for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
			go func() {
				_, _ = io.Copy(conn, conn)
				_ = conn.Close()
			}()
		}
	}()
	p := testproxy.Start(t, l.Addr().String(), nil)
	dial := func() net.Conn {
		conn, err := net.Dial("tcp", p.Addr())
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	send := func(c net.Conn, text string) {
		t.Helper()
		_, err := c.Write([]byte(text))
		require.NoError(t, err)
	}
	expect := func(c net.Conn, text string) {
		t.Helper()
		got := make([]byte, len(text))
		_, err := io.ReadFull(c, got)
		require.NoError(t, err)
		require.Equal(t, text, string(got))
	}
	isCut := func(c net.Conn) {
		t.Helper()
		_, err := c.Write([]byte("cut"))
		if err == nil {
			_, err = c.Read(make([]byte, 1))
		}
		require.Error(t, err)
	}

	first := dial()
	for _, toServer := range []bool{true, false} {
		send(first, "passes")
		expect(first, "passes")
		lost := make(chan struct{})
		losing := testproxy.Losing(toServer, !toServer)
		p.Filter(func(to bool, b []byte) testproxy.Fate {
			fate := losing(to, b)
			if fate == testproxy.Lose {
				close(lost)
			}
			return fate
		})
		send(first, "lost")
		<-lost
		p.Resume()
	}

	p.Stall()
	send(first, "waits")
	require.NoError(t, first.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
	_, err = first.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, first.SetReadDeadline(time.Time{}))
	p.Resume()
	expect(first, "waits")

	p.FilterOpen(func(bool, []byte) testproxy.Fate { return testproxy.Cut })
	isCut(first)
	second := dial()
	send(second, "passes")
	expect(second, "passes")
	p.Cut(true)
	isCut(second)
	isCut(dial())
	p.Cut(false)
	third := dial()
	send(third, "passes")
	expect(third, "passes")
}
