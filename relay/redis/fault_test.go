package redis_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/relay"
)

// Placed and Paid are the events of these tests.
type (
	Placed struct {
		tidings.DomainEvent
		N int
	}
	Paid struct {
		tidings.DomainEvent
		N int
	}
)

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

// newRegistry returns that of the old version of the program.
func newRegistry() *tidings.Registry {
	var r tidings.Registry
	tidings.Register[Placed](&r, "orders.placed", 1)
	return &r
}

// openRelay opens a relay, as if it were in a process of its own.
func openRelay(t *testing.T, url string, registry *tidings.Registry) *relay.Relay {
	t.Helper()
	r, err := relay.Open(t.Context(), url, registry, relay.WithLogger(slog.New(slog.DiscardHandler)))
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

var quick = tidings.Backoff(func(int) time.Duration { return 20 * time.Millisecond })

// A shop has a process that publishes and two that handle: one packs, and fails
// with some events at first and with others always, the other one notes all.
type shop struct {
	*testing.T
	bus                           *tidings.EventBus
	packing                       *relay.Relay
	tries, packed, letters, noted seen
	earlier, after                []int // accepted; and begun when the fault was over
}

func poisonous(n int) bool { return n%50 == 0 }

func newShop(t *testing.T, url string) *shop {
	t.Helper()
	s := &shop{T: t, packing: openRelay(t, url, newRegistry())}
	bus := tidings.New()
	tidings.Subscribe(bus, func(_ context.Context, e Placed) error {
		switch {
		case poisonous(e.N):
			return tidings.Permanent(errors.New("no such shelf"))
		case e.N%10 == 0 && s.tries.add(e.N) == 1:
			return errors.New("the shelf is locked")
		}
		s.packed.add(e.N)
		return nil
	}, tidings.Named("shipping.pack"), tidings.Via(s.packing), quick, relay.Workers(4))
	require.NoError(t, s.packing.Start(t.Context()))

	noting := openRelay(t, url, newRegistry())
	bus = tidings.New()
	tidings.Subscribe(bus, func(_ context.Context, e Placed) error { s.noted.add(e.N); return nil },
		tidings.Named("billing.note"), tidings.Via(noting), quick)
	require.NoError(t, noting.Start(t.Context()))

	s.bus = tidings.New(tidings.WithTransport(openRelay(t, url, newRegistry())))
	return s
}

// publish publishes events, during a third of which the fault begins.
func (s *shop) publish(total int, fault func()) {
	s.Helper()
	var over atomic.Bool
	var faulty sync.WaitGroup
	for n := 0; n < total || len(s.after) < total/2; n++ {
		if n == total/3 {
			faulty.Go(func() { fault(); over.Store(true) })
		}
		begun := over.Load()
		err := tidings.Publish(s.Context(), s.bus, Placed{N: n})
		switch {
		case begun:
			require.NoError(s, err, "the server is there")
			s.after = append(s.after, n)
		case err == nil:
			s.earlier = append(s.earlier, n)
		}
	}
	faulty.Wait()
}

// awaited is for all events of a test, with the pauses after what has failed.
const awaited = 3 * time.Minute

// await waits until both handlers are done with these events.
func (s *shop) await(numbers []int) {
	s.Helper()
	var poison []int
	require.Eventually(s, func() bool { return len(s.unpacked(numbers)) == 0 && len(s.noted.missing(numbers)) == 0 }, awaited, 50*time.Millisecond)
	for _, n := range numbers {
		if poisonous(n) {
			poison = append(poison, n)
		}
	}
	for deadline := time.Now().Add(awaited); len(s.look().missing(poison)) > 0; { // which takes seconds
		require.Less(s, time.Now(), deadline, "dead letters are missing: %v", s.letters.missing(poison))
	}
}

// unpacked returns those that have had no effect, and are not poisonous.
func (s *shop) unpacked(numbers []int) []int {
	return slices.DeleteFunc(s.packed.missing(numbers), poisonous)
}

// look takes down the dead letters.
func (s *shop) look() *seen {
	s.Helper()
	_, err := s.packing.Redrive(s.Context(), "shipping.pack", func(letter relay.DeadLetter) relay.Verdict {
		e, err := newRegistry().Decode(letter.Body)
		require.NoError(s, err)
		s.letters.add(e.(Placed).N)
		return relay.Keep
	})
	require.NoError(s, err)
	return &s.letters
}

// Something happens to the server while one process publishes and two others
// handle. What is accepted from then on reaches both, is tried again, and is a
// dead letter; and so is what was accepted before, if the server still has it.
func TestFaults(t *testing.T) {
	t.Parallel()
	store := []string{"--appendonly", "yes", "--appendfsync", "always"}
	tests := []struct {
		name     string
		settings []string
		keeps    bool // what it has
		fault    func(t *testing.T, c *child, client *goredis.Client)
	}{
		{"FLUSHALL", nil, false, func(t *testing.T, _ *child, client *goredis.Client) {
			require.NoError(t, client.FlushAll(t.Context()).Err())
		}},
		{"restarted empty", nil, false, func(_ *testing.T, c *child, _ *goredis.Client) {
			c.kill()
			c.start()
		}},
		{"streams deleted", nil, false, func(t *testing.T, _ *child, client *goredis.Client) {
			require.NoError(t, client.Del(t.Context(), "orders.placed", "shipping.pack.retry", "shipping.pack.dead").Err())
		}},
		{"groups destroyed", nil, true, func(t *testing.T, _ *child, client *goredis.Client) {
			for _, g := range [][2]string{{"orders.placed", "shipping.pack"}, {"orders.placed", "billing.note"}, {"shipping.pack.retry", "shipping.pack.retry"}} {
				require.NoError(t, client.XGroupDestroy(t.Context(), g[0], g[1]).Err())
			}
		}},
		{"killed and started", store, true, func(_ *testing.T, c *child, _ *goredis.Client) {
			c.kill()
			c.start()
		}},
		{"held up", nil, true, func(t *testing.T, c *child, _ *goredis.Client) {
			require.NoError(t, c.cmd.Process.Signal(syscall.SIGSTOP))
			<-time.After(6 * time.Second) // twice as long as the client waits for an answer
			require.NoError(t, c.cmd.Process.Signal(syscall.SIGCONT))
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := newChild(t, test.settings...)
			_, client := newBroker(t, c.url())
			s := newShop(t, c.url())
			s.publish(events(t), func() { test.fault(t, c, client) })
			s.await(s.after)
			if test.keeps {
				s.await(s.earlier)
			}
			all := slices.Concat(s.earlier, s.after)
			t.Logf("accepted %d before it was over: %d of them not packed, %d not noted; and %d afterwards: %d not packed, %d not noted; %d packed in all, %d letters",
				len(s.earlier), len(s.unpacked(s.earlier)), len(s.noted.missing(s.earlier)),
				len(s.after), len(s.unpacked(s.after)), len(s.noted.missing(s.after)), len(all)-len(s.packed.missing(all)), len(all)-len(s.letters.missing(all)))
		})
	}
}

// An old and a new version of a program share a handler, which takes all events
// and fails with each at first. The old one does not know one of the types.
func TestRollingDeployment(t *testing.T) {
	t.Parallel()
	c := newChild(t)
	registry := newRegistry()
	tidings.Register[Paid](registry, "billing.paid", 1)
	var tries, effects seen
	old, current := openRelay(t, c.url(), newRegistry()), openRelay(t, c.url(), registry)
	for _, r := range []*relay.Relay{old, current} {
		bus := tidings.New()
		tidings.Subscribe(bus, func(_ context.Context, e tidings.Event) error {
			n := 0
			switch e := e.(type) {
			case Placed:
				n = 2 * e.N
			case Paid:
				n = 2*e.N + 1
			}
			if tries.add(n) == 1 {
				return errors.New("not yet")
			}
			effects.add(n)
			return nil
		}, tidings.Named("audit"), tidings.Via(r), quick, relay.Workers(4))
		require.NoError(t, r.Start(t.Context()))
	}
	bus := tidings.New(tidings.WithTransport(openRelay(t, c.url(), registry)))
	var all []int
	for n := range events(t) / 2 {
		require.NoError(t, tidings.Publish(t.Context(), bus, Placed{N: n}))
		require.NoError(t, tidings.Publish(t.Context(), bus, Paid{N: n}))
		all = append(all, 2*n, 2*n+1)
	}
	dead := func() int {
		letters := 0
		_, err := current.Redrive(t.Context(), "audit", func(relay.DeadLetter) relay.Verdict { letters++; return relay.Keep })
		require.NoError(t, err)
		return letters
	}
	for deadline := time.Now().Add(awaited); ; {
		letters := dead() // which takes seconds
		if missing := len(effects.missing(all)); missing > letters {
			require.Less(t, time.Now(), deadline, "%d events have had no effect, and %d are dead letters", missing, letters)
			continue
		}
		t.Logf("accepted %d: %d effects, %d letters", len(all), len(all)-len(effects.missing(all)), letters)
		return
	}
}
