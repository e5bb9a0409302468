package kafka_test

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/testport"
	"github.com/tidings-go/tidings/relay"
	"github.com/tidings-go/tidings/relay/internal/brokertest"
	"github.com/tidings-go/tidings/relay/kafka"
)

// open opens a relay, and closes it with the test.
func open(t *testing.T, ctx context.Context, brokerURL string) error {
	t.Helper()
	r, err := relay.Open(ctx, brokerURL, new(tidings.Registry))
	if err == nil {
		require.NoError(t, r.Close(t.Context()))
	}
	return err
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	hosts := strings.Join(cluster(t).ListenAddrs(), ",")
	tests := []struct{ url, want, reason string }{
		{"kafka://", "lacks a host", ""},
		{"kafka://a:9092,,b:9092", "lacks a host", ""},
		{"kafka:a:9092", "the URL must be like", "no slashes"},
		{"kafka://" + hosts + "/topic", "without a path", "topics have their own rule"},
		{"kafka://" + hosts + "?partitions=0", "partitions", ""},
		{"kafka://" + hosts + "?partitions=99999999999", "partitions", "more than the protocol has room for"},
		{"kafka://" + hosts + "?replication=70000", "replication", "more than the protocol has room for"},
		{"kafka://" + hosts + "?replication=-1", "replication", "the default cannot be written down"},
		{"kafka://" + hosts + "?max_message_bytes=10", "max_message_bytes", ""},
		{"kafka://" + hosts + "?sasl=gssapi", "scram-sha-512", "the error names what there is"},
		{"kafka://user@" + hosts, "no password", ""},
		{"kafka://" + hosts + "?acks=1", `unknown parameters: "acks"`, ""},
	}
	for _, test := range tests {
		err := open(t, t.Context(), test.url)
		require.ErrorContains(t, err, test.want, "%s %s", test.url, test.reason)
		var unreachable *relay.UnreachableError
		require.NotErrorAs(t, err, &unreachable, "%s %s", test.url, test.reason)
	}
}

func TestOpenUnreachable(t *testing.T) {
	t.Parallel()
	nobody := fmt.Sprintf("127.0.0.1:%d", testport.Reserve(t))
	mute, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and says nothing
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, mute.Close()) })
	for _, addr := range []string{nobody, mute.Addr().String()} {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if addr != nobody {
			time.AfterFunc(time.Second, cancel)
		}
		err := open(t, ctx, "kafka://user:secret@"+addr)
		if addr != nobody {
			require.ErrorIs(t, err, context.Canceled, "and not that there was no answer")
		}
		var unreachable *relay.UnreachableError
		require.ErrorAs(t, err, &unreachable)
		require.NotZero(t, unreachable.RetryAfter)
		require.NotContains(t, err.Error(), "secret")
	}
}

func TestLogin(t *testing.T) {
	t.Parallel()
	const password = "p@ss/word?"
	for _, tt := range []struct {
		sasl      string
		mechanism string
	}{{"plain", "PLAIN"}, {"scram-sha-256", "SCRAM-SHA-256"}, {"scram-sha-512", "SCRAM-SHA-512"}} {
		t.Run(tt.sasl, func(t *testing.T) {
			t.Parallel()
			c := cluster(t, kfake.EnableSASL(), kfake.Superuser(tt.mechanism, "me", password))
			target := func(password string) string {
				u := url.URL{Scheme: "kafka", Host: strings.Join(c.ListenAddrs(), ","), User: url.UserPassword("me", password), RawQuery: "sasl=" + tt.sasl}
				return u.String()
			}
			require.NoError(t, open(t, t.Context(), target(password)))
			for _, wrong := range []string{target("wrong-secret"), urlOf(c)} {
				err := open(t, t.Context(), wrong)
				var unreachable *relay.UnreachableError
				require.ErrorAs(t, err, &unreachable)
				require.NotContains(t, err.Error(), "wrong-secret")
			}
		})
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	c := cluster(t, kfake.TLS(&tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}))

	require.NoError(t, open(t, t.Context(), urlOf(c, "tls_ca="+url.QueryEscape(ca))))
	var unreachable *relay.UnreachableError
	require.ErrorAs(t, open(t, t.Context(), urlOf(c, "tls=true")), &unreachable, "nobody has signed the certificate")
	require.ErrorAs(t, open(t, within(t, 3*time.Second), urlOf(c)), &unreachable, "the server speaks TLS only")
}

func TestNew(t *testing.T) {
	t.Parallel()
	_, err := kafka.New(kafka.Config{})
	require.ErrorContains(t, err, "Addrs")
	client := kafka.NewClientConfig()
	client.Producer.RequiredAcks = sarama.NoResponse // which an idempotent producer cannot have
	_, err = kafka.New(kafka.Config{Addrs: []string{"127.0.0.1:1"}, Client: client})
	require.ErrorAs(t, err, new(sarama.ConfigurationError))

	c := cluster(t)
	for _, partitions := range []int32{0, 3} {
		b := brokerOf(t, c, partitions)
		topic := fmt.Sprintf("t%d", partitions)
		publish(t, b, topic, 1)
		require.Len(t, c.PartitionInfos(topic), int(cmp.Or(partitions, 6)), "six is the default")
		require.ErrorContains(t, b.Declare(t.Context(), relay.Group{}, topic), "name")
		_, err = b.Consume(t.Context(), relay.Group{}, topic, nil)
		require.ErrorContains(t, err, "name")
	}
}

// New does not connect. The first call does, and if it fails, the next one.
func TestNewConnectsAtFirstUse(t *testing.T) {
	t.Parallel()
	port := testport.Reserve(t)
	newBroker := func() relay.Broker {
		b, err := kafka.New(kafka.Config{Addrs: []string{fmt.Sprintf("127.0.0.1:%d", port)}})
		require.NoError(t, err)
		return b
	}
	b, unused, closed := newBroker(), newBroker(), newBroker()
	s := brokertest.NewSubscriber(b, relay.Group{Name: "g"})
	for _, use := range []func() error{
		func() error { return b.Publish(t.Context(), "t", &relay.Message{ID: "1"}) },
		func() error { return s.Declare("t") },
	} {
		begin := time.Now()
		require.ErrorContains(t, use(), "connecting")
		require.Less(t, time.Since(begin), soon)
	}
	require.NoError(t, unused.Close())
	require.NoError(t, closed.Close())
	require.ErrorContains(t, closed.Publish(t.Context(), "t", &relay.Message{ID: "1"}), "closed")

	start(t, t.TempDir(), port)
	var uses sync.WaitGroup
	for range 10 {
		uses.Go(func() { assert.NoError(t, b.Publish(t.Context(), "t", &relay.Message{ID: "1"})) })
	}
	messages := subscribe(t, s, "t")
	uses.Wait()
	require.Equal(t, "1", receive(t, messages).ID)
	require.NoError(t, s.Close())
	require.NoError(t, b.Close())
}
