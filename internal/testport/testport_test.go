package testport_test

import (
	"fmt"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/internal/testport"
)

func TestReserve(t *testing.T) {
	t.Parallel()
	seen := map[int]bool{}
	for range 500 { // of 10,000, so that some would be twice
		port := testport.Reserve(t)
		require.False(t, seen[port], "%d is reserved twice", port)
		seen[port] = true
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		require.NoError(t, err)
		require.NoError(t, listener.Close())
	}
}
