package nats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tidings-go/tidings/relay"
)

func init() {
	relay.RegisterBroker("nats", open)
	relay.RegisterBroker("tls", open)
}

const (
	answerWithin  = 10 * time.Second // how long the server may take to answer
	defaultMaxAge = 7 * 24 * time.Hour
)

// open is the [relay.Driver].
func open(ctx context.Context, t relay.Target) (relay.Broker, error) {
	replicas, err := t.Params.Int("replicas", 1, 1)
	if err != nil {
		return nil, err
	}
	maxAge, err := t.Params.Duration("max_age", defaultMaxAge)
	if err != nil {
		return nil, err
	}
	deliver, err := deliverPolicy(t.Params.String("deliver", "new"))
	if err != nil {
		return nil, err
	}
	options, err := optionsOf(t)
	if err != nil {
		return nil, err
	}
	if err := t.Params.Unused(); err != nil {
		return nil, err
	}
	if t.URL.Host == "" || strings.Trim(t.URL.Path, "/") != "" {
		return nil, errors.New("the URL must be nats://HOST:PORT or tls://HOST:PORT, or nats://HOST1:PORT,HOST2:PORT for several servers")
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	conn, err := connect(ctx, t.URL.Scheme+"://"+t.URL.Host, options)
	if err != nil {
		return nil, &relay.UnreachableError{Err: err}
	}
	js, err := jetstream.New(conn)
	if err == nil {
		err = probe(ctx, js)
	}
	var b relay.Broker
	if err == nil {
		b, err = New(Config{
			JetStream: js,
			Stream:    &jetstream.StreamConfig{Replicas: replicas, MaxAge: maxAge},
			Consumer:  &jetstream.ConsumerConfig{DeliverPolicy: deliver},
			Logger:    t.Logger,
		})
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	b.(*broker).owned = true
	return b, nil
}

func deliverPolicy(param string) (jetstream.DeliverPolicy, error) {
	switch param {
	case "all":
		return jetstream.DeliverAllPolicy, nil
	case "new":
		return jetstream.DeliverNewPolicy, nil
	}
	return 0, fmt.Errorf("the parameter deliver=%q must be all or new", param)
}

// probe checks that JetStream is available. A server that has just started may
// not have it yet.
func probe(ctx context.Context, js jetstream.JetStream) error {
	_, err := js.AccountInfo(ctx)
	if errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) {
		err = fmt.Errorf("the server has no JetStream for this account (nats-server -js): %w", err)
	}
	if err != nil {
		return &relay.UnreachableError{Err: err}
	}
	return nil
}

// connect is nats.Connect with a ctx. If ctx ends first, the attempt continues
// as long as the dial takes.
func connect(ctx context.Context, servers string, options []nats.Option) (*nats.Conn, error) {
	type result struct {
		conn *nats.Conn
		err  error
	}
	results := make(chan result)
	go func() {
		conn, err := nats.Connect(servers, options...)
		select {
		case results <- result{conn, err}:
		case <-ctx.Done():
			if err == nil {
				conn.Close()
			}
		}
	}()
	select {
	case r := <-results:
		return r.conn, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func optionsOf(t relay.Target) ([]nats.Option, error) {
	options := []nats.Option{
		nats.Name("tidings"),
		nats.Timeout(answerWithin / 2),
		// Reconnect forever, whatever happens.
		nats.MaxReconnects(-1),
		nats.ReconnectWait(500 * time.Millisecond),
		nats.ReconnectJitter(500*time.Millisecond, 500*time.Millisecond),
		nats.IgnoreAuthErrorAbort(),
		// A message that cannot be sent fails, and is not sent later.
		nats.ReconnectBufSize(-1),
		// Detects a dead connection that was not closed; the default takes up
		// to six minutes.
		nats.PingInterval(10 * time.Second),
		nats.MaxPingsOutstanding(2),
		// Drops a connection that does not read before it blocks all others,
		// which wait for the lock of the connection.
		nats.FlusherTimeout(answeredWithin),
		nats.ReconnectOnFlusherError(),
		// By default errors go to standard error.
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			t.Logger.Warn("relay/nats: the server reports an error", slog.Any("error", err))
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				t.Logger.Warn("relay/nats: the connection is lost, and is retried", slog.Any("error", err))
			}
		}),
		nats.ReconnectHandler(func(c *nats.Conn) {
			t.Logger.Debug("relay/nats: reconnected", slog.String("server", c.ConnectedUrlRedacted()))
		}),
	}
	if t.TLS != nil {
		options = append(options, nats.Secure(t.TLS))
	}
	switch {
	case t.Password != "":
		options = append(options, nats.UserInfo(t.Username, t.Password))
	case t.Username != "":
		options = append(options, nats.Token(t.Username))
	}
	if creds := t.Params.String("creds", ""); creds != "" {
		if _, err := os.ReadFile(creds); err != nil {
			return nil, fmt.Errorf("creds: %w", err)
		}
		options = append(options, nats.UserCredentials(creds))
	}
	return options, nil
}
