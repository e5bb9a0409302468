package redis_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/relay"
)

// Placed is the event of these tests.
type Placed struct {
	tidings.DomainEvent
	N int
}

// events is how many events a test sends: few, or what TIDINGS_FAULT_EVENTS says.
func events(t *testing.T) int {
	t.Helper()
	text := os.Getenv("TIDINGS_FAULT_EVENTS")
	if text == "" {
		return 600
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err)
	return n
}

func newRegistry() *tidings.Registry {
	var r tidings.Registry
	tidings.Register[Placed](&r, "orders.placed", 1)
	return &r
}

// openRelay opens a relay, as if it were in a process of its own.
func openRelay(t *testing.T, url string) *relay.Relay {
	t.Helper()
	r, err := relay.Open(t.Context(), url, newRegistry(), relay.WithLogger(slog.New(slog.DiscardHandler)))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close(context.Background())) })
	return r
}

// seen counts events.
type seen struct {
	mu    sync.Mutex
	times map[int]int
}

func (s *seen) add(n int) (times int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.times == nil {
		s.times = map[int]int{}
	}
	s.times[n]++
	return s.times[n]
}

func (s *seen) missing(of []int) (missing []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range of {
		if s.times[n] == 0 {
			missing = append(missing, n)
		}
	}
	return missing
}

// A server loses everything while one process publishes and two others handle.
// What is accepted from then on reaches both, is tried again, and is a dead
// letter.
func TestServerIsWiped(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		wipe func(t *testing.T, s *child, client *goredis.Client)
	}{
		{"FLUSHALL", func(t *testing.T, _ *child, client *goredis.Client) {
			require.NoError(t, client.FlushAll(t.Context()).Err())
		}},
		{"restarted empty", func(_ *testing.T, s *child, _ *goredis.Client) {
			s.kill()
			s.start()
		}},
		{"the streams are deleted", func(t *testing.T, _ *child, client *goredis.Client) {
			require.NoError(t, client.Del(t.Context(), "orders.placed", "shipping.pack.retry", "shipping.pack.dead").Err())
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newChild(t)
			_, client := newBroker(t, s.url())
			quick := relay.Backoff(func(int) time.Duration { return 20 * time.Millisecond })
			var effects, noted, tries, letters seen
			packing, noting := openRelay(t, s.url()), openRelay(t, s.url())
			bus := tidings.New()
			tidings.Subscribe(bus, func(_ context.Context, e Placed) error {
				switch {
				case e.N%50 == 0:
					return relay.Permanent(errors.New("no such shelf"))
				case tries.add(e.N) == 1 && e.N%10 == 0:
					return errors.New("the shelf is locked")
				}
				effects.add(e.N)
				return nil
			}, tidings.Named("shipping.pack"), tidings.Via(packing.With(quick, relay.Workers(4))))
			require.NoError(t, packing.Start(t.Context()))
			otherBus := tidings.New()
			tidings.Subscribe(otherBus, func(_ context.Context, e Placed) error { noted.add(e.N); return nil },
				tidings.Named("billing.note"), tidings.Via(noting.With(quick)))
			require.NoError(t, noting.Start(t.Context()))

			shop := tidings.New(tidings.WithTransport(openRelay(t, s.url())))
			total := events(t)
			var earlier, after []int // accepted; what was begun after the wipe
			var wiped atomic.Bool
			var wiping sync.WaitGroup
			for n := 0; n < total || len(after) < total/2; n++ {
				if n == total/3 {
					wiping.Go(func() {
						test.wipe(t, s, client)
						wiped.Store(true)
					})
				}
				begun := wiped.Load()
				switch err := tidings.Publish(t.Context(), shop, Placed{N: n}); {
				case begun:
					require.NoError(t, err, "the server is there")
					after = append(after, n)
				case err == nil:
					earlier = append(earlier, n)
				}
			}
			wiping.Wait()

			handled := func(from []int) (fine, poisonous []int) {
				for _, n := range from {
					if n%50 == 0 {
						poisonous = append(poisonous, n)
					} else {
						fine = append(fine, n)
					}
				}
				return fine, poisonous
			}
			fine, poisonous := handled(after)
			require.Eventually(t, func() bool { return len(effects.missing(fine)) == 0 && len(noted.missing(after)) == 0 }, 4*patience, 50*time.Millisecond)
			require.Eventually(t, func() bool {
				_, err := packing.Redrive(t.Context(), "shipping.pack", func(letter relay.DeadLetter) relay.Verdict {
					e, err := newRegistry().Decode(letter.Body)
					require.NoError(t, err)
					letters.add(e.(Placed).N)
					return relay.Keep
				})
				require.NoError(t, err)
				return len(letters.missing(poisonous)) == 0
			}, 4*patience, 50*time.Millisecond)
			fineEarlier, _ := handled(earlier)
			t.Logf("accepted before and during the wipe: %d, of which it took %d from one handler and %d from the other; after it: %d accepted, %d effects, %d letters, %d noted, 0 lost",
				len(earlier), len(effects.missing(fineEarlier)), len(noted.missing(earlier)), len(after), len(fine), len(poisonous), len(after))
		})
	}
}
