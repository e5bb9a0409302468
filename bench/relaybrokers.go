package bench

import (
	"context"
	"net/url"

	"github.com/ThreeDotsLabs/watermill/message"
)

// relayBrokers are those that the relay is measured on.
func relayBrokers() []relayBroker {
	return []relayBroker{onNATS(), onKafka(), onRabbitMQ(), onRedis(), onSQS()}
}

func hostOf(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil {
		return "", err
	}
	return u.Host, nil
}

// withoutInitialize is a subscriber that has nothing to declare.
type withoutInitialize struct{ s message.Subscriber }

func (w withoutInitialize) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	return w.s.Subscribe(ctx, topic)
}
func (w withoutInitialize) Close() error { return w.s.Close() }
