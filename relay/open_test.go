package relay_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/relay"
	"github.com/tidings-go/tidings/relay/internal/brokertest"
)

// targets is the driver of the schemes "test" and "tests": it answers what the
// test wants, by the host of the URL.
var targets struct {
	sync.Mutex
	answers map[string]func(relay.Target) (relay.Broker, error)
}

func init() {
	targets.answers = map[string]func(relay.Target) (relay.Broker, error){}
	for _, scheme := range []string{"test", "tests"} {
		relay.RegisterBroker(scheme, func(_ context.Context, target relay.Target) (relay.Broker, error) {
			targets.Lock()
			answer := targets.answers[target.URL.Hostname()]
			targets.Unlock()
			return answer(target)
		})
	}
}

// answer sets what the driver says to URLs with that host.
func answer(t *testing.T, host string, fn func(relay.Target) (relay.Broker, error)) {
	t.Helper()
	targets.Lock()
	defer targets.Unlock()
	require.Nil(t, targets.answers[host])
	targets.answers[host] = fn
	t.Cleanup(func() {
		targets.Lock()
		defer targets.Unlock()
		delete(targets.answers, host)
	})
}

// targetOf returns what a driver is told of a URL with that host.
func targetOf(t *testing.T, host, url string) relay.Target {
	t.Helper()
	var target relay.Target
	answer(t, host, func(told relay.Target) (relay.Broker, error) {
		target = told
		return newBroker(t), nil
	})
	r, err := relay.Open(t.Context(), url, newRegistry())
	require.NoError(t, err)
	require.NoError(t, r.Close(t.Context()))
	return target
}

func TestOpenErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ url, want string }{
		{"", `the URL has no scheme: it must be like "nats://localhost:4222"`},
		{"localhost", "no scheme"},
		{"localhost:4222", `unknown scheme "localhost": this program has drivers for memory, test, tests`},
		{"//user:hunter2@localhost", "no scheme"},
		{"mqtt://user:hunter2@localhost", `unknown scheme "mqtt"`},
		{"nats://user:hunter2@localhost", `no driver for "nats" is linked into this program: import _ "github.com/tidings-go/tidings/relay/nats"`},
		{"tls://localhost", `import _ "github.com/tidings-go/tidings/relay/nats"`},
		{"amqp://localhost", `import _ "github.com/tidings-go/tidings/relay/amqp"`},
		{"amqps://localhost", `import _ "github.com/tidings-go/tidings/relay/amqp"`},
		{"kafka://a:1,b:2", `import _ "github.com/tidings-go/tidings/relay/kafka"`},
		{"redis://localhost", `import _ "github.com/tidings-go/tidings/relay/redis"`},
		{"rediss://localhost", `import _ "github.com/tidings-go/tidings/relay/redis"`},
		{"aws-sns-sqs://eu-central-1", `import _ "github.com/tidings-go/tidings/relay/aws"`},
		{"nats://user:hunter2@local host", "cannot be read"},
		{"nats://user:hun%zzter2@localhost", "cannot be read"},
		{"nats://user:hunter2/x@localhost:4222", "percent-encoded"},
		{"nats://user:hunter2#x@localhost:4222", "percent-encoded"},
		{"nats://user:hunter2?x@localhost:4222", "percent-encoded"},
		{"nats://user:123/hunter2@localhost:4222", "percent-encoded"},
		{"nats://user:x@123/hunter2@localhost:4222", "percent-encoded"},
		{"nats://user:hunter2@localhost:port", "cannot be read"},
		{"nats://local host", `invalid character " " in host name`},
		{"nats://localhost/a%40b", "no driver"},
		{"nats://user:hunter@2@localhost", "no driver"},
		{"memory://", "the URL must be memory://NAME"},
		{"memory://a/b", "the URL must be memory://NAME"},
		{"memory://a?x=1&x=2&b=hunter2", `unknown parameters: "b", "x"; the known ones are tls, tls_ca, tls_cert, tls_key, tls_server_name`},
		{"memory://a?x=%zz", "the parameters of the URL cannot be read"},
		{"memory://a?tls=maybe", `the parameter tls="maybe" must be true or false`},
		{"memory://a?tls_cert=x.pem", "tls_cert and tls_key must be set together"},
		{"memory://a?tls_key=x.pem", "tls_cert and tls_key must be set together"},
		{"memory://a?tls_ca=/does/not/exist.pem", "tls_ca: open /does/not/exist.pem"},
		{"memory://a?tls_ca=open_test.go", "tls_ca: open_test.go has no certificate in PEM"},
		{"memory://a?tls_cert=/does/not/exist.pem&tls_key=x", "tls_cert and tls_key: open /does/not/exist.pem"},
	} {
		_, err := relay.Open(t.Context(), tt.url, newRegistry())
		require.ErrorContains(t, err, tt.want, tt.url)
		require.ErrorContains(t, err, "relay: Open", tt.url)
		require.NotContains(t, err.Error(), "hunter2", tt.url)
		require.NotContains(t, err.Error(), "hun%", tt.url)
		unreachable := (*relay.UnreachableError)(nil)
		require.False(t, errors.As(err, &unreachable), "trying again would not help: %s", tt.url)
	}
	_, err := relay.Open(t.Context(), newURL(), nil)
	require.ErrorContains(t, err, "nil Registry")
}

