package bench_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-amqp/v3/pkg/amqp"
	wmsns "github.com/ThreeDotsLabs/watermill-aws/sns"
	wmsqs "github.com/ThreeDotsLabs/watermill-aws/sqs"
	wmkafka "github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	wmjetstream "github.com/ThreeDotsLabs/watermill-nats/v2/pkg/jetstream"
	"github.com/ThreeDotsLabs/watermill-redisstream/pkg/redisstream"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/relay"
	_ "github.com/tidings-go/tidings/relay/amqp"
	_ "github.com/tidings-go/tidings/relay/aws"
	"github.com/tidings-go/tidings/relay/kafka"
	_ "github.com/tidings-go/tidings/relay/nats"
	_ "github.com/tidings-go/tidings/relay/redis"
)

var quiet = watermill.NopLogger{}

// publishers is how many goroutines publish at the same time.
const publishers = 4

// BenchmarkRelay sends messages through a broker, a hundred an op: from several
// goroutines; to one consumer, when all wait; and then ten an op, one by one,
// from the call of Publish to the handler. The bare contender is an adapter of
// Watermill with the settings of the relay's driver and messages that were made
// beforehand; decoded, it reads them with encoding/json.
func BenchmarkRelay(b *testing.B) {
	for _, broker := range []struct {
		name  string
		start func(*testing.B) string
		bare  func(url, topic string) (message.Publisher, message.Subscriber)
	}{
		{"nats", startNATS, bareNATS},
		{"kafka", startKafka, bareKafka},
		{"rabbitmq", func(b *testing.B) string { return service(b, "TIDINGS_RABBITMQ_URL") }, bareRabbitMQ},
		{"redis", func(b *testing.B) string { return service(b, "TIDINGS_REDIS_URL") }, bareRedis},
		{"sns-sqs", func(b *testing.B) string { return service(b, "TIDINGS_AWS_URL") }, bareSQS},
	} {
		b.Run("broker="+broker.name, func(b *testing.B) {
			url := broker.start(b)
			for _, contender := range []string{"bare", "bare-decoded"} {
				b.Run("contender="+contender, func(b *testing.B) {
					topic := newTopic()
					p, s := broker.bare(url, topic)
					throughBare(b, p, s, topic, contender == "bare-decoded")
				})
			}
			b.Run("contender=tidings", func(b *testing.B) { throughRelay(b, url) })
		})
	}
}

// through measures. consume begins to call handled for each message, in one
// goroutine.
func through(b *testing.B, publish func(context.Context) error, consume func(ctx context.Context, handled func()) error) {
	limit(b)
	const warm = 20
	ctx, messages := context.Background(), 100*b.N
	publishAll := func(n int) {
		var group sync.WaitGroup
		for i := range publishers {
			group.Go(func() {
				for i := i; i < n; i += publishers {
					check(publish(ctx))
				}
			})
		}
		group.Wait()
	}
	publishAll(warm)
	began := time.Now()
	publishAll(messages)
	published := time.Since(began)

	// To join a group takes a consumer of Kafka seconds: the time begins with the
	// first messages.
	handled, times := 0, make(chan time.Time, 2)
	check(consume(ctx, func() {
		if handled++; handled == warm || handled >= warm+messages {
			times <- time.Now()
		}
	}))
	first := <-times
	consumed := (<-times).Sub(first)
	var waits []time.Duration
	for range 10 * b.N {
		sent := time.Now()
		check(publish(ctx))
		waits = append(waits, (<-times).Sub(sent))
	}
	b.ReportMetric(float64(published)/float64(messages), "publish-ns")
	b.ReportMetric(float64(consumed)/float64(messages), "consume-ns")
	reportLatency(b, waits)
	b.ReportMetric(0, "ns/op") // of three different things
}

func newTopic() string { return fmt.Sprintf("bench-%d", time.Now().UnixNano()) }

