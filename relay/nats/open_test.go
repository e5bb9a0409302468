package nats_test

import (
	"context"
	"encoding/pem"
	"errors"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/relay"
)

func TestBadURLs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ url, wants string }{
		{"nats:///", "nats://HOST:PORT"},
		{"nats://127.0.0.1:1/path", "nats://HOST:PORT"},
		{"nats://127.0.0.1:1?replicas=0", "replicas"},
		{"nats://127.0.0.1:1?max_age=week", "max_age"},
		{"nats://127.0.0.1:1?max_age=-1h", "max_age"},
		{"nats://127.0.0.1:1?deliver=last", "deliver"},
		{"nats://127.0.0.1:1?maxage=1h", "creds, deliver, max_age, replicas"},
		{"nats://127.0.0.1:1?creds=/does/not/exist", "creds"},
		{"tls://127.0.0.1:1?tls_ca=/does/not/exist", "tls_ca"},
	} {
		_, err := openRelay(t.Context(), c.url)
		require.ErrorContains(t, err, c.wants, c.url)
		require.False(t, isUnreachable(err), c.url)
	}
}

func isUnreachable(err error) bool {
	var u *relay.UnreachableError
	return errors.As(err, &u)
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and says nothing
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, silent.Close()) })
	protected := startServer(t, func(o *server.Options) { o.Username, o.Password = "user", "right" })
	plain := startServer(t, func(o *server.Options) { o.JetStream = false })
	for _, c := range []struct {
		url, wants, reason string
		within             time.Duration
	}{
		{"nats://127.0.0.1:1", "no servers available", "nobody is there", patience},
		// The dial gives up after five seconds, and says something else.
		{"nats://" + silent.Addr().String(), "context deadline exceeded", "no greeting within the ctx", time.Second},
		{"nats://user:wrong-secret@" + protected.host(), "Authorization", "wrong password", patience},
		{protected.url(), "Authorization", "no password", patience},
		{plain.url(), "has no JetStream", "a server without -js", patience},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), c.within)
		began := time.Now()
		_, err := openRelay(ctx, c.url)
		cancel()
		require.True(t, isUnreachable(err), "%s: %v", c.reason, err)
		require.ErrorContains(t, err, c.wants, c.reason)
		require.NotContains(t, err.Error(), "wrong-secret", c.reason)
		require.Less(t, time.Since(began), patience, c.reason)
	}
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	withPassword := startServer(t, func(o *server.Options) { o.Username, o.Password = "user", "a secret" })
	withToken := startServer(t, func(o *server.Options) { o.Authorization = "token" })
	for _, url := range []string{
		"nats://user:a%20secret@" + withPassword.host(),
		"nats://token@" + withToken.host(),
		"nats://token@127.0.0.1:1," + withToken.host(), // the first of two is away
	} {
		publish(t, openBroker(t, url), "topic", 1, 1)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	certificates := httptest.NewTLSServer(nil) // for its certificate
	defer certificates.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := &pem.Block{Type: "CERTIFICATE", Bytes: certificates.Certificate().Raw}
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(block), 0o600))
	s := startServer(t, func(o *server.Options) { o.TLSConfig = certificates.TLS.Clone() })

	for _, scheme := range []string{"tls", "nats"} {
		publish(t, openBroker(t, scheme+"://"+s.host()+"?tls_ca="+ca), "topic", 1, 1)
	}
	publish(t, openBroker(t, "tls://"+s.host()+"?tls_server_name=example.com&tls_ca="+ca), "topic", 1, 1)
	_, err := openRelay(t.Context(), "tls://"+s.host())
	require.True(t, isUnreachable(err), "a certificate that nobody trusts: %v", err)
	_, err = openRelay(t.Context(), "tls://"+startServer(t).host())
	require.True(t, isUnreachable(err), "a server without TLS: %v", err)
}

// A user may do what doc.go says that is needed, and nothing else.
func TestPermissions(t *testing.T) {
	t.Parallel()
	needed := []string{"orders.>", "g.>", "_INBOX.>", "$JS.ACK.>"}
	for _, api := range []string{"INFO", "STREAM.NAMES", "STREAM.INFO.*", "STREAM.CREATE.*", "CONSUMER.INFO.*.*", "CONSUMER.CREATE.>", "CONSUMER.MSG.NEXT.*.*"} {
		needed = append(needed, "$JS.API."+api)
	}
	s := startServer(t, func(o *server.Options) {
		o.Users = []*server.User{
			{Username: "shop", Password: "secret", Permissions: &server.Permissions{
				Publish: &server.SubjectPermission{Allow: needed}, Subscribe: &server.SubjectPermission{Allow: needed},
			}},
		}
	})
	b := openBroker(t, "nats://shop:secret@"+s.host()+"?deliver=new")
	g := group("g")
	initialize(t, b, g, "orders.placed")
	g.AckWait = 45 * time.Second // which is set anew
	publish(t, b, "orders.placed", 1, 1)
	require.Equal(t, numbers(1, 1), bodies(t, subscribe(t, subscriber(t, openBroker(t, "nats://shop:secret@"+s.host()), g), "orders.placed"), 1))
	require.NoError(t, b.Enqueue(t.Context(), queue("g.dead"), &relay.Message{ID: "1", Body: []byte("1")}))
	require.Equal(t, numbers(1, 1), bodies(t, subscribe(t, subscriber(t, b, queue("g.dead")), "g.dead"), 1))
}
