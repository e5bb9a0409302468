package bench

import (
	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill"
	wmkafka "github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/tidings-go/tidings/relay/kafka"
)

// onKafka is a cluster of one in this process, which keeps messages in memory.
func onKafka() relayBroker {
	return relayBroker{name: "Kafka (kfake)", start: startKafka, bare: bareKafka}
}

func startKafka() (string, func() error, error) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		return "", nil, err
	}
	return "kafka://" + c.ListenAddrs()[0] + "?partitions=1", func() error {
		c.Close()
		return nil
	}, nil
}

func bareKafka(url string) (*barePost, error) {
	addr, err := hostOf(url)
	if err != nil {
		return nil, err
	}
	producing, consuming := kafka.NewConfig(), kafka.NewConfig()
	producing.Producer.Return.Successes = true
	consuming.Producer.Idempotent = false
	consuming.Consumer.Return.Errors = true
	p, err := wmkafka.NewPublisher(wmkafka.PublisherConfig{
		Brokers: []string{addr}, Marshaler: wmkafka.DefaultMarshaler{}, OverwriteSaramaConfig: producing,
	}, watermill.NopLogger{})
	if err != nil {
		return nil, err
	}
	topic := nextRun()
	s, err := wmkafka.NewSubscriber(wmkafka.SubscriberConfig{
		Brokers: []string{addr}, Unmarshaler: wmkafka.DefaultMarshaler{}, OverwriteSaramaConfig: consuming, ConsumerGroup: topic,
		InitializeTopicDetails: &sarama.TopicDetail{NumPartitions: 1, ReplicationFactor: 1},
	}, watermill.NopLogger{})
	if err != nil {
		return nil, err
	}
	return newBarePost(topic, p, s)
}
