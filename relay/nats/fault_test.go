package nats_test

import (
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/internal/testproxy"
	"github.com/tidings-go/tidings/relay"
)

// events is how many messages a test of faults has: few, or what
// TIDINGS_FAULT_EVENTS says.
func events(t *testing.T) int {
	t.Helper()
	text := os.Getenv("TIDINGS_FAULT_EVENTS")
	if text == "" {
		return 400
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err)
	return n
}

// A fault is something that happens to a server while two processes publish and
// two consume.
type fault struct {
	handled               tally
	before, during, after tally // accepted
	refused               atomic.Int64
}

// run has it happen, and returns once half of the messages were accepted before it
// and half after it, and the latter have an effect.
func (f *fault) run(t *testing.T, url string, happen func()) {
	t.Helper()
	each := events(t) / 4
	for range 2 {
		g := group("g")
		g.AckWait = 3 * time.Second // what was on its way
		sub := subscriber(t, openPlain(t, url), g)
		for range 2 {
			messages := subscribe(t, sub, "topic")
			go func() {
				for m := range messages {
					f.handled.add(m.ID)
					m.Ack()
				}
			}()
		}
	}
	var begun, over atomic.Bool
	halfway := make(chan struct{}, 2)
	var publishing sync.WaitGroup
	for p := range 2 {
		b := openPlain(t, url)
		publishing.Go(func() {
			for i, later := 0, 0; later < each; i++ {
				if i == each {
					halfway <- struct{}{}
				}
				id := fmt.Sprint(p, "-", i)
				isLater := over.Load()
				err := b.Publish(t.Context(), "topic", &relay.Message{ID: id})
				switch {
				case err != nil:
					f.refused.Add(1)
				case isLater:
					f.after.add(id)
					later++
				case !begun.Load():
					f.before.add(id)
				default:
					f.during.add(id)
				}
			}
		})
	}
	<-halfway
	begun.Store(true)
	happen()
	over.Store(true)
	publishing.Wait()
	require.Eventually(t, func() bool { return len(f.after.without(&f.handled)) == 0 }, 2*time.Minute, 50*time.Millisecond, "accepted after it, and lost")
	t.Logf("accepted: %d before it, %d meanwhile, %d after it; refused %d; handled %d",
		f.before.len(), f.during.len(), f.after.len(), f.refused.Load(), f.handled.len())
}

// The server is restarted without its data. What it accepts when it is back has an
// effect.
func TestWiped(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	var f fault
	f.run(t, s.url(), s.wipe)
	t.Logf("lost of those accepted after the server was back: 0; with its data: %d", len(f.before.without(&f.handled)))
}

// The network or the server says nothing for a while: nothing that was accepted is
// lost.
func TestSilentForAWhile(t *testing.T) {
	t.Parallel()
	for _, silence := range silences {
		t.Run(silence.name, func(t *testing.T) {
			t.Parallel()
			p := testproxy.Start(t, startServer(t).host(), nil)
			var f fault
			f.run(t, "nats://"+p.Addr(), func() {
				silence.begin(p)
				<-time.After(7 * time.Second) // longer than an answer is waited for
				p.Resume()
			})
			for _, accepted := range []*tally{&f.before, &f.during} {
				require.Eventually(t, func() bool { return len(accepted.without(&f.handled)) == 0 }, time.Minute, 50*time.Millisecond, "lost: %v", accepted.without(&f.handled))
			}
		})
	}
}

// The server comes back with its data of an earlier day, before there was the
// consumer. Where the group was is ahead of what there is.
func TestRestoredFromBackup(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	b := openPlain(t, s.url())
	publish(t, b, "topic", 1, 2)
	s.stop()
	backup := t.TempDir()
	require.NoError(t, os.CopyFS(backup, os.DirFS(s.options.StoreDir)))
	s.start()
	sub := subscriber(t, b, group("g"))
	declared := func() bool { return sub.Declare("topic") == nil }
	require.Eventually(t, declared, time.Minute, 10*time.Millisecond)
	messages := subscribe(t, sub, "topic")
	publish(t, b, "topic", 3, 12)
	require.Equal(t, numbers(3, 12), bodies(t, messages, 10))
	_, js := s.client()
	require.Eventually(t, func() bool {
		c, err := js.Consumer(t.Context(), "topic", "g")
		return err == nil && c.CachedInfo().AckFloor.Stream == 12
	}, time.Minute, 10*time.Millisecond)
	require.True(t, declared())
	s.stop()
	s.options.StoreDir = backup
	s.start()
	publish(t, b, "topic", 21, 22)
	require.Equal(t, []string{"1", "2", "21", "22"}, bodies(t, messages, 4))
}

// A tally is a set of IDs.
type tally struct {
	mu  sync.Mutex
	ids map[string]bool
}

func (y *tally) add(id string) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.ids == nil {
		y.ids = map[string]bool{}
	}
	y.ids[id] = true
}

func (y *tally) len() int {
	y.mu.Lock()
	defer y.mu.Unlock()
	return len(y.ids)
}

func (y *tally) has(id string) bool {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.ids[id]
}

// without returns those that other does not have.
func (y *tally) without(other *tally) (ids []string) {
	y.mu.Lock()
	defer y.mu.Unlock()
	for id := range y.ids {
		if !other.has(id) {
			ids = append(ids, id)
		}
	}
	return ids
}
