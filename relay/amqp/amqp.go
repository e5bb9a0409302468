package amqp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/url"
	"strings"

	"github.com/rabbitmq/amqp091-go"

	"github.com/tidings-go/tidings/relay"
)

func init() {
	relay.RegisterBroker("amqp", open)
	relay.RegisterBroker("amqps", open)
}

// The types of queues that a [Config] can ask for.
const (
	classic = "classic"
	quorum  = "quorum"
)

const defaultPrefetch = 16

// A Config configures the broker of [New]. Only Dial is required; any other field
// may be zero.
type Config struct {
	// Dial connects to the server, for example with a token, or with a client
	// certificate in place of a password. It is called for each of the two
	// connections, again after one was lost, and ends when ctx does. With the
	// Dial of amqp091.Config it can limit the time of a write, which the client
	// library does not; [relay.Open] does so.
	Dial func(ctx context.Context) (*amqp091.Connection, error)

	// QueueType is the parameter queue_type, see the package: "classic", the
	// default, or "quorum".
	QueueType string

	// Prefetch is the parameter prefetch, see the package. The default is 16.
	Prefetch int

	// Logger gets, at level WARN, the problems from which the broker recovers by
	// itself. The default is [slog.Default].
	Logger *slog.Logger
}

// New returns a broker for [relay.New], with settings that a URL cannot express.
// It does not connect: errors show at the first use.
func New(config Config) (relay.Broker, error) {
	b, err := checked(config)
	if err != nil {
		return nil, err
	}
	return b, nil
}

func checked(config Config) (*broker, error) {
	if config.Dial == nil {
		return nil, errors.New("relay/amqp: New with a nil Config.Dial")
	}
	if config.Prefetch == 0 {
		config.Prefetch = defaultPrefetch
	}
	if config.QueueType == "" {
		config.QueueType = classic
	}
	config.Logger = cmp.Or(config.Logger, slog.Default())
	if config.Prefetch < 0 || config.Prefetch > math.MaxUint16 {
		return nil, fmt.Errorf("relay/amqp: the prefetch %d must be between 1 and %d", config.Prefetch, math.MaxUint16)
	}
	if config.QueueType != classic && config.QueueType != quorum {
		return nil, fmt.Errorf("relay/amqp: the queue type %q must be %q or %q", config.QueueType, classic, quorum)
	}
	return newBroker(config), nil
}

// open is the driver for [relay.Open].
func open(ctx context.Context, target relay.Target) (relay.Broker, error) {
	dialer, err := newDialer(target)
	if err != nil {
		return nil, err
	}
	config := Config{Dial: dialer.dial, Logger: target.Logger}
	if config.Prefetch, err = target.Params.Int("prefetch", defaultPrefetch, 1); err != nil {
		return nil, err
	}
	if config.QueueType = target.Params.String("queue_type", classic); config.QueueType != quorum && config.QueueType != classic {
		return nil, fmt.Errorf("the parameter queue_type=%q must be %q or %q", config.QueueType, classic, quorum)
	}
	if err := target.Params.Unused(); err != nil {
		return nil, err
	}
	b, err := checked(config)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	if _, err := b.publisher.lanes.get(ctx); err != nil {
		_ = b.Close() // there is no connection that it could fail to close
		return nil, &relay.UnreachableError{Err: err}
	}
	return b, nil
}

func newDialer(target relay.Target) (*dialer, error) {
	u := target.URL
	if u.Hostname() == "" {
		return nil, fmt.Errorf("the URL has no host: it must be like %q", u.Scheme+"://user:password@host/vhost")
	}
	vhost, err := vhostOf(u)
	if err != nil {
		return nil, err
	}
	d := &dialer{host: u.Hostname(), vhost: vhost, username: target.Username, password: target.Password, tls: target.TLS}
	port := u.Port()
	if u.Scheme == "amqps" && d.tls == nil {
		d.tls = defaultTLS()
	}
	if port == "" {
		port = "5672"
		if d.tls != nil {
			port = "5671"
		}
	}
	if d.username == "" { // like every client of RabbitMQ
		d.username, d.password = "guest", "guest"
	}
	d.address = net.JoinHostPort(d.host, port)
	return d, nil
}

// vhostOf returns the virtual host in a URL, or "/" if there is none.
func vhostOf(u *url.URL) (string, error) {
	path := strings.TrimPrefix(u.EscapedPath(), "/")
	if path == "" {
		return "/", nil
	}
	if strings.Contains(path, "/") {
		return "", fmt.Errorf("the virtual host %q has a slash, which must be written as %%2F", path)
	}
	return url.PathUnescape(path)
}
