package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/tidings-go/tidings/relay"
)

func init() {
	relay.RegisterBroker("redis", open)
	relay.RegisterBroker("rediss", open)
}

// openTimeout limits the time to a server's first answer.
const openTimeout = 10 * time.Second

// open is the relay.Driver.
func open(ctx context.Context, t relay.Target) (relay.Broker, error) {
	c, err := configOf(t)
	if err != nil {
		return nil, err
	}
	b := newBroker(c)
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	if err := b.probe(ctx); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	b.evictions.warn(ctx)
	return b, nil
}

func configOf(t relay.Target) (Config, error) {
	addr, err := addressOf(t)
	if err != nil {
		return Config{}, err
	}
	db := 0
	if path := strings.TrimPrefix(t.URL.Path, "/"); path != "" {
		if db, err = strconv.Atoi(path); err != nil || db < 0 {
			return Config{}, fmt.Errorf("the path %q must be the number of a database, as in redis://host:6379/0", t.URL.Path)
		}
	}
	// No stream is that long, and the server counts in 64 bits.
	maxLen, err := t.Params.Int("maxlen", 0, 1)
	if err != nil {
		return Config{}, err
	}
	encryption := t.TLS
	if encryption == nil && t.URL.Scheme == "rediss" {
		encryption = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if err := t.Params.Unused(); err != nil {
		return Config{}, err
	}
	return Config{
		Client: &goredis.UniversalOptions{
			Addrs:     []string{addr},
			DB:        db,
			Username:  t.Username,
			Password:  t.Password,
			TLSConfig: encryption,
			// A feature of Redis Enterprise, for which each connection would
			// ask.
			MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		},
		MaxLen: maxLen,
		Logger: t.Logger,
	}, nil
}

func addressOf(t relay.Target) (string, error) {
	switch {
	case t.URL.Hostname() == "":
		return "", errors.New("the URL has no host: it must be like redis://host:6379/0")
	case strings.Contains(t.URL.Host, ","):
		return "", errors.New("the URL has several hosts: for a cluster or Sentinel, use redis.New with relay.New")
	case t.URL.Port() == "":
		return net.JoinHostPort(t.URL.Hostname(), "6379"), nil
	}
	return t.URL.Host, nil
}

// probeKey does not exist. If it does, as a stream, no entry is older than 0.
const probeKey = "tidings-probe"

// probe trims a stream that does not exist. That shows that the server answers,
// accepts the credentials, can be written to and is new enough: an older one
// answers MINID with a syntax error.
func (b *broker) probe(ctx context.Context) error {
	err := b.writes.XTrimMinIDApprox(ctx, probeKey, "0", 0).Err()
	text := ""
	if err != nil {
		text = err.Error()
	}
	switch {
	case err == nil, strings.HasPrefix(text, "NOPERM"), strings.HasPrefix(text, "WRONGTYPE"):
		return nil // only the user's own keys matter
	case strings.Contains(text, "syntax error"), strings.Contains(text, "unknown command"):
		return fmt.Errorf("the server is too old: Redis 6.2 or newer is required: %w", err)
	case strings.Contains(text, "DB index"), strings.Contains(text, "SELECT is not allowed"):
		return fmt.Errorf("the server does not have this database: %w", err)
	}
	return &relay.UnreachableError{Err: err}
}
