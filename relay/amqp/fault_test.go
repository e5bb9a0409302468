package amqp_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/relay"
)

// counted is the event of the tests of faults.
type counted struct {
	tidings.DomainEvent
	Number int64
}

// faultEvents is how many events are to be accepted after a fault: few, or what
// TIDINGS_FAULT_EVENTS says.
func faultEvents(t *testing.T) int {
	t.Helper()
	text := os.Getenv("TIDINGS_FAULT_EVENTS")
	if text == "" {
		return 300
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err)
	return n
}

// numbers are those of the events that a handler has had, and how often.
type numbers struct {
	mu  sync.Mutex
	had map[int64]int
}

func (n *numbers) add(number int64) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.had[number]++
	return n.had[number]
}

func (n *numbers) missing(of map[int64]bool) (missing []int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for number := range of {
		if n.had[number] == 0 {
			missing = append(missing, number)
		}
	}
	return missing
}

func (n *numbers) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.had)
}

// Notes are the lines of a log that are about queues and exchanges: what says why
// something is lost.
type notes struct {
	mu    sync.Mutex
	lines []string
}

func (n *notes) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte("created again")) || bytes.Contains(line, []byte("was deleted")) || bytes.Contains(line, []byte("interrupted")) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.lines = append(n.lines, string(line))
	}
	return len(line), nil
}

func (n *notes) text() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Join(n.lines, "")
}

// madeAgain reports whether the relay has noticed that a queue was gone.
func (n *notes) madeAgain(queue string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.ContainsFunc(n.lines, func(line string) bool {
		return strings.Contains(line, "created again") && strings.Contains(line, queue)
	})
}

// A process publishes all the time, and two others handle, while the server has
// a fault. What is accepted is handled by both, or a dead letter.
func TestFaults(t *testing.T) {
	t.Parallel()
	var all sync.WaitGroup
	defer all.Wait()
	atOnce(t, &all, "killed and started again", func(t *testing.T) {
		server := onChild(t, mortal, "kill")
		testFault(t, server.url(), func() { require.NoError(t, server.together(server.restart)) }, false)
	})
	atOnce(t, &all, "blocked for some seconds", func(t *testing.T) {
		server := onChild(t, troubled, t.Name())
		testFault(t, server.url(), func() {
			server.ctl(t, "set_vm_memory_high_watermark", "0.000001")
			<-time.After(3 * time.Second)
			server.ctl(t, "set_vm_memory_high_watermark", "0.4")
		}, false)
	})
	atOnce(t, &all, "wiped", func(t *testing.T) {
		server, host := onChild(t, mortal, "wipe"), newName()
		testFault(t, server.host(t, host), func() { server.wipe(t, host) }, true)
	})
}

// testFault has a server forget what it has accepted before the fault, if forgets
// is true.
func testFault(t *testing.T, url string, happens func(), forgets bool) {
	events := faultEvents(t)
	prefix := relay.WithPrefix(newName() + ".")
	first, second := &numbers{had: map[int64]int{}}, &numbers{had: map[int64]int{}}
	log := &notes{}
	t.Cleanup(func() { // after Close
		if t.Failed() {
			t.Logf("of queues and exchanges:\n%s", log.text())
		}
	})
	connect := func() *relay.Relay {
		r, err := open(t, url, countedRegistry(), prefix, relay.WithLogger(slog.New(slog.NewTextHandler(log, nil))))
		require.NoError(t, err)
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			require.NoError(t, r.Close(ctx))
		})
		return r
	}
	handle := func(name string, handler func(context.Context, counted) error) *relay.Relay {
		r := connect()
		quick := tidings.Backoff(func(int) time.Duration { return 20 * time.Millisecond })
		tidings.Subscribe(tidings.New(), handler, tidings.Named(name), tidings.Via(r), quick, tidings.Attempts(2), relay.Workers(2))
		require.NoError(t, r.Start(t.Context()))
		return r
	}
	handle("first", func(_ context.Context, e counted) error { first.add(e.Number); return nil })
	failing := handle("second", func(_ context.Context, e counted) error {
		switch tries := second.add(e.Number); {
		case e.Number%10 == 0:
			return errors.New("always")
		case e.Number%10 == 1 && tries == 1:
			return errors.New("once")
		}
		return nil
	})

	bus := tidings.New(tidings.WithTransport(connect()))
	var after atomic.Bool
	accepted, refused := map[int64]bool{}, 0
	acceptedAfter, firstAfter := 0, int64(0)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for number := int64(1); acceptedAfter < events; number++ {
			counts := after.Load()
			err := tidings.Publish(context.Background(), bus, counted{Number: number})
			switch {
			case err != nil:
				refused++
			case counts:
				if acceptedAfter++; acceptedAfter == 1 {
					firstAfter = number
				}
				fallthrough
			case !forgets:
				accepted[number] = true
			}
			<-time.After(time.Millisecond)
		}
	}()
	require.Eventually(t, func() bool { return first.count() > 50 && second.count() > 50 }, 2*time.Minute, 10*time.Millisecond)
	happens()
	after.Store(true)
	select {
	case <-done:
	case <-time.After(5 * time.Minute):
		require.FailNow(t, "it does not work again")
	}
	assert.Eventually(t, func() bool { return len(first.missing(accepted))+len(second.missing(accepted)) == 0 }, 2*time.Minute, 20*time.Millisecond)
	// A server that is killed may forget a queue that was made shortly before, with
	// what is in it. That can only be noticed.
	if !forgets && log.madeAgain("second.dead") {
		t.Logf("the server has forgotten the queue of dead letters:\n%s", log.text())
		for number := range accepted {
			if number < firstAfter {
				delete(accepted, number)
			}
		}
	}
	letters := map[int64]bool{}
	dead := map[int64]bool{}
	for number := range accepted {
		if number%10 == 0 {
			dead[number] = true
		}
	}
	missingLetters := func() (missing []int64) {
		for number := range dead {
			if !letters[number] {
				missing = append(missing, number)
			}
		}
		return missing
	}
	for deadline := time.Now().Add(2 * time.Minute); len(missingLetters()) > 0 && time.Now().Before(deadline); {
		_, err := failing.Redrive(t.Context(), "second", func(d relay.DeadLetter) relay.Verdict {
			e, err := countedRegistry().Decode(d.Body)
			require.NoError(t, err)
			letters[e.(counted).Number] = true
			return relay.Keep
		})
		require.NoError(t, err)
	}
	t.Logf("accepted %d (%d of them afterwards), refused %d, effects %d and %d, lost %d and %d; letters %d, lost %d", len(accepted), acceptedAfter, refused,
		len(accepted)-len(first.missing(accepted)), len(accepted)-len(second.missing(accepted)), len(first.missing(accepted)), len(second.missing(accepted)),
		len(dead)-len(missingLetters()), len(missingLetters()))
	require.Empty(t, first.missing(accepted))
	require.Empty(t, second.missing(accepted))
	require.Empty(t, missingLetters())
}

func countedRegistry() *tidings.Registry {
	var r tidings.Registry
	tidings.Register[counted](&r, "suite.counted", 1)
	return &r
}
