package redis_test

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/testport"
	"github.com/tidings-go/tidings/relay"
	"github.com/tidings-go/tidings/relay/internal/brokertest"
	"github.com/tidings-go/tidings/relay/redis"
)

// opened returns the error of Open.
func opened(t *testing.T, url string, opts ...relay.Option) error {
	t.Helper()
	r, err := relay.Open(t.Context(), url, new(tidings.Registry), opts...)
	if err == nil {
		require.NoError(t, r.Close(t.Context()))
	}
	return err
}

func TestBadURL(t *testing.T) {
	t.Parallel()
	addr := miniredis.RunT(t).Addr()
	tests := []struct{ url, want string }{
		{"redis://", "no host"},
		{"redis://:6379", "no host"},
		{"redis://a:1,b:2", "several hosts"},
		{"redis://" + addr + "/first", `"/first" must be the number`},
		{"redis://" + addr + "/-1", `"/-1" must be the number`},
		{"redis://" + addr + "?maxlen=0", `maxlen="0"`},
		{"redis://" + addr + "?maxlen=many", `maxlen="many"`},
		{"redis://" + addr + "?max_len=10", `"max_len"`},
	}
	for _, test := range tests {
		err := opened(t, test.url)
		require.ErrorContains(t, err, test.want)
		require.NotErrorAs(t, err, new(*relay.UnreachableError), test.url)
	}
	require.NoError(t, opened(t, "redis://"+addr+"/3?maxlen=1000"))
}

func TestRefused(t *testing.T) {
	t.Parallel()
	tests := []struct {
		answer      string
		unreachable bool
		want        string
	}{
		{"ERR syntax error", false, "Redis 6.2"},
		{"ERR unknown command `xtrim`, with args beginning with:", false, "Redis 6.2"},
		{"ERR DB index is out of range", false, "does not have this database"},
		{"READONLY You can't write against a read only replica.", true, "READONLY"},
		{"LOADING Redis is loading the dataset in memory", true, "LOADING"},
		{"NOPERM this user has no permissions to access one of the keys used as arguments", false, ""},
	}
	for _, test := range tests {
		s := miniredis.RunT(t)
		s.Server().SetPreHook(func(c *server.Peer, cmd string, _ ...string) bool {
			if cmd != "XTRIM" {
				return false
			}
			c.WriteError(test.answer)
			return true
		})
		err := opened(t, "redis://"+s.Addr())
		if test.want == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, test.want)
		if test.unreachable {
			require.ErrorAs(t, err, new(*relay.UnreachableError))
		} else {
			require.NotErrorAs(t, err, new(*relay.UnreachableError))
		}
	}
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	s := miniredis.RunT(t)
	s.RequireUserAuth("carrier", "p@ss word")
	require.NoError(t, opened(t, "redis://carrier:p%40ss%20word@"+s.Addr()))
	for _, user := range []string{"carrier:secret@", "somebody:secret@", ""} {
		err := opened(t, "redis://"+user+s.Addr())
		require.ErrorAs(t, err, new(*relay.UnreachableError), user)
		require.NotContains(t, err.Error(), "secret")
	}
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	nobody := fmt.Sprintf("redis://127.0.0.1:%d", testport.Reserve(t))
	require.ErrorAs(t, opened(t, nobody), new(*relay.UnreachableError))

	silent, err := net.Listen("tcp", "127.0.0.1:0") // nobody accepts
	require.NoError(t, err)
	defer func() { require.NoError(t, silent.Close()) }()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	time.AfterFunc(300*time.Millisecond, cancel)
	_, err = relay.Open(ctx, "redis://"+silent.Addr().String(), new(tidings.Registry))
	require.ErrorAs(t, err, new(*relay.UnreachableError))
	require.ErrorIs(t, err, context.Canceled, "Open ends with its ctx, and not when its own time is up")
}

func TestTLS(t *testing.T) {
	t.Parallel()
	donor := httptest.NewTLSServer(nil) // of a certificate for 127.0.0.1
	defer donor.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: donor.Certificate().Raw}), 0o600))
	s := miniredis.NewMiniRedis()
	require.NoError(t, s.StartTLS(&tls.Config{Certificates: donor.TLS.Certificates}))
	defer s.Close()

	require.NoError(t, opened(t, "rediss://"+s.Addr()+"?tls_ca="+ca))
	require.NoError(t, opened(t, "redis://"+s.Addr()+"?tls_ca="+ca))
	err := opened(t, "rediss://"+s.Addr())
	require.ErrorAs(t, err, new(*relay.UnreachableError))
	require.ErrorContains(t, err, "certificate")
	require.ErrorAs(t, opened(t, "redis://"+s.Addr()), new(*relay.UnreachableError))
}

func TestNew(t *testing.T) {
	t.Parallel()
	_, err := redis.New(redis.Config{})
	require.ErrorContains(t, err, "Client")
	_, err = redis.New(redis.Config{Client: &goredis.UniversalOptions{}, MaxLen: -1})
	require.ErrorContains(t, err, "MaxLen -1")

	b, _ := newBroker(t, "redis://"+miniredis.RunT(t).Addr())
	nameless := brokertest.NewSubscriber(b, relay.Group{})
	_, err = nameless.Subscribe(t.Context(), "topic")
	require.ErrorContains(t, err, "without a name")
	name := "az.AZ_09/:-" + strings.Repeat("x", 200)
	require.Equal(t, name, b.Topic(name))
	c := newConsumer(t, b, name+".retry", b.Topic(name), time.Minute)
	publish(t, b, b.Topic(name), "long")
	require.True(t, c.next().Ack())
}

// The rights that the documentation names are enough.
func TestFewRights(t *testing.T) {
	t.Parallel()
	s := newChild(t)
	_, client := newBroker(t, s.url())
	require.NoError(t, client.Do(t.Context(), "ACL", "SETUSER", "carrier", "on", ">secret", "~orders*",
		"+xadd", "+xgroup", "+xreadgroup", "+xack", "+xpending", "+xclaim", "+xautoclaim", "+xinfo", "+xtrim", "+xdel", "+xrange", "+exists", "+info", "+eval", "+evalsha").Err())
	require.NoError(t, opened(t, "redis://carrier:secret@"+s.addr))
	b, err := redis.New(redis.Config{Client: &goredis.UniversalOptions{Addrs: []string{s.addr}, Username: "carrier", Password: "secret"}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) }) // after the consumers
	redis.SetTrim(b, 0, time.Minute)
	c := newConsumer(t, b, "group", "orders", time.Minute)
	for range 300 {
		publish(t, b, "orders", "x")
		require.True(t, c.next().Ack())
	}
	publish(t, b, "orders", "y")
	require.True(t, c.next().Nack())
	c.next()
	c.close()
	require.True(t, newConsumer(t, b, "group", "orders", time.Minute).next().Ack())
	redis.Trim(t.Context(), b, "orders")
	n, err := client.XLen(t.Context(), "orders").Result()
	require.NoError(t, err)
	require.Less(t, n, int64(200))
	consumers, err := client.XInfoConsumers(t.Context(), "orders", "group").Result()
	require.NoError(t, err)
	require.LessOrEqual(t, len(consumers), 2)
	require.ErrorContains(t, b.Publish(t.Context(), "secrets", &relay.Message{ID: "z"}), "NOPERM")
	log, err := client.ACLLog(t.Context(), 10).Result()
	require.NoError(t, err)
	for _, entry := range log {
		require.Contains(t, []string{"tidings-probe", "secrets"}, entry.Object)
	}
}
