package bench

import (
	"os"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-redisstream/pkg/redisstream"
	"github.com/redis/go-redis/v9"

	_ "github.com/tidings-go/tidings/relay/redis"
)

func onRedis() relayBroker {
	return onService("Redis streams", "TIDINGS_REDIS_URL", bareRedis)
}

func bareRedis(url string) (*barePost, error) {
	opts, err := redis.ParseURL(url)
	if err != nil {
		return nil, err
	}
	topic := nextRun()
	p, err := redisstream.NewPublisher(redisstream.PublisherConfig{Client: redis.NewClient(opts)}, watermill.NopLogger{})
	if err != nil {
		return nil, err
	}
	s, err := redisstream.NewSubscriber(redisstream.SubscriberConfig{Client: redis.NewClient(opts), ConsumerGroup: topic}, watermill.NopLogger{})
	if err != nil {
		return nil, err
	}
	return newBarePost(topic, p, s)
}

// onService is a broker that scripts/services starts.
func onService(name, variable string, bare func(string) (*barePost, error)) relayBroker {
	b := relayBroker{name: name, bare: bare}
	url := os.Getenv(variable)
	if url == "" {
		b.skip = variable + " is not set"
	}
	b.start = func() (string, func() error, error) { return url, func() error { return nil }, nil }
	return b
}
