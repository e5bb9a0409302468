package relay

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tidings-go/tidings"
)

// A Driver opens the broker of a [Target], and checks that it answers. If it
// does not, the Driver returns an [UnreachableError] in which only Err is set.
type Driver func(ctx context.Context, target Target) (Broker, error)

var (
	driversMu sync.RWMutex
	drivers   = map[string]Driver{}
)

// RegisterBroker registers the driver for a URL scheme with [Open]. It panics
// if the scheme is taken. The packages relay/amqp, relay/nats, relay/kafka,
// relay/redis and relay/aws call it when they are imported.
func RegisterBroker(scheme string, driver Driver) {
	mustNotBeNil(driver == nil, "RegisterBroker", "Driver")
	driversMu.Lock()
	defer driversMu.Unlock()
	if drivers[scheme] != nil {
		panic(fmt.Sprintf("relay: RegisterBroker: %q is registered already", scheme))
	}
	drivers[scheme] = driver
}

// modules maps schemes to the modules with the drivers of tidings.
var modules = map[string]string{
	"amqp": "amqp", "amqps": "amqp", "nats": "nats", "tls": "nats", "kafka": "kafka", "redis": "redis", "rediss": "redis", "aws-sns-sqs": "aws",
}

// retryAfter is when to try to reach a broker again: most restart in that time.
const retryAfter = 10 * time.Second

// Open returns a relay through the broker at a URL:
//
//	amqp://user:password@host:5672/vhost      RabbitMQ     relay/amqp
//	nats://host:4222                          JetStream    relay/nats
//	kafka://host1:9092,host2:9092             Kafka        relay/kafka
//	redis://host:6379/0                       Streams      relay/redis
//	aws-sns-sqs://eu-central-1                SNS and SQS  relay/aws
//	memory://name                             this process
//
// Import the module of the broker for its side effect:
//
//	import _ "github.com/tidings-go/tidings/relay/nats"
//
// The documentation of the module lists the parameters of its URLs; [Target]
// describes those for TLS, and the credentials in the environment. Open returns
// once the broker has answered. It returns an error if the URL is not valid,
// and an [UnreachableError] if the broker does not answer. The error never
// contains the password. Open ends with ctx. Events must be in registry.
func Open(ctx context.Context, brokerURL string, registry *tidings.Registry, opts ...Option) (*Relay, error) {
	r, err := newRelay(registry, opts)
	if err != nil {
		return nil, err
	}
	target, err := newTarget(brokerURL, r.logger())
	if err != nil {
		return nil, fmt.Errorf("relay: Open: %w", err)
	}
	driver, err := driverOf(target.URL.Scheme)
	if err != nil {
		return nil, err
	}
	name := target.URL.Redacted()
	opened := make(chan Broker, 1)
	err = await(ctx, func() error {
		b, err := driver(ctx, target)
		opened <- b
		return err
	})
	if err != nil && ctx.Err() != nil {
		go func() { // the driver continues
			if b := <-opened; b != nil {
				_ = b.Close()
			}
		}()
		if !errors.As(err, new(*UnreachableError)) {
			err = &UnreachableError{Err: err}
		}
	}
	if err != nil {
		if u := (*UnreachableError)(nil); errors.As(err, &u) {
			return nil, &UnreachableError{name, retryAfter, scrub(u.Err, target.Password)}
		}
		return nil, fmt.Errorf("relay: Open(%q): %w", name, scrub(err, target.Password))
	}
	r.broker = <-opened
	return r, nil
}

func driverOf(scheme string) (Driver, error) {
	driversMu.RLock()
	defer driversMu.RUnlock()
	if d := drivers[scheme]; d != nil {
		return d, nil
	}
	if module := modules[scheme]; module != "" {
		return nil, fmt.Errorf("relay: Open: no driver for %q is linked into this program: import _ %q", scheme, "github.com/tidings-go/tidings/relay/"+module)
	}
	return nil, fmt.Errorf("relay: Open: unknown scheme %q: this program has drivers for %s", scheme, strings.Join(slices.Sorted(maps.Keys(drivers)), ", "))
}

// errPassword replaces the exact error, which may contain a part of the
// password.
var errPassword = errors.New(`the URL cannot be read: characters such as / ? # @ % in a password have to be percent-encoded, unless it is in TIDINGS_BROKER_PASSWORD`)

// parseURL is url.Parse without the whole URL, and so the password, in its
// errors. An @ after the host means that the password was cut too early: the
// rest would be taken for a host or a path, and shown.
func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		if strings.Contains(text, "@") {
			return nil, errPassword
		}
		if inner := (*url.Error)(nil); errors.As(err, &inner) {
			err = inner.Err
		}
		return nil, fmt.Errorf("the URL cannot be read: %w", err)
	}
	if strings.Contains(u.EscapedPath()+u.RawQuery+u.EscapedFragment(), "@") {
		return nil, errPassword
	}
	if u.Scheme == "" {
		return nil, errors.New(`the URL has no scheme: it must be like "nats://localhost:4222"`)
	}
	return u, nil
}

// scrub returns err with a text that does not contain the secret.
func scrub(err error, secret string) error {
	if secret == "" || !strings.Contains(err.Error(), secret) {
		return err
	}
	return &scrubbed{err, secret}
}

type scrubbed struct {
	err    error
	secret string
}

func (e *scrubbed) Error() string { return strings.ReplaceAll(e.err.Error(), e.secret, "xxxxx") }
func (e *scrubbed) Unwrap() error { return e.err }
