package faulttest_test

import (
	"io"
	"net"
	"net/url"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	_ "github.com/tidings-go/tidings/relay/aws"
)

func init() {
	brokers["SNS and SQS"] = func(t *testing.T) server {
		text := os.Getenv("TIDINGS_AWS_URL")
		if text == "" {
			unavailable(t, `TIDINGS_AWS_URL is not set: scripts/services up; eval "$(scripts/services env)"`)
		}
		return newAWSServer(t, text)
	}
}

// An awsServer is the one of the tests, which has nothing to keep its messages
// in: it is stopped by cutting it off.
type awsServer struct {
	address string
	line    *line
}

// newAWSServer puts a line in front of the endpoint in a URL.
func newAWSServer(t *testing.T, text string) *awsServer {
	u, err := url.Parse(text)
	require.NoError(t, err)
	query := u.Query()
	endpoint, err := url.Parse(query.Get("endpoint"))
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &awsServer{line: newLine(l)}
	t.Cleanup(func() {
		s.line.set(true)
		require.NoError(t, l.Close())
	})
	go s.forward(endpoint.Host)
	query.Set("endpoint", "http://"+l.Addr().String())
	u.RawQuery = query.Encode()
	s.address = u.String()
	return s
}

// forward connects each connection with the server, until the listener is closed.
func (s *awsServer) forward(to string) {
	for {
		c, err := s.line.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			other, err := net.Dial("tcp", to)
			if err != nil {
				return // as if the server had hung up
			}
			defer other.Close()
			go func() {
				_, _ = io.Copy(other, c) // until either hangs up
				_ = other.Close()
			}()
			_, _ = io.Copy(c, other)
		}()
	}
}

func (s *awsServer) name() string     { return "SNS and SQS (fauxqs, cut off)" }
func (s *awsServer) url() string      { return s.address }
func (s *awsServer) stop(*testing.T)  { s.line.set(true) }
func (s *awsServer) start(*testing.T) { s.line.set(false) }
