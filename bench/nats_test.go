package bench_test

import (
	"context"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wmjetstream "github.com/ThreeDotsLabs/watermill-nats/v2/pkg/jetstream"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/relay"
	relaynats "github.com/tidings-go/tidings/relay/nats"
)

// The adapter of Watermill with the same streams and consumers is the measure.

const benchBody = 512

func BenchmarkNATSPublish(b *testing.B) {
	b.Run("contender=tidings", func(b *testing.B) {
		broker := natsBroker(b, startNATS(b))
		benchPublish(b, func() error { return broker.Publish(b.Context(), "bench", benchMessage()) })
	})
	b.Run("contender=watermill", func(b *testing.B) {
		url := startNATS(b)
		require.NoError(b, natsBroker(b, url).Publish(b.Context(), "bench", benchMessage())) // makes the stream
		p := must(wmjetstream.NewPublisher(wmjetstream.PublisherConfig{Conn: must(nats.Connect(url)), Logger: quiet}))
		b.Cleanup(func() { check(p.Close()) })
		benchPublish(b, func() error {
			m := benchMessage()
			sent := message.NewMessage(m.ID, m.Body)
			sent.Metadata = m.Metadata
			return p.Publish("bench", sent)
		})
	})
}

func benchPublish(b *testing.B, publish func() error) {
	require.NoError(b, publish())
	for _, parallel := range []int{1, 32} {
		b.Run(map[int]string{1: "serial", 32: "parallel"}[parallel], func(b *testing.B) {
			b.ReportAllocs()
			if parallel == 1 {
				for b.Loop() {
					if err := publish(); err != nil {
						b.Fatal(err)
					}
				}
				return
			}
			b.SetParallelism(parallel)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := publish(); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

func BenchmarkNATSConsume(b *testing.B) {
	b.Run("contender=tidings", func(b *testing.B) {
		broker := natsBroker(b, startNATS(b))
		benchWaiting(b, broker)
		done := make(chan struct{})
		n := 0
		ctx, end := context.WithCancel(b.Context())
		b.ReportAllocs()
		b.ResetTimer()
		ended, err := broker.Consume(ctx, relay.Group{Name: "group", AckWait: time.Minute, Workers: 1}, "bench", func(*relay.Message) bool {
			if n++; n == b.N {
				close(done)
			}
			return true
		})
		require.NoError(b, err)
		<-done
		b.StopTimer()
		end()
		require.NoError(b, <-ended)
	})
	b.Run("contender=watermill", func(b *testing.B) {
		benchConsumeWatermill(b, wmjetstream.SubscriberConfig{})
	})
	b.Run("contender=watermill-acks-not-waited-for", func(b *testing.B) {
		benchConsumeWatermill(b, wmjetstream.SubscriberConfig{AckAsync: true})
	})
	b.Run("contender=watermill-one-at-a-time", func(b *testing.B) {
		benchConsumeWatermill(b, wmjetstream.SubscriberConfig{ConsumeOptions: []jetstream.PullConsumeOpt{jetstream.PullMaxMessages(1)}})
	})
}

func benchConsumeWatermill(b *testing.B, c wmjetstream.SubscriberConfig) {
	url := startNATS(b)
	broker := natsBroker(b, url)
	benchConsume(b, broker, func() message.Subscriber {
		c.Conn, c.Logger = must(nats.Connect(url)), quiet
		c.ResourceInitializer = func(ctx context.Context, js jetstream.JetStream, topic string) (jetstream.Consumer, func(context.Context, watermill.LoggerAdapter), error) {
			consumer, err := js.CreateOrUpdateConsumer(ctx, topic, jetstream.ConsumerConfig{Durable: "group", AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Minute})
			return consumer, nil, err
		}
		sub, err := wmjetstream.NewSubscriber(c)
		require.NoError(b, err)
		return sub
	})
}

// benchWaiting publishes what is to be consumed.
func benchWaiting(b *testing.B, broker relay.Broker) {
	done := make(chan error)
	go func() {
		var err error
		for n := 0; n < b.N && err == nil; n++ {
			err = broker.Publish(b.Context(), "bench", benchMessage())
		}
		done <- err
	}()
	require.NoError(b, <-done)
}

func benchConsume(b *testing.B, broker relay.Broker, open func() message.Subscriber) {
	benchWaiting(b, broker)
	sub := open()
	defer func() { require.NoError(b, sub.Close()) }()
	b.ReportAllocs()
	b.ResetTimer()
	messages, err := sub.Subscribe(b.Context(), "bench")
	require.NoError(b, err)
	for range b.N {
		m := <-messages
		m.Ack()
	}
	b.StopTimer()
}

func natsBroker(b *testing.B, url string) relay.Broker {
	conn := must(nats.Connect(url))
	b.Cleanup(conn.Close)
	broker := must(relaynats.New(relaynats.Config{JetStream: must(jetstream.New(conn)), Consumer: &jetstream.ConsumerConfig{}}))
	b.Cleanup(func() { check(broker.Close()) })
	return broker
}

func benchMessage() *relay.Message {
	m := &relay.Message{ID: "0199f3a1-7a53-7e0c-9d2b-000000000001", Body: make([]byte, benchBody), Metadata: map[string]string{}}
	for _, key := range []string{"ce-id", "ce-type", "ce-source", "ce-time", "content-type"} {
		m.Metadata[key] = "0199f3a1-7a53-7e0c-9d2b-000000000001"
	}
	return m
}
