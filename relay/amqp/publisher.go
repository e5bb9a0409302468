package amqp

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rabbitmq/amqp091-go"

	"github.com/tidings-go/tidings/relay"
)

// A publisher publishes on one channel, and waits for the server to confirm
// each message. Many goroutines share the channel: their messages are in flight
// at the same time.
type publisher struct {
	connections *shared[*link]
	lanes       *shared[*lane]
	maxSize     atomic.Int64 // of a body, once the server has reported it; 0: not known
}

// A link is the connection of a publisher.
type link struct {
	*amqp091.Connection
	since time.Time
	alarm alarm
}

func newPublisher(config Config) *publisher {
	p := &publisher{connections: &shared[*link]{
		alive:   func(l *link) bool { return !l.IsClosed() },
		dispose: func(l *link) { closeConnection(l.Connection) },
		pause:   holdOff,
	}}
	p.connections.create = func(ctx context.Context) (*link, error) {
		c, err := config.Dial(ctx)
		if err != nil {
			return nil, err
		}
		l := &link{Connection: c, since: time.Now()}
		go l.alarm.watch(c.NotifyBlocked(make(chan amqp091.Blocking)))
		p.maxSize.Store(0)
		return l, nil
	}
	p.lanes = &shared[*lane]{
		create: func(ctx context.Context) (*lane, error) {
			l, err := p.connections.get(ctx)
			if err != nil {
				return nil, err
			}
			return openLane(l)
		},
		alive:   func(l *lane) bool { return !l.channel.IsClosed() },
		dispose: func(*lane) {}, // it ends with its connection
	}
	return p
}

var errUnanswered = fmt.Errorf("the server has not answered within %v: it may be short of memory or disk, or have lost too many of its nodes", answerWithin)

// An address is the destination of messages.
type address struct{ exchange, key string }

// transmit publishes messages, and returns when the server has them. Messages
// that the server has returned, since it had no queue for them, are in
// unrouted. prepare is called with each lane before it is used.
//
// The server closes the channel if one message is wrong. Then the other
// messages in flight on it are published again, even those that the server
// already has.
func (p *publisher) transmit(ctx context.Context, to address, messages []*relay.Message, prepare func(context.Context, *lane) error) (unrouted []*relay.Message, err error) {
	for range transmitAttempts {
		var l *lane
		if l, err = p.lanes.get(ctx); err != nil {
			return nil, err
		}
		if err = l.link.alarm.wait(ctx); err != nil {
			return nil, err
		}
		if err = prepare(ctx, l); err != nil {
			return nil, err
		}
		if unrouted, err = p.transmitOn(ctx, l, to, messages); err == nil {
			return unrouted, nil
		}
		if err = p.faultOf(err, to, messages); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("the server has closed the channel repeatedly, because of messages that others publish")
}

const transmitAttempts = 4

func (p *publisher) transmitOn(ctx context.Context, l *lane, to address, messages []*relay.Message) (unrouted []*relay.Message, err error) {
	all := make([]*sent, 0, len(messages))
	defer func() { l.forget(all) }()
	for _, m := range messages {
		if size, limit := int64(len(m.Body)), p.maxSize.Load(); limit > 0 && size > limit {
			return nil, tooLarge(size, limit)
		}
		s, err := l.send(ctx, to, m)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	for i, s := range all {
		returned, err := l.wait(ctx, s)
		if err != nil {
			return nil, err
		}
		if returned {
			unrouted = append(unrouted, messages[i])
		}
	}
	return unrouted, nil
}

// faultOf returns err unless it says that the server has closed the channel
// because of other publishers' messages.
func (p *publisher) faultOf(err error, to address, messages []*relay.Message) error {
	if ended := (*laneError)(nil); !errors.As(err, &ended) {
		return err
	}
	if size, limit, ok := sizes(err); ok {
		p.maxSize.Store(limit)
		if slices.ContainsFunc(messages, func(m *relay.Message) bool { return int64(len(m.Body)) == size }) {
			return tooLarge(size, limit)
		}
		return nil
	}
	if (is(err, amqp091.NotFound) || is(err, amqp091.AccessRefused)) && !isOf(err, to.exchange) {
		return nil
	}
	return err
}

// oversize matches the server's error for a body that is too large.
var oversize = regexp.MustCompile(`message size (\d+) is larger than .*size (\d+)`)

// sizes parses the server's error for a body that is too large.
func sizes(err error) (size, limit int64, ok bool) {
	e := (*amqp091.Error)(nil)
	if !errors.As(err, &e) || e.Code != amqp091.PreconditionFailed {
		return 0, 0, false
	}
	m := oversize.FindStringSubmatch(e.Reason)
	if m == nil {
		return 0, 0, false
	}
	size, err1 := strconv.ParseInt(m[1], 10, 64)
	limit, err2 := strconv.ParseInt(m[2], 10, 64)
	return size, limit, err1 == nil && err2 == nil
}

func tooLarge(size, limit int64) error {
	return fmt.Errorf("%w: the body has %d bytes, and the server allows %d (its max_message_size)", relay.ErrTooLarge, size, limit)
}

// isOf reports whether an error of the server names the exchange.
func isOf(err error, exchange string) bool {
	e := (*amqp091.Error)(nil)
	return errors.As(err, &e) && strings.Contains(e.Reason, "exchange '"+exchange+"'")
}

// close closes the connection.
func (p *publisher) close() {
	p.connections.close()
	p.lanes.close()
}
