package relay_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

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

func (b *impatient) Consume(ctx context.Context, group relay.Group, topic string, handle func(*relay.Message) bool) (<-chan error, error) {
	delivered := make(chan held, b.prefetch)
	ended := make(chan error, 1)
	var running sync.WaitGroup
	for range b.prefetch {
		inner, err := b.broker.Consume(ctx, group, topic, func(m *relay.Message) bool { return b.hold(ctx, m, group.AckWait, delivered) })
		if err != nil {
			return nil, err
		}
		running.Go(func() { <-inner })
	}
	go func() {
		running.Wait()
		close(delivered)
	}()
	go func() {
		for d := range delivered {
			d.verdict <- handle(d.Message)
		}
		ended <- nil
	}()
	return ended, nil
}

type held struct {
	*relay.Message
	verdict chan bool // has room for one
}

// hold delivers m until it is acknowledged or refused.
func (b *impatient) hold(ctx context.Context, m *relay.Message, ackWait time.Duration, delivered chan<- held) bool {
	for first := true; ; first = false {
		d := held{m, make(chan bool, 1)}
		select {
		case delivered <- d:
		case <-ctx.Done():
			return false
		}
		if !first {
			b.again.Add(1)
		}
		select {
		case done := <-d.verdict:
			return done
		case <-ctx.Done():
			return false
		case <-time.After(ackWait):
		}
	}
}
