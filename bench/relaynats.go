package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wmjetstream "github.com/ThreeDotsLabs/watermill-nats/v2/pkg/jetstream"
	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	_ "github.com/tidings-go/tidings/relay/nats"
)

// onNATS is a server in this process, with its files in a temporary directory.
func onNATS() relayBroker {
	return relayBroker{name: "NATS JetStream", start: startNATS, bare: bareNATS}
}

func startNATS() (string, func() error, error) {
	dir, err := os.MkdirTemp("", "tidings-bench-nats")
	if err != nil {
		return "", nil, err
	}
	s, err := natsserver.NewServer(&natsserver.Options{
		Host: "127.0.0.1", Port: natsserver.RANDOM_PORT, JetStream: true, StoreDir: dir, NoSigs: true, NoLog: true,
	})
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		return "", nil, errors.New("the NATS server does not start")
	}
	return s.ClientURL(), func() error {
		s.Shutdown()
		s.WaitForShutdown()
		return os.RemoveAll(dir)
	}, nil
}

// bareNATS has a stream with the settings of the relay's, and a consumer that
// fetches one message at a time and waits for the answer to its Ack.
func bareNATS(url string) (*barePost, error) {
	topic := nextRun()
	connect := func() (*nats.Conn, error) { return nats.Connect(url, nats.MaxReconnects(-1)) }
	publishing, err := connect()
	if err != nil {
		return nil, err
	}
	consuming, err := connect()
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(publishing)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: topic, Subjects: []string{topic}, MaxAge: 7 * 24 * time.Hour}); err != nil {
		return nil, fmt.Errorf("creating a stream: %w", err)
	}
	p, err := wmjetstream.NewPublisher(wmjetstream.PublisherConfig{Conn: publishing, Logger: watermill.NopLogger{}})
	if err != nil {
		return nil, err
	}
	s, err := wmjetstream.NewSubscriber(wmjetstream.SubscriberConfig{
		Conn: consuming, Logger: watermill.NopLogger{}, AckWaitTimeout: time.Minute,
		ConsumeOptions: []jetstream.PullConsumeOpt{jetstream.PullMaxMessages(1)},
		ResourceInitializer: func(ctx context.Context, js jetstream.JetStream, topic string) (jetstream.Consumer, func(context.Context, watermill.LoggerAdapter), error) {
			c, err := js.CreateOrUpdateConsumer(ctx, topic, jetstream.ConsumerConfig{Durable: "bench", AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Minute})
			return c, nil, err
		},
	})
	if err != nil {
		return nil, err
	}
	// The stream exists: the adapter need not make it.
	return newBarePost(topic, p, withoutInitialize{s})
}