// throughRelay has a bus, and a handler that is subscribed through the broker.
func throughRelay(b *testing.B, url string) {
	r := must(relay.Open(context.Background(), url, newRegistry(), relay.WithPrefix(newTopic()+".")))
	b.Cleanup(func() { check(r.Close(context.Background())) })
	bus, handle := tidings.New(), func() {}
	tidings.Subscribe(bus, func(context.Context, billed) error {
		handle()
		return nil
	}, tidings.Named(jobKind), tidings.Via(r))
	through(b, func(ctx context.Context) error { return publishBills(ctx, bus, 1) }, func(ctx context.Context, handled func()) error {
		handle = handled
		return r.Start(ctx)
	})
}

// throughBare sends a message that is as a relay makes it.
func throughBare(b *testing.B, p message.Publisher, s message.Subscriber, topic string, decode bool) {
	if i, ok := s.(message.SubscribeInitializer); ok {
		check(i.SubscribeInitialize(topic))
	}
	event := tidings.Stamp(context.Background(), billed{bill: aBill})
	id, payload := event.EventID().String(), must(newRegistry().Encode(event))
	metadata := message.Metadata{
		"content-type": "application/cloudevents+json; charset=utf-8", "ce-specversion": "1.0", "ce-source": "tidings", "ce-type": billedName,
		"ce-id": id, "ce-time": event.OccurredAt().Format(time.RFC3339Nano), "ce-dataversion": "1", "ce-correlationid": id,
	}
	var consuming sync.WaitGroup
	b.Cleanup(func() {
		check(errors.Join(s.Close(), p.Close()))
		consuming.Wait()
	})
	through(b, func(ctx context.Context) error {
		m := message.NewMessageWithContext(ctx, id, payload)
		m.Metadata = metadata
		return p.Publish(topic, m)
	}, func(ctx context.Context, handled func()) error {
		messages, err := s.Subscribe(ctx, topic)
		consuming.Go(func() {
			for m := range messages {
				if decode {
					var e cloudEvent
					check(json.Unmarshal(m.Payload, &e))
				}
				handled()
				m.Ack()
			}
		})
		return err
	})
}

// startNATS starts a server in this process.
func startNATS(b *testing.B) string {
	s := must(natsserver.NewServer(&natsserver.Options{
		Host: "127.0.0.1", Port: natsserver.RANDOM_PORT, JetStream: true, StoreDir: b.TempDir(), NoSigs: true, NoLog: true,
	}))
	s.Start()
	require.True(b, s.ReadyForConnections(30*time.Second))
	b.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	return s.ClientURL()
}

// bareNATS has a stream with the settings of the relay's, and a consumer that
// fetches one message at a time and waits for the answer to its Ack.
func bareNATS(url, topic string) (message.Publisher, message.Subscriber) {
	conn := must(nats.Connect(url))
	must(must(jetstream.New(conn)).CreateStream(context.Background(), jetstream.StreamConfig{Name: topic, Subjects: []string{topic}, MaxAge: 7 * 24 * time.Hour}))
	s := must(wmjetstream.NewSubscriber(wmjetstream.SubscriberConfig{
		Conn: must(nats.Connect(url)), Logger: quiet, AckWaitTimeout: time.Minute,
		ConsumeOptions: []jetstream.PullConsumeOpt{jetstream.PullMaxMessages(1)},
		ResourceInitializer: func(ctx context.Context, js jetstream.JetStream, topic string) (jetstream.Consumer, func(context.Context, watermill.LoggerAdapter), error) {
			c, err := js.CreateOrUpdateConsumer(ctx, topic, jetstream.ConsumerConfig{Durable: "bench", AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Minute})
			return c, nil, err
		},
	}))
	// The stream exists: the adapter has nothing to initialize.
	return must(wmjetstream.NewPublisher(wmjetstream.PublisherConfig{Conn: conn, Logger: quiet})), struct{ message.Subscriber }{s}
}

// startKafka starts a cluster of one in this process, with its messages in memory.
func startKafka(b *testing.B) string {
	c := must(kfake.NewCluster(kfake.NumBrokers(1)))
	b.Cleanup(c.Close)
	return "kafka://" + c.ListenAddrs()[0] + "?partitions=1"
}