// The errors of drivers do not have the password, in whatever way they got it.
func TestOpenDriverErrors(t *testing.T) {
	t.Parallel()
	cause := errors.New("dial: access refused")
	answer(t, "refuses", func(target relay.Target) (relay.Broker, error) {
		return nil, fmt.Errorf("login as %s:%s: %w", target.Username, target.Password, cause)
	})
	_, err := relay.Open(t.Context(), "test://me:hunter2@refuses:1/x", newRegistry())
	require.EqualError(t, err, `relay: Open("test://refuses:1/x"): login as me:xxxxx: dial: access refused`)
	require.ErrorIs(t, err, cause)

	answer(t, "unreachable", func(target relay.Target) (relay.Broker, error) {
		return nil, fmt.Errorf("driver: %w", &relay.UnreachableError{Err: fmt.Errorf("with %s: %w", target.Password, cause)})
	})
	_, err = relay.Open(t.Context(), "test://me:hunter2@unreachable:1/x", newRegistry())
	require.EqualError(t, err, "relay: the broker test://unreachable:1/x cannot be reached (try again in 10s): with xxxxx: dial: access refused")
	require.ErrorIs(t, err, cause)
	unreachable := (*relay.UnreachableError)(nil)
	require.ErrorAs(t, err, &unreachable)
	require.Equal(t, 10*time.Second, unreachable.RetryAfter)
	require.Equal(t, "test://unreachable:1/x", unreachable.Broker)

	answer(t, "plain", func(relay.Target) (relay.Broker, error) { return nil, cause })
	_, err = relay.Open(t.Context(), "test://plain", newRegistry())
	require.EqualError(t, err, `relay: Open("test://plain"): dial: access refused`)
}

func TestRegisterBrokerPanics(t *testing.T) {
	t.Parallel()
	require.PanicsWithValue(t, `relay: RegisterBroker: "test" is registered already`, func() {
		relay.RegisterBroker("test", func(context.Context, relay.Target) (relay.Broker, error) { return nil, nil })
	})
	require.PanicsWithValue(t, "relay: RegisterBroker with a nil Driver", func() { relay.RegisterBroker("other", nil) })
}

// Relays of one name are connected, and others are not.
func TestMemoryNames(t *testing.T) {
	t.Parallel()
	var brokers []relay.Broker
	url := newURL()
	for _, u := range []string{url, url, newURL()} {
		r, err := relay.Open(t.Context(), u, newRegistry())
		require.NoError(t, err)
		brokers = append(brokers, brokerOf(r))
	}
	require.True(t, brokers[0] == brokers[1])
	require.False(t, brokers[0] == brokers[2])
}

// What was acknowledged does not come again, also if the subscriber is closed
// at that moment.
func TestMemoryAckAndClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, err := relay.Open(t.Context(), newURL(), newRegistry())
		require.NoError(t, err)
		b := brokerOf(r)
		subscribe := func() (*brokertest.Subscriber, <-chan *brokertest.Message) {
			s := brokertest.NewSubscriber(b, relay.Group{Name: "g"})
			messages, err := s.Subscribe(context.WithoutCancel(t.Context()), "topic")
			require.NoError(t, err)
			return s, messages
		}
		for range 100 {
			s, messages := subscribe()
			require.NoError(t, b.Publish(t.Context(), "topic", &relay.Message{}))
			synctest.Wait() // it is being passed over, and nobody waits for the answer yet
			(<-messages).Ack()
			require.NoError(t, s.Close())

			s, messages = subscribe()
			synctest.Wait()
			select {
			case <-messages:
				t.Fatal("an acknowledged message comes again")
			default:
			}
			require.NoError(t, s.Close())
		}
	})
}

// What is refused comes again, before what is behind it.
func TestMemoryKeepsTheOrder(t *testing.T) {
	t.Parallel()
	r, err := relay.Open(t.Context(), newURL(), newRegistry())
	require.NoError(t, err)
	b := brokerOf(r)
	s := brokertest.NewSubscriber(b, relay.Group{Name: "g"})
	messages, err := s.Subscribe(context.WithoutCancel(t.Context()), "topic")
	require.NoError(t, err)
	require.NoError(t, b.Publish(t.Context(), "topic", &relay.Message{ID: "1"}, &relay.Message{ID: "2"}, &relay.Message{ID: "3"}))
	for _, want := range []struct {
		id   string
		take bool
	}{{"1", false}, {"1", true}, {"2", false}, {"2", false}, {"2", true}, {"3", true}} {
		m := <-messages
		require.Equal(t, want.id, m.ID)
		if want.take {
			m.Ack()
		} else {
			m.Nack()
		}
	}
	require.NoError(t, s.Close())
}

// Open ends with its ctx, also if the driver does not, and closes what that opens.
func TestOpenOfASilentBroker(t *testing.T) {
	t.Parallel()
	host := "silent"
	release, b := make(chan struct{}), newBroker(t)
	closed := make(chan struct{})
	b.onBrokerClose = func() { close(closed) }
	answer(t, host, func(relay.Target) (relay.Broker, error) { <-release; return b, nil })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := relay.Open(ctx, "test://user:hunter2@"+host, newRegistry())
	require.ErrorIs(t, err, context.DeadlineExceeded)
	unreachable := (*relay.UnreachableError)(nil)
	require.ErrorAs(t, err, &unreachable)
	require.Equal(t, "test://silent", unreachable.Broker)
	close(release)
	<-closed
}
