package nats_test

import (
	"context"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wmjetstream "github.com/ThreeDotsLabs/watermill-nats/v2/pkg/jetstream"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/relay"
	relaynats "github.com/tidings-go/tidings/relay/nats"
)

// The adapter of Watermill with the same streams and consumers is the measure.

const benchBody = 512

func BenchmarkPublish(b *testing.B) {
	b.Run("tidings", func(b *testing.B) {
		broker := benchBroker(b, startServer(b))
		benchPublish(b, broker)
	})
	b.Run("watermill", func(b *testing.B) {
		s := startServer(b)
		require.NoError(b, benchBroker(b, s).Publish("bench", benchMessage())) // makes the stream
		conn, _ := s.client()
		p, err := wmjetstream.NewPublisher(wmjetstream.PublisherConfig{Conn: conn, Logger: watermill.NopLogger{}})
		require.NoError(b, err)
		benchPublish(b, p)
	})
}

func benchPublish(b *testing.B, p message.Publisher) {
	require.NoError(b, p.Publish("bench", benchMessage()))
	for _, parallel := range []int{1, 32} {
		b.Run(map[int]string{1: "serial", 32: "parallel"}[parallel], func(b *testing.B) {
			b.ReportAllocs()
			if parallel == 1 {
				for b.Loop() {
					if err := p.Publish("bench", benchMessage()); err != nil {
						b.Fatal(err)
					}
				}
				return
			}
			b.SetParallelism(parallel)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := p.Publish("bench", benchMessage()); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

func BenchmarkConsume(b *testing.B) {
	b.Run("tidings", func(b *testing.B) {
		broker := benchBroker(b, startServer(b))
		benchConsume(b, broker, func() message.Subscriber {
			sub, err := broker.Subscriber(b.Context(), relay.Group{Name: "group", AckWait: time.Minute, Workers: 1})
			require.NoError(b, err)
			return sub
		})
	})
	b.Run("watermill", func(b *testing.B) {
		benchConsumeWatermill(b, wmjetstream.SubscriberConfig{})
	})
	b.Run("watermill, acks not waited for", func(b *testing.B) {
		benchConsumeWatermill(b, wmjetstream.SubscriberConfig{AckAsync: true})
	})
	b.Run("watermill, one at a time", func(b *testing.B) {
		benchConsumeWatermill(b, wmjetstream.SubscriberConfig{ConsumeOptions: []jetstream.PullConsumeOpt{jetstream.PullMaxMessages(1)}})
	})
}

func benchConsumeWatermill(b *testing.B, c wmjetstream.SubscriberConfig) {
	s := startServer(b)
	broker := benchBroker(b, s)
	benchConsume(b, broker, func() message.Subscriber {
		conn, _ := s.client()
		c.Conn, c.Logger = conn, watermill.NopLogger{}
		c.ResourceInitializer = func(ctx context.Context, js jetstream.JetStream, topic string) (jetstream.Consumer, func(context.Context, watermill.LoggerAdapter), error) {
			consumer, err := js.CreateOrUpdateConsumer(ctx, topic, jetstream.ConsumerConfig{Durable: "group", AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Minute})
			return consumer, nil, err
		}
		sub, err := wmjetstream.NewSubscriber(c)
		require.NoError(b, err)
		return sub
	})
}

func benchConsume(b *testing.B, broker relay.Broker, open func() message.Subscriber) {
	done := make(chan error)
	go func() {
		var err error
		for n := 0; n < b.N && err == nil; n++ {
			err = broker.Publish("bench", benchMessage())
		}
		done <- err
	}()
	require.NoError(b, <-done)
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

func benchBroker(b *testing.B, s *natsServer) relay.Broker {
	_, js := s.client()
	broker, err := relaynats.New(relaynats.Config{JetStream: js, Consumer: &jetstream.ConsumerConfig{}})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, broker.Close()) })
	return broker
}

func benchMessage() *message.Message {
	m := message.NewMessage("0199f3a1-7a53-7e0c-9d2b-000000000001", make([]byte, benchBody))
	for _, key := range []string{"ce-id", "ce-type", "ce-source", "ce-time", "content-type"} {
		m.Metadata[key] = "0199f3a1-7a53-7e0c-9d2b-000000000001"
	}
	return m
}
