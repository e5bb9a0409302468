package relay_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/relay"
)

var errHandler = errors.New("no stock")

func seconds(n ...float64) (all []time.Duration) {
	for _, s := range n {
		all = append(all, time.Duration(s*float64(time.Second)))
	}
	return all
}

type retryAfter time.Duration

func (d retryAfter) Error() string             { return "too many requests" }
func (d retryAfter) RetryAfter() time.Duration { return time.Duration(d) }

type permanence bool

func (p permanence) Error() string   { return "of another package" }
func (p permanence) Permanent() bool { return bool(p) }

func TestWhenAttemptsAreMade(t *testing.T) {
	t.Parallel()
	constant := func(d time.Duration) tidings.SubscribeOption {
		return tidings.Backoff(func(int) time.Duration { return d })
	}
	for _, tt := range []struct {
		name   string
		opts   tidings.SubscribeOptions
		err    error
		want   []time.Duration
		reason string
	}{
		{"default", nil, errHandler, seconds(0, 1, 5, 21, 85), "1 s, 4 s, 16 s, 64 s: also what is longer than the broker may be left waiting"},
		{"seven", tidings.SubscribeOptions{tidings.Attempts(7)}, errHandler, seconds(0, 1, 5, 21, 85, 149, 213), "then 64 s each time"},
		{"one", tidings.SubscribeOptions{tidings.Attempts(1)}, errHandler, seconds(0), ""},
		{"constant", tidings.SubscribeOptions{tidings.Attempts(3), constant(7 * time.Second)}, errHandler, seconds(0, 7, 14), ""},
		{"by attempt", tidings.SubscribeOptions{tidings.Attempts(4), tidings.Backoff(func(n int) time.Duration { return time.Duration(n) * time.Minute })}, errHandler, seconds(0, 60, 180, 360), "they count from 1"},
		{"none", tidings.SubscribeOptions{tidings.Attempts(3), constant(0)}, errHandler, seconds(0, 0, 0), ""},
		{"negative", tidings.SubscribeOptions{tidings.Attempts(3), constant(-time.Hour)}, errHandler, seconds(0, 0, 0), ""},
		{"panics", tidings.SubscribeOptions{tidings.Attempts(3), tidings.Backoff(func(int) time.Duration { panic("what?") })}, errHandler, seconds(0, 1, 5), "a Backoff that fails must not end the process"},
		{"said by the error", tidings.SubscribeOptions{tidings.Attempts(3)}, fmt.Errorf("wrapped: %w", retryAfter(9*time.Second)), seconds(0, 9, 18), "it knows better than the Backoff"},
		{"said by the error, negative", tidings.SubscribeOptions{tidings.Attempts(2)}, retryAfter(-time.Second), seconds(0, 0), ""},
		{"permanent", nil, fmt.Errorf("wrapped: %w", tidings.Permanent(errHandler)), seconds(0), ""},
		{"permanent elsewhere", nil, fmt.Errorf("wrapped: %w", permanence(true)), seconds(0), "that of the durable package has the same method"},
		{"not permanent", tidings.SubscribeOptions{tidings.Attempts(2)}, permanence(false), seconds(0, 1), "the method says so"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := newRig(t)
				calls := &times{g: g}
				g.handle("failing", func(context.Context, ordered) error { calls.add(); return tt.err }, tt.opts...)
				g.start()
				g.publish(1)
				pass(time.Hour)
				require.Equal(t, tt.want, calls.all(), tt.reason)

				letters := g.letters("failing")
				require.Len(t, letters, 1)
				require.Equal(t, len(tt.want), letters[0].Attempts)
				require.Equal(t, tt.want[len(tt.want)-1], letters[0].FailedAt.Sub(g.began))
				require.Equal(t, orderedName, letters[0].Type())
				require.Equal(t, orderedName, letters[0].Origin)
				require.Equal(t, "failing", letters[0].Handler)
				require.Contains(t, letters[0].Reason, tt.err.Error())
				require.Equal(t, len(tt.want)-1, g.logs.count("relay: an attempt has failed"))
				require.Equal(t, 1, g.logs.count("relay: a message is a dead letter"))
				require.Empty(t, g.errs(), "the bus has nothing to report: the handler will be called again, or the letter is there")
			})
		})
	}
}

