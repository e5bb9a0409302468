package relay_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/relay"
)

// A decision may take its time: also one that outlasts what the broker waits for
// is asked for once, and what it says is done once.
func TestRedriveSlowly(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		takes time.Duration
	}{
		{"quickly", time.Second},
		{"a coffee", 6 * time.Minute},
		{"lunch", 40 * time.Minute},
	} {
		for _, verdict := range []relay.Verdict{relay.Redeliver, relay.Keep, relay.Discard} {
			t.Run(tt.name+" "+verdict.String(), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					const letters = 6
					g, _ := failing(t, 1, 2, 3, 4, 5, 6)
					require.NoError(t, g.Close(t.Context()))
					b := &impatient{broker: g.broker, prefetch: 3}
					r, err := relay.New(b, newRegistry())
					require.NoError(t, err)
					asked := map[int]int{}
					n, err := r.Redrive(t.Context(), "failing", func(d relay.DeadLetter) relay.Verdict {
						asked[numberOf(t, d)]++
						time.Sleep(tt.takes)
						return verdict
					})
					require.NoError(t, err)
					require.NoError(t, r.Close(t.Context()))
					if tt.takes > time.Minute {
						require.Positive(t, b.again.Load(), "the broker has delivered letters again, or the test shows nothing")
					}
					require.Equal(t, map[int]int{1: 1, 2: 1, 3: 1, 4: 1, 5: 1, 6: 1}, asked)
					require.Equal(t, verdict == relay.Redeliver, n == letters)
					if verdict == relay.Redeliver {
						require.Equal(t, letters, g.broker.count("failing.retry"))
					}
					left := newRigOn(t, g.broker).letters("failing")
					require.Equal(t, verdict == relay.Keep, len(left) == letters, "%d", len(left))
				})
			})
		}
	}
}

// An impatient broker hands over some messages at once, and delivers each again
// that it has had no word of within the AckWait of its group.
type impatient struct {
	*broker
	prefetch int
	again    atomic.Int32
}

func (b *impatient) Subscriber(ctx context.Context, group relay.Group) (message.Subscriber, error) {
	s, err := b.broker.Subscriber(ctx, group)
	return &impatientSubscriber{s, b, group.AckWait, &sync.WaitGroup{}, make(chan struct{})}, err
}

type impatientSubscriber struct {
	message.Subscriber
	b       *impatient
	ackWait time.Duration
	running *sync.WaitGroup
	closed  chan struct{}
}

func (s *impatientSubscriber) SubscribeInitialize(topic string) error {
	return s.Subscriber.(message.SubscribeInitializer).SubscribeInitialize(topic)
}

func (s *impatientSubscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	from, to := make(chan *message.Message), make(chan *message.Message, s.b.prefetch)
	for range s.b.prefetch {
		messages, err := s.Subscriber.Subscribe(ctx, topic)
		if err != nil {
			return nil, err
		}
		s.running.Go(func() {
			for m := range messages {
				from <- m
			}
		})
	}
	go func() { s.running.Wait(); close(from) }()
	var held sync.WaitGroup
	go func() {
		defer close(to)
		defer held.Wait()
		for m := range from {
			held.Go(func() { s.hold(m, to) })
		}
	}()
	return to, nil
}

// hold delivers m until it is acknowledged or refused.
func (s *impatientSubscriber) hold(m *message.Message, to chan<- *message.Message) {
	for first := true; ; first = false {
		delivered := m.Copy()
		select {
		case to <- delivered:
		case <-s.closed:
			m.Nack()
			return
		}
		if !first {
			s.b.again.Add(1)
		}
		select {
		case <-delivered.Acked():
			m.Ack()
			return
		case <-delivered.Nacked():
			m.Nack()
			return
		case <-s.closed:
			m.Nack()
			return
		case <-time.After(s.ackWait):
		}
	}
}

func (s *impatientSubscriber) Close() error {
	close(s.closed)
	return s.Subscriber.Close()
}