func bareKafka(address, topic string) (message.Publisher, message.Subscriber) {
	brokers := []string{must(url.Parse(address)).Host}
	producing, consuming := kafka.NewClientConfig(), kafka.NewClientConfig()
	producing.Producer.Return.Successes = true
	consuming.Producer.Idempotent = false
	consuming.Consumer.Return.Errors = true
	return must(wmkafka.NewPublisher(wmkafka.PublisherConfig{
			Brokers: brokers, Marshaler: wmkafka.DefaultMarshaler{}, OverwriteSaramaConfig: producing,
		}, quiet)), must(wmkafka.NewSubscriber(wmkafka.SubscriberConfig{
			Brokers: brokers, Unmarshaler: wmkafka.DefaultMarshaler{}, OverwriteSaramaConfig: consuming, ConsumerGroup: topic,
			InitializeTopicDetails: &sarama.TopicDetail{NumPartitions: 1, ReplicationFactor: 1},
		}, quiet))
}

// bareRabbitMQ has confirmed publishes, and a channel for each publisher.
func bareRabbitMQ(url, _ string) (message.Publisher, message.Subscriber) {
	config := amqp.NewDurablePubSubConfig(url, amqp.GenerateQueueNameTopicNameWithSuffix("bench"))
	config.Publish.ConfirmDelivery = true
	config.Publish.ChannelPoolSize = publishers
	config.Consume.Qos.PrefetchCount = 1
	return must(amqp.NewPublisher(config, quiet)), must(amqp.NewSubscriber(config, quiet))
}

func bareRedis(url, topic string) (message.Publisher, message.Subscriber) {
	options := must(redis.ParseURL(url))
	return must(redisstream.NewPublisher(redisstream.PublisherConfig{Client: redis.NewClient(options)}, quiet)),
		must(redisstream.NewSubscriber(redisstream.SubscriberConfig{Client: redis.NewClient(options), ConsumerGroup: topic}, quiet))
}

// bareSQS has raw message delivery, as the relay has it.
func bareSQS(address, topic string) (message.Publisher, message.Subscriber) {
	u := must(url.Parse(address))
	endpoint := aws.String(u.Query().Get("endpoint"))
	config := aws.Config{Region: u.Host, Credentials: credentials.NewStaticCredentialsProvider("test", "test", "")}
	toSNS := []func(*sns.Options){func(o *sns.Options) { o.BaseEndpoint = endpoint }}
	toSQS := []func(*sqs.Options){func(o *sqs.Options) { o.BaseEndpoint = endpoint }}
	resolver := must(wmsns.NewGenerateArnTopicResolver("000000000000", u.Host))
	p := must(wmsns.NewPublisher(wmsns.PublisherConfig{AWSConfig: config, OptFns: toSNS, TopicResolver: resolver, Marshaler: toTopic{}}, quiet))
	must(p.CreateTopic(context.Background(), topic))
	return p, must(wmsns.NewSubscriber(
		wmsns.SubscriberConfig{AWSConfig: config, OptFns: toSNS, TopicResolver: resolver, GenerateSqsQueueName: wmsns.GenerateSqsQueueNameEqualToTopicName},
		wmsqs.SubscriberConfig{AWSConfig: config, OptFns: toSQS}, quiet))
}

// toTopic is the adapter's marshaler with the name of the topic where fauxqs
// looks for it, and without the attributes that are too many for SNS.
type toTopic struct {
	wmsns.DefaultMarshalerUnmarshaler
}

func (t toTopic) Marshal(topic wmsns.TopicArn, m *message.Message) *sns.PublishInput {
	few := message.NewMessage(m.UUID, m.Payload)
	for _, key := range []string{"content-type", "ce-id", "ce-type"} {
		few.Metadata[key] = m.Metadata[key]
	}
	input := t.DefaultMarshalerUnmarshaler.Marshal(topic, few)
	input.TopicArn, input.TargetArn = input.TargetArn, nil
	return input
}