// What is to be tried again later holds up the other retries, but not for
// longer than half of what the broker waits beyond the Timeout; nothing else waits.
func TestRetriesHoldEachOtherUpForAWhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		late, soon, other := &times{g: g}, &times{g: g}, &times{g: g}
		g.handle("failing", func(_ context.Context, e ordered) error {
			switch e.Number {
			case 1:
				if late.add() == 1 {
					return retryAfter(64 * time.Second)
				}
			case 2:
				if soon.add() == 1 {
					return retryAfter(time.Second)
				}
			default:
				other.add()
			}
			return nil
		}) // silent for at most 30 s / 2
		g.start()
		g.publish(1, 2, 3)
		pass(10 * time.Second)
		g.publish(4)
		pass(time.Hour)
		require.Equal(t, seconds(0, 64), late.all())
		require.Equal(t, seconds(0, 15), soon.all())
		require.Equal(t, seconds(0, 10), other.all())
		require.Equal(t, 1+1+4, g.broker.count("failing.retry"), "twice by the attempts, and back to the end of the queue every 15 s")
	})
}

// A retry that was held has the whole Timeout before it, so that the broker does
// not give it to another consumer meanwhile.
func TestRetriesAreHeldForATimeThatLeavesTheTimeout(t *testing.T) {
	t.Parallel()
	for timeout, hold := range map[time.Duration]time.Duration{
		time.Second: 2500 * time.Millisecond, 30 * time.Second: 15 * time.Second, time.Hour: 15 * time.Second,
	} {
		synctest.Test(t, func(t *testing.T) {
			g := newRig(t)
			calls := &times{g: g}
			g.handle("h", func(context.Context, ordered) error {
				if calls.add() == 1 {
					return retryAfter(64 * time.Second)
				}
				return nil
			}, tidings.Timeout(timeout))
			g.start()
			g.publish(1)
			pass(2 * time.Hour)
			require.Equal(t, seconds(0, 64), calls.all())
			require.Equal(t, 1+int(64*time.Second/hold), g.broker.count("h.retry"), "%v", timeout)
		})
	}
}

func TestTimeoutEndsTheContextOfTheAttempt(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		opts tidings.SubscribeOptions
		want []time.Duration
	}{
		{nil, seconds(30, 61)},
		{tidings.SubscribeOptions{tidings.Timeout(2 * time.Second)}, seconds(2, 5)},
	} {
		synctest.Test(t, func(t *testing.T) {
			g := newRig(t)
			calls := &times{g: g}
			g.handle("slow", func(ctx context.Context, _ ordered) error {
				<-ctx.Done()
				calls.add()
				return ctx.Err()
			}, append(tt.opts, tidings.Attempts(2))...)
			g.start()
			g.publish(1)
			pass(time.Hour)
			require.Equal(t, tt.want, calls.all())
			require.Contains(t, g.letters("slow")[0].Reason, context.DeadlineExceeded.Error())
		})
	}
}

func TestTimeoutIsPartOfWhatTheBrokerIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, relay.WithPrefix("staging."))
		g.handle("slow", func(context.Context, ordered) error { return nil }, tidings.Timeout(7*time.Second), relay.Workers(3))
		g.start()
		require.Equal(t, []relay.Group{
			{Name: "staging.slow", AckWait: 14 * time.Second, Workers: 3},
			{Name: "staging.slow.retry", AckWait: 14 * time.Second, Workers: 3, Queue: true},
		}, g.broker.asked())
		require.Equal(t, map[string]int{"staging.slow staging." + orderedName: 3, "staging.slow.retry staging.slow.retry": 1}, g.broker.subscriptions())
	})
}

