package amqp

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/rabbitmq/amqp091-go"
)

// A desk is a channel to declare on, for one goroutine at a time. The server
// closes it whenever it refuses something, and the desk opens another one.
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

// close closes the channel, and returns err with what is wrong about that.
func (d *desk) close(err error) error {
	if d.channel == nil {
		return err
	}
	return errors.Join(err, d.channel.Close())
}

// A topology has the exchanges and queues that this process has declared. What
// it has declared once is only looked for after that: the server can tell then
// whether somebody has deleted it, and does not compare it with what it would be
// if we made it again.
type topology struct {
	queueType string
	logger    watermill.LoggerAdapter
	known     sync.Map // of part: struct{}
}

// A part is an exchange or a queue.
type part struct{ kind, name string }

const (
	exchangeKind = "exchange"
	queueKind    = "queue"
)

// ensure makes a part unless it exists. missing is called if somebody has
// deleted it since this process has had it, and may end it with an error.
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
		t.logger.Error("relay/amqp: an exchange or a queue is made again", errDeleted, watermill.LogFields{p.kind: p.name})
	}
	return nil
}

// exchange makes the exchange of a topic.
func (t *topology) exchange(d *desk, topic string, missing func() error) error {
	return t.ensure(d, part{exchangeKind, topic}, func(ch *amqp091.Channel, passive bool) error {
		declare := ch.ExchangeDeclare
		if passive {
			declare = ch.ExchangeDeclarePassive
		}
		return declare(topic, amqp091.ExchangeFanout, true, false, false, false, nil)
	}, missing)
}

// queue makes a queue.
func (t *topology) queue(d *desk, name string) error {
	arguments := amqp091.Table{amqp091.QueueTypeArg: t.queueType}
	if t.queueType == quorum {
		// A quorum queue of RabbitMQ 4 drops a message that has come back 20
		// times, as it does when consumers restart. How often a handler is
		// to try is the relay's affair.
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

// forgetWithin is how long a quorum queue that was deleted has to be gone before
// it is made again. RabbitMQ 3.10 does not tell its consumers otherwise, hands
// the messages of the new queue to them, and delivers none.
const forgetWithin = time.Second

var errDeleted = errors.New("somebody has deleted it, with its bindings or messages")

// bound makes the queue of a group, and has the exchange of a topic fill it.
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

// inequivalent is how the server names the setting in which something that
// exists differs from what is declared.
var inequivalent = regexp.MustCompile(`inequivalent arg '([^']+)'`)

// differs returns that setting, "" if err is not about one.
func differs(err error) string {
	if e := (*amqp091.Error)(nil); errors.As(err, &e) && e.Code == amqp091.PreconditionFailed {
		if m := inequivalent.FindStringSubmatch(e.Reason); m != nil {
			return m[1]
		}
	}
	return ""
}

// isOperators reports whether err is of a part that an operator has made with
// other settings than ours, which are then the ones that count. A queue that
// does not last is none: what is in it would be lost. Neither is one of another
// type than that which somebody has asked for.
func isOperators(p part, err error) bool {
	setting := differs(err)
	if p.kind == exchangeKind {
		return setting != ""
	}
	return strings.HasPrefix(setting, "x-") && setting != amqp091.QueueTypeArg
}

// explain says what a declaration that has failed was of, and what to do.
func (t *topology) explain(p part, err error) error {
	if err == nil {
		return nil
	}
	switch setting := differs(err); setting {
	case "":
	case amqp091.QueueTypeArg:
		err = fmt.Errorf("%w (a queue keeps the type that it was made with: set queue_type to that, or delete the queue when it is empty)", err)
	default:
		err = fmt.Errorf("%w (somebody has made it with another %q: delete it when it is empty)", err, setting)
	}
	return fmt.Errorf("declaring the %s %q: %w", p.kind, p.name, err)
}

func is(err error, code int) bool {
	e := (*amqp091.Error)(nil)
	return errors.As(err, &e) && e.Code == code
}
