package amqp_test

import (
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

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/relay"
	"github.com/tidings-go/tidings/relay/amqp"
	"github.com/tidings-go/tidings/relay/internal/brokertest"
)

// A load publishes and consumes while something fails.
type load struct {
	t         *testing.T
	publisher relay.Broker
	topic     string
	halfway   chan struct{} // closed when half of the messages are published
	failed    chan struct{} // closed when what fails has failed

	mu        sync.Mutex
	confirmed map[string]bool
	handled   map[string]int
	refused   int
	slowest   time.Duration
}

const publishers = 4

// run publishes so many messages or more until the server has confirmed them,
// calls fail halfway, and returns when all that was confirmed was handled. They are
// published until fail has returned. server is the URL of the server without
// anything in between.
func (l *load) run(total int, server string, consumers []relay.Broker, fail func()) {
	l.topic, l.halfway, l.failed = newName(), make(chan struct{}), make(chan struct{})
	l.confirmed, l.handled = map[string]bool{}, map[string]int{}
	var consuming, publishing sync.WaitGroup
	for _, b := range consumers {
		messages := subscribe(l.t, subscriber(l.t, b, "group"), l.topic)
		consuming.Go(func() { l.consume(messages) })
	}
	for range publishers {
		publishing.Go(func() { l.publish(total / publishers) })
	}
	<-l.halfway
	fail()
	close(l.failed)
	publishing.Wait()
	if !assert.Eventually(l.t, func() bool { return l.unhandled() == 0 }, 2*time.Minute, 10*time.Millisecond, "what was confirmed is lost") {
		queue, err := rawClient(l.t, server).QueueDeclarePassive("group@"+l.topic, true, false, false, false, nil)
		require.FailNow(l.t, "lost", "%d of %d confirmed messages; of the queue the server says %+v, %v", l.unhandled(), total, queue, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	require.GreaterOrEqual(l.t, len(l.confirmed), total/publishers*publishers)
	twice := 0
	for _, n := range l.handled {
		twice += n - 1
	}
	l.t.Logf("%d confirmed, %d refused, slowest Publish %v, %d handled, %d of them again", len(l.confirmed), l.refused, l.slowest, len(l.handled), twice)
}

// unhandled returns how many messages were confirmed and not handled.
func (l *load) unhandled() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id := range l.confirmed {
		if l.handled[id] == 0 {
			n++
		}
	}
	return n
}

func (l *load) publish(n int) {
	for i := 0; i < n || !isClosed(l.failed); i++ {
		if i >= n {
			<-time.After(time.Millisecond) // not too many, if it takes long until it has failed
		}
		id := uuid.NewString()
		for {
			began := time.Now()
			err := l.publisher.Publish(l.t.Context(), l.topic, &relay.Message{ID: id, Body: []byte("body")})
			l.mu.Lock()
			l.slowest = max(l.slowest, time.Since(began))
			if err == nil {
				l.confirmed[id] = true
				if len(l.confirmed) == n*publishers/2 {
					close(l.halfway)
				}
				l.mu.Unlock()
				break
			}
			l.refused++
			l.mu.Unlock()
			<-time.After(20 * time.Millisecond)
		}
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (l *load) consume(messages <-chan *brokertest.Message) {
	for m := range messages {
		l.mu.Lock()
		l.handled[m.ID]++
		l.mu.Unlock()
		m.Ack()
	}
}

func TestConnectionsBreak(t *testing.T) {
	t.Parallel()
	u := serverURL(t)
	p, throughProxy := newProxy(t, u, nil)
	l := &load{t: t, publisher: newBroker(t, throughProxy, amqp.Config{})}
	l.run(2000, u, []relay.Broker{newBroker(t, throughProxy, amqp.Config{}), newBroker(t, throughProxy, amqp.Config{})}, func() {
		for range 5 { // a pool that loses a channel each time would be empty
			p.Cut(false)
			<-time.After(100 * time.Millisecond)
		}
		p.Cut(true)
		<-time.After(500 * time.Millisecond)
		p.Cut(false)
	})
	require.Less(t, l.slowest, ends)
}

func TestServerIsKilledAndStartedAgain(t *testing.T) {
	t.Parallel()
	server := onChild(t, mortal, "kill")
	l := &load{t: t, publisher: newBroker(t, server.url(), amqp.Config{})}
	l.run(2000, server.url(), []relay.Broker{newBroker(t, server.url(), amqp.Config{}), newBroker(t, server.url(), amqp.Config{})}, func() {
		require.NoError(t, server.together(server.restart))
	})
	require.Less(t, l.slowest, ends)
	require.Positive(t, l.refused, "the server was gone")
}

// The network takes bytes and delivers none: nobody notices but by waiting.
func TestNetworkIsSilent(t *testing.T) {
	t.Parallel()
	u := serverURL(t)
	p, throughProxy := newProxy(t, u, nil)
	b, topic := newBroker(t, throughProxy, amqp.Config{}), newName()
	s := subscriber(t, b, "group")
	messages := subscribe(t, s, topic)
	publish(t, b, topic, "before")
	inFlight := receive(t, messages)
	p.Stall()
	var all sync.WaitGroup
	began := time.Now()
	errs := make(chan error, 30)
	for range cap(errs) { // until no buffer has room, so that a write waits
		all.Go(func() { errs <- b.Publish(t.Context(), topic, &relay.Message{Body: make([]byte, 1<<20)}) })
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	m := &relay.Message{Body: []byte("limited")}
	if err := b.Publish(ctx, topic, m); ctx.Err() != nil {
		require.Error(t, err)
	}
	all.Wait()
	require.Less(t, time.Since(began), ends)
	close(errs)
	for err := range errs {
		require.Error(t, err)
	}
	inFlight.Ack()
	p.Cut(false)
	p.Resume()
	require.Eventually(t, func() bool {
		return b.Publish(t.Context(), topic, &relay.Message{Body: []byte("after")}) == nil
	}, 2*time.Minute, 100*time.Millisecond)
	for m := receive(t, messages); string(m.Body) != "after"; m = receive(t, messages) {
		m.Ack()
	}
}

func TestPublishHonoursContext(t *testing.T) {
	t.Parallel()
	u := serverURL(t)
	p, throughProxy := newProxy(t, u, nil)
	b, topic := newBroker(t, throughProxy, amqp.Config{}), newName()
	publish(t, b, topic, "before")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, b.Publish(ended, topic, &relay.Message{}), context.Canceled)
	p.Stall()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	require.ErrorIs(t, b.Publish(ctx, topic, &relay.Message{}), context.DeadlineExceeded)
	require.Less(t, time.Since(began), ends)
	p.Cut(true)
}

func TestCloseWithoutServer(t *testing.T) {
	t.Parallel()
	u := serverURL(t)
	p, throughProxy := newProxy(t, u, nil)
	for _, fail := range []func(){p.Stall, func() { p.Cut(true) }} {
		p.Cut(false)
		b, topic := newBroker(t, throughProxy, amqp.Config{}), newName()
		s := subscriber(t, b, "group")
		messages := subscribe(t, s, topic)
		publish(t, b, topic, "in flight")
		receive(t, messages)
		fail()
		began := time.Now()
		require.NoError(t, s.Close())
		require.NoError(t, b.Close())
		require.Less(t, time.Since(began), ends)
		require.Error(t, b.Publish(t.Context(), topic, &relay.Message{}), "after Close, too")
		p.Resume()
	}
}

// While the server is away, a process starts: that is an error, and no more.
func TestServerIsAwayAtFirst(t *testing.T) {
	t.Parallel()
	u := serverURL(t)
	p, throughProxy := newProxy(t, u, nil)
	p.Cut(true)
	b, topic := newBroker(t, throughProxy, amqp.Config{}), newName()
	s := subscriber(t, b, "group")
	require.Error(t, b.Publish(t.Context(), topic, &relay.Message{}))
	require.Error(t, s.Declare(topic))
	_, err := s.Subscribe(t.Context(), topic)
	require.Error(t, err)
	p.Cut(false)
	require.Eventually(t, func() bool {
		return s.Declare(topic) == nil
	}, time.Minute, 10*time.Millisecond)
	publish(t, b, topic, "after")
	receive(t, subscribe(t, s, topic)).Ack()
}

func TestTLS(t *testing.T) {
	t.Parallel()
	server := serverURL(t)
	certificate, ca := newCertificate(t)
	_, plain := newProxy(t, server, &tls.Config{Certificates: []tls.Certificate{certificate}})
	secure := strings.Replace(plain, "amqp://", "amqps://", 1)
	for _, test := range []struct{ url, refused, reason string }{
		{secure + "?tls_ca=" + url.QueryEscape(ca), "", ""},
		{plain + "?tls_ca=" + url.QueryEscape(ca), "", "parameters for TLS imply it"},
		{secure, "certificate", "nobody has signed it that the system trusts"},
		{secure + "?tls_server_name=example.com&tls_ca=" + url.QueryEscape(ca), "example.com", "it is the certificate of another server"},
	} {
		r, err := open(t, test.url, &tidings.Registry{})
		if test.refused != "" {
			require.ErrorAs(t, err, new(*relay.UnreachableError), test.reason)
			require.ErrorContains(t, err, test.refused, test.reason)
			continue
		}
		require.NoError(t, err, test.reason)
		require.NoError(t, r.Close(t.Context()))
	}
}

// newCertificate returns a certificate for 127.0.0.1, and a file that has it.
func newCertificate(t *testing.T) (certificate tls.Certificate, file string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	file = filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}

func TestManyPublishersOfManyTopics(t *testing.T) {
	t.Parallel()
	b := newBroker(t, serverURL(t), amqp.Config{})
	s, prefix := subscriber(t, b, "group"), newName()
	for i := range 5 {
		require.NoError(t, s.Declare(fmt.Sprint(prefix, i)))
	}
	var all sync.WaitGroup
	errs := make(chan error, 250)
	for i := range 50 {
		all.Go(func() {
			batch := []*relay.Message{{Body: []byte("a")}, {Body: []byte("b")}}
			for range cap(errs) / 50 {
				errs <- b.Publish(t.Context(), fmt.Sprint(prefix, i%5), batch...)
			}
		})
	}
	all.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	for i := range 5 {
		messages := subscribe(t, s, fmt.Sprint(prefix, i))
		for range 100 {
			receive(t, messages).Ack()
		}
		receiveNone(t, messages)
	}
}
