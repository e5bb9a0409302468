package amqp

import (
	"context"
	"net/url"

	"github.com/rabbitmq/amqp091-go"

	"github.com/tidings-go/tidings/relay"
)

// Dial returns how relay.Open connects to the server of a URL.
func Dial(brokerURL string) (func(context.Context) (*amqp091.Connection, error), error) {
	u, err := url.Parse(brokerURL)
	if err != nil {
		return nil, err
	}
	target := relay.Target{URL: u, Username: u.User.Username()}
	target.Password, _ = u.User.Password()
	d, err := newDialer(target)
	if err != nil {
		return nil, err
	}
	return d.dial, nil
}

// QueueOf returns the name of the queue of a group for a topic.
func QueueOf(group relay.Group, topic string) string { return queueOf(group, topic) }

// The times that tests wait for.
const (
	RefuseFor    = refuseFor
	AnswerWithin = answerWithin
	OthersWithin = othersWithin
	LastPause    = lastPause
)

// ErrUnanswered is the error of a call that has lasted for AnswerWithin.
var ErrUnanswered = errUnanswered

// IsBlocked reports whether the server has told the connection that publishes
// that it takes nothing.
func IsBlocked(b relay.Broker) bool {
	l, err := b.(*broker).publisher.connections.get(context.Background())
	return err == nil && l.alarm.err() != nil
}