func TestAckWait(t *testing.T) {
	t.Parallel()
	for timeout, want := range map[time.Duration]time.Duration{
		time.Second: 6 * time.Second, 5 * time.Second: 10 * time.Second, 20 * time.Second: 40 * time.Second,
		30 * time.Second: time.Minute, time.Hour: time.Hour + 30*time.Second,
	} {
		g := newRig(t)
		g.handle("h", func(context.Context, ordered) error { return nil }, tidings.Timeout(timeout))
		g.start()
		require.Equal(t, want, g.broker.asked()[0].AckWait, "%v", timeout)
	}
}

// An attempt that ends since the handler or the bus is not there says nothing
// about the event: it goes back to the broker, as often as it takes, unhurried.
func TestGiveBack(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{fmt.Errorf("wrapped: %w", tidings.ErrUnsubscribed), true},
		{tidings.ErrClosed, true},
		{&tidings.HandlerError{Handler: "h", Err: tidings.ErrClosed}, false},       // another bus, that the handler publishes on
		{&tidings.HandlerError{Handler: "h", Err: tidings.ErrUnsubscribed}, false}, // a handler's call of Deliver
	} {
		synctest.Test(t, func(t *testing.T) {
			g := newRig(t)
			calls := &times{g: g}
			_, err := g.Handle(tidings.Handler{Name: "h", EventType: reflectType[ordered](), Deliver: func(context.Context, tidings.Event) error {
				if calls.add() < 8 {
					return tt.err
				}
				return nil
			}})
			require.NoError(t, err)
			g.start()
			g.send("h", 1)
			pass(time.Hour)
			if tt.want {
				require.Equal(t, seconds(0, 1, 2, 3, 4, 5, 6, 7), calls.all())
				require.Zero(t, g.logs.count("relay: an attempt has failed"))
				require.Empty(t, g.letters("h"))
			} else {
				require.Equal(t, seconds(0, 1, 5, 21, 85), calls.all())
				require.Len(t, g.letters("h"), 1)
			}
		})
	}
}

// Neither Goexit nor a panic outside of the handler end the worker.
func TestContained(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		do     func()
		reason string
	}{
		{"goexit", runtime.Goexit, "runtime.Goexit"},
		{"panic", func() { panic(errHandler) }, "panic: no stock"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := newRig(t)
				calls := &times{g: g}
				_, err := g.Handle(tidings.Handler{Name: "h", EventType: reflectType[ordered](), Deliver: func(context.Context, tidings.Event) error {
					if calls.add() <= 5 {
						tt.do()
					}
					return nil
				}})
				require.NoError(t, err)
				g.start()
				g.send("h", 1)
				pass(time.Minute + 30*time.Second)
				g.send("h", 2)
				synctest.Wait()
				require.Equal(t, seconds(0, 1, 5, 21, 85, 90), calls.all())
				letters := g.letters("h")
				require.Len(t, letters, 1)
				require.Contains(t, letters[0].Reason, tt.reason)
				require.Equal(t, tt.name == "panic", strings.Contains(g.logs.String(), "stack="))
			})
		})
	}
}

// A reason is what a header can have.
func TestReason(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ text, want string }{
		{"a\r\nb\tc\u2028d\x00e\x1bf", "a  b c d e f"},
		{" \n", ""},
		{"Zoë’s \"fish\" 🐟", "Zoë’s \"fish\" 🐟"},
		{"a\xffb", "a?b"},
		{strings.Repeat("x", 1000), strings.Repeat("x", 1000)},
		{strings.Repeat("x", 1001), strings.Repeat("x", 1000) + "..."},
		{"x" + strings.Repeat("ë", 600), "x" + strings.Repeat("ë", 499) + "..."},
	} {
		synctest.Test(t, func(t *testing.T) {
			g := newRig(t)
			_, err := g.Handle(tidings.Handler{Name: "h", EventType: reflectType[ordered](), Deliver: func(context.Context, tidings.Event) error {
				return tidings.Permanent(errors.New(tt.text))
			}})
			require.NoError(t, err)
			g.start()
			g.send("h", 1)
			synctest.Wait()
			letters := g.letters("h")
			require.Len(t, letters, 1)
			require.Equal(t, tt.want, letters[0].Reason)
			require.True(t, utf8.ValidString(letters[0].Reason))
		})
	}
}
