package faulttest_test

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	_ "github.com/tidings-go/tidings/relay/kafka"
)

func init() {
	brokers["Kafka"] = func(t *testing.T) server {
		s := &kafkaServer{}
		cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.ListenFn(func(network, address string) (net.Listener, error) {
			l, err := net.Listen(network, address)
			if err != nil {
				return nil, err
			}
			s.line = newLine(l)
			return s.line, nil
		}))
		require.NoError(t, err)
		t.Cleanup(cluster.Close)
		s.address = cluster.ListenAddrs()[0]
		return s
	}
}

// A kafkaServer is one in this process, which has nothing to keep its messages
// in: it is stopped by cutting it off.
type kafkaServer struct {
	address string
	line    *line
}

func (s *kafkaServer) name() string     { return "Kafka (kfake, cut off)" }
func (s *kafkaServer) url() string      { return "kafka://" + s.address }
func (s *kafkaServer) stop(*testing.T)  { s.line.set(true) }
func (s *kafkaServer) start(*testing.T) { s.line.set(false) }
