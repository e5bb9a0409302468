package amqp

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/rabbitmq/amqp091-go"
)

const (
	// answerWithin limits the time of anything that the server must answer:
	// connecting, declaring, confirming a message.
	answerWithin = 10 * time.Second

	// writeWithin limits how long the network may block a write.
	writeWithin = 5 * time.Second

	// heartbeat is the interval that is proposed to the server; a connection
	// that is silent for one and a half intervals is lost.
	heartbeat = 10 * time.Second
)

// A dialer connects to a server.
type dialer struct {
	address, host, vhost string
	username, password   string
	tls                  *tls.Config // nil: no TLS
}

func defaultTLS() *tls.Config { return &tls.Config{MinVersion: tls.VersionTLS12} }

// dial opens a connection. amqp091.DialConfig is not used: it keeps the socket
// open if the server refuses, and has no ctx.
func (d *dialer) dial(ctx context.Context) (*amqp091.Connection, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	conn, err := d.connect(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	properties := amqp091.NewConnectionProperties()
	properties.SetClientConnectionName("tidings " + filepath.Base(os.Args[0]))
	c, err := amqp091.Open(conn, amqp091.Config{
		SASL:       []amqp091.Authentication{&amqp091.PlainAuth{Username: d.username, Password: d.password}},
		Vhost:      d.vhost,
		Heartbeat:  heartbeat,
		Locale:     "en_US",
		Properties: properties,
	})
	if !stop() || err != nil {
		return nil, errors.Join(cmp.Or(ctx.Err(), err), ignoreClosed(conn.Close()))
	}
	return c, nil
}

// connect opens the connection below AMQP.
func (d *dialer) connect(ctx context.Context) (net.Conn, error) {
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", d.address)
	if err != nil {
		return nil, err
	}
	conn := net.Conn(&limitedConn{raw})
	if d.tls == nil {
		return conn, nil
	}
	config := d.tls.Clone()
	if config.ServerName == "" {
		config.ServerName = d.host
	}
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, ignoreClosed(raw.Close()))
	}
	return secure, nil
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// A limitedConn limits the time of a write. The client library waits forever,
// and holds the lock of the channel, which it needs to close a lost connection,
// so neither ends.
type limitedConn struct{ net.Conn }

func (c *limitedConn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(writeWithin)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}
