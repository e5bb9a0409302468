package amqp

import (
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/rabbitmq/amqp091-go"
)

// A desk is a channel for declarations, for one goroutine at a time. The server
// closes it whenever it rejects one, and the desk opens another.
type desk struct {
	open    func() (*amqp091.Channel, error)
	channel *amqp091.Channel
}

func (d *desk) do(f func(*amqp091.Channel) error) (err error) {
	if d.channel == nil || d.channel.IsClosed() {
		if d.channel, err = d.open(); err != nil {
			return err
		}
	}
	return f(d.channel)
}

// close closes the channel, and returns err joined with the error of that.
func (d *desk) close(err error) error {
	if d.channel == nil {
		return err
	}
	return errors.Join(err, d.channel.Close())
}

// A topology has the exchanges and queues that this process has declared. After
// the first declaration it only checks that they exist: then the server can
// report that they were deleted, and does not compare them with what this
// process would declare.
type topology struct {
	queueType string
	logger    *slog.Logger
	known     sync.Map // of part: struct{}
}

// A part is an exchange or a queue.
type part struct{ kind, name string }

const (
	exchangeKind = "exchange"
	queueKind    = "queue"
)

// ensure creates a part unless it exists. missing is called if the part was
// deleted since this process has had it, and may stop ensure with an error.
func (t *topology) ensure(d *desk, p part, declare func(ch *amqp091.Channel, passive bool) error, missing func() error) error {
	attempt := func(passive bool) error {
		return d.do(func(ch *amqp091.Channel) error { return declare(ch, passive) })
	}
	_, again := t.known.Load(p)
	if again {
		err := attempt(true)
		if !is(err, amqp091.NotFound) {
			return t.explain(p, err)
		}
		if err := missing(); err != nil {
			return err
		}
	}
	err := attempt(false)
	if isOperators(p, err) {
		err = attempt(true)
	}
	if err != nil {
		return t.explain(p, err)
	}
	t.known.Store(p, struct{}{})
	if again {
		t.logger.Warn("relay/amqp: a deleted exchange or queue is created again", slog.Any("error", errDeleted), slog.String(p.kind, p.name))
	}
	return nil
}

// exchange creates the exchange of a topic.
func (t *topology) exchange(d *desk, topic string, missing func() error) error {
	return t.ensure(d, part{exchangeKind, topic}, func(ch *amqp091.Channel, passive bool) error {
		declare := ch.ExchangeDeclare
		if passive {
			declare = ch.ExchangeDeclarePassive
		}
		return declare(topic, amqp091.ExchangeFanout, true, false, false, false, nil)
	}, missing)
}

// queue creates a queue.
func (t *topology) queue(d *desk, name string) error {
	arguments := amqp091.Table{amqp091.QueueTypeArg: t.queueType}
	if t.queueType == quorum {
		// A quorum queue of RabbitMQ 4 drops a message that was returned 20
		// times, as happens when consumers restart. The relay decides how often
		// a handler retries.
		arguments[deliveryLimitArg] = deliveryLimit
	}
	return t.ensure(d, part{queueKind, name}, func(ch *amqp091.Channel, passive bool) error {
		declare := ch.QueueDeclare
		if passive {
			declare = ch.QueueDeclarePassive
		}
		_, err := declare(name, true, false, false, false, arguments)
		return err
	}, func() error {
		if t.queueType == quorum {
			<-time.After(forgetWithin)
		}
		return nil
	})
}

// forgetWithin is how long a deleted quorum queue must be gone before it is
// created again. Otherwise RabbitMQ 3.10 does not tell its consumers, sends the
// messages of the new queue to them, and delivers none.
const forgetWithin = time.Second

var errDeleted = errors.New("it was deleted, with its bindings or messages")

// bound creates the queue of a group, and binds it to the exchange of a topic.
func (t *topology) bound(d *desk, queue, topic string, missing func() error) error {
	if err := t.exchange(d, topic, missing); err != nil {
		return err
	}
	if err := t.queue(d, queue); err != nil {
		return err
	}
	err := d.do(func(ch *amqp091.Channel) error { return ch.QueueBind(queue, "", topic, false, nil) })
	if err != nil {
		return fmt.Errorf("binding the queue %q to %q: %w", queue, topic, err)
	}
	return nil
}

const (
	deliveryLimitArg = "x-delivery-limit"
	deliveryLimit    = 1_000_000
)

// inequivalent matches the setting in which an existing part differs from the
// declaration, in the server's error.
var inequivalent = regexp.MustCompile(`inequivalent arg '([^']+)'`)

// differs returns that setting, or "" if err is not about one.
func differs(err error) string {
	if e := (*amqp091.Error)(nil); errors.As(err, &e) && e.Code == amqp091.PreconditionFailed {
		if m := inequivalent.FindStringSubmatch(e.Reason); m != nil {
			return m[1]
		}
	}
	return ""
}

// isOperators reports whether err concerns a part that an operator has created
// with other settings, which then apply. A queue that is not durable does not
// count: its messages would be lost. Neither does a queue of another type than
// the configured one.
func isOperators(p part, err error) bool {
	setting := differs(err)
	if p.kind == exchangeKind {
		return setting != ""
	}
	return strings.HasPrefix(setting, "x-") && setting != amqp091.QueueTypeArg
}

// explain adds the part and a remedy to the error of a declaration.
func (t *topology) explain(p part, err error) error {
	if err == nil {
		return nil
	}
	switch setting := differs(err); setting {
	case "":
	case amqp091.QueueTypeArg:
		err = fmt.Errorf("%w (a queue keeps the type with which it was created: set queue_type to that, or delete the queue when it is empty)", err)
	default:
		err = fmt.Errorf("%w (it was created with another %q: delete it when it is empty)", err, setting)
	}
	return fmt.Errorf("declaring the %s %q: %w", p.kind, p.name, err)
}

func is(err error, code int) bool {
	e := (*amqp091.Error)(nil)
	return errors.As(err, &e) && e.Code == code
}
