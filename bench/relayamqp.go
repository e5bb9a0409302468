package bench

import (
	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-amqp/v3/pkg/amqp"

	_ "github.com/tidings-go/tidings/relay/amqp"
)

func onRabbitMQ() relayBroker {
	return onService("RabbitMQ", "TIDINGS_RABBITMQ_URL", bareRabbitMQ)
}

// bareRabbitMQ has confirmed publishes, and a channel for each publisher.
func bareRabbitMQ(url string) (*barePost, error) {
	topic := nextRun()
	config := amqp.NewDurablePubSubConfig(url, amqp.GenerateQueueNameTopicNameWithSuffix("bench"))
	config.Publish.ConfirmDelivery = true
	config.Publish.ChannelPoolSize = publishers
	config.Consume.Qos.PrefetchCount = 1
	p, err := amqp.NewPublisher(config, watermill.NopLogger{})
	if err != nil {
		return nil, err
	}
	s, err := amqp.NewSubscriber(config, watermill.NopLogger{})
	if err != nil {
		return nil, err
	}
	return newBarePost(topic, p, s)
}
