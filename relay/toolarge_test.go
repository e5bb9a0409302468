package relay_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/relay"
)

// atMost refuses what is larger, metadata and all, on topics with that ending.
func atMost(bytes int, suffix string) func(string, *relay.Message) error {
	return func(topic string, m *relay.Message) error {
		size := len(m.Body) + len(m.ID)
		for key, value := range m.Metadata {
			size += len(key) + len(value)
		}
		if strings.HasSuffix(topic, suffix) && size > bytes {
			return fmt.Errorf("the broker: %w", relay.ErrTooLarge)
		}
		return nil
	}
}

// bodyOf returns an event as a message of that size.
func bodyOf(t *testing.T, size int) string {
	t.Helper()
	e, err := newRegistry().Wrap(tidings.Stamp(t.Context(), wordy{}))
	require.NoError(t, err)
	text, err := e.MarshalJSON()
	require.NoError(t, err)
	return string(text) + strings.Repeat(" ", size-len(text))
}

// What the broker does not take again is a dead letter, with as much of it as the
// broker takes, and holds up nobody.
func TestTooLargeToHandOn(t *testing.T) {
	t.Parallel()
	const metadata = 500 // more than the relay's
	for _, tt := range []struct {
		name    string
		limit   int
		suffix  string
		body    string
		foreign int
		kept    int
		typ     string
		reason  string
	}{
		{"not", 1 << 20, "", bodyOf(t, 200_000), 0, 200_000, "shop.wordy", "no stock"},
		{"for the attempts", 100_000, ".retry", bodyOf(t, 200_000), 0, 200_000, "shop.wordy", "no stock; it cannot be retried: the broker: the message is larger than the broker accepts"},
		{"for the letters", 100_000, "", bodyOf(t, 200_000), 0, 64 << 10, "shop.wordy", "no stock"},
		{"for large letters", 10_000, "", bodyOf(t, 200_000), 0, 4 << 10, "shop.wordy", "no stock"},
		{"for letters of some size", 2_000, "", bodyOf(t, 200_000), 0, 64, "shop.wordy", "no stock"},
		{"by its metadata", 10_000, "", bodyOf(t, 300), 20_000, 300, "shop.wordy", "no stock"},
		{"no event", 10_000, "", strings.Repeat("x", 20_000), 0, 4 << 10, "", "CloudEvent"},
		{"a cut character", 10_000, "", "x" + strings.Repeat("ë", 10_000), 0, 4<<10 - 1, "", "CloudEvent"},
		{"not printable", 2_000, "", strings.Repeat("\x00\xff", 10_000), 0, 64, "", "CloudEvent"},
		{"larger than MaxSize", 10_000, "", bodyOf(t, 600_000), 0, 4 << 10, "shop.wordy", "relay.WithMaxSize"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := newRig(t, relay.WithMaxSize(500_000))
				g.broker.set(func() { g.broker.onPublish = atMost(tt.limit+metadata, tt.suffix) })
				calls, attempts := &times{g: g}, 5
				if tt.name == "not" {
					attempts = 1
				}
				tidings.Subscribe(g.bus, func(_ context.Context, e wordy) error {
					if calls.add(); e.Text == "" {
						return errHandler
					}
					return nil
				}, tidings.Named("h"), tidings.Via(g.Relay), tidings.Attempts(attempts))
				g.start()
				m := newMessage(uuid.NewString(), []byte(tt.body))
				if tt.foreign > 0 {
					m.Metadata["baggage"] = strings.Repeat("x", tt.foreign)
				}
				m.Metadata["tidings-size"] = "9999999" // of somebody who wants it
				require.NoError(t, g.broker.Broker.Publish(t.Context(), "shop.wordy", m))
				require.NoError(t, tidings.Publish(t.Context(), g.bus, wordy{Text: "behind it"}))
				synctest.Wait()
				if tt.typ != "" && !strings.Contains(tt.reason, "MaxSize") {
					require.Equal(t, seconds(0, 0), calls.all())
				} else {
					require.Equal(t, seconds(0), calls.all())
				}
				require.Equal(t, 1, g.logs.count("relay: a message is a dead letter"))
				require.Zero(t, g.logs.count("could not be passed on"))
				g.broker.set(func() { g.broker.onPublish = nil })
				letters := g.letters("h")
				require.Len(t, letters, 1)
				letter := letters[0]
				require.Len(t, letter.Body, tt.kept)
				require.Equal(t, len(tt.body), letter.Size)
				require.Equal(t, tt.typ, letter.Type())
				require.Contains(t, letter.Reason, tt.reason)
				require.Equal(t, m.ID, letter.ID)

				n, err := g.Redrive(t.Context(), "h", nil)
				require.NoError(t, err)
				if letter.Size > len(letter.Body) {
					require.Zero(t, n, "the handler would not understand it")
					require.Equal(t, 1, g.logs.count("relay: a dead letter is kept, since its body is incomplete"))
					again := g.letters("h")
					require.Equal(t, letters, again)
				} else {
					require.Equal(t, 1, n)
				}
				_, err = g.Redrive(t.Context(), "h", func(relay.DeadLetter) relay.Verdict { return relay.Discard })
				require.NoError(t, err)
			})
		})
	}
}

// What the broker never takes for another reason is a dead letter with what all
// brokers take.
func TestNeverToHandOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		g.broker.set(func() {
			g.broker.onPublish = func(_ string, m *relay.Message) error {
				if strings.Contains(m.Metadata["baggage"], "\n") || strings.Contains(string(m.Body), "\x00") {
					return tidings.Permanent(errRefused)
				}
				return nil
			}
		})
		g.handle("h", func(context.Context, ordered) error { return nil })
		g.start()
		for _, body := range []string{"a\x00b", "{}", ""} {
			m := newMessage("", []byte(body))
			m.Metadata["baggage"] = "\n"
			require.NoError(t, g.broker.Broker.Publish(t.Context(), orderedName, m))
		}
		synctest.Wait()
		letters := g.letters("h")
		require.Len(t, letters, 3)
		for i, want := range []struct {
			body string
			size int
		}{{"a ", 3}, {"{", 2}, {"", 0}} {
			require.Equal(t, want.body, string(letters[i].Body))
			require.Equal(t, want.size, letters[i].Size)
			require.Contains(t, letters[i].Reason, "it cannot be retried: the broker refuses")
		}
	})
}

// Where not even that is taken the message stays with the broker; it comes again
// slowly, and is said to.
func TestNoLetterAtAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		g.broker.set(func() { g.broker.onPublish = func(string, *relay.Message) error { return relay.ErrTooLarge } })
		calls, others := &times{g: g}, &times{g: g}
		g.handle("h", func(_ context.Context, e ordered) error {
			if e.Number == 2 {
				others.add()
				return nil
			}
			calls.add()
			return errHandler
		}, tidings.Attempts(1))
		g.start()
		for n := 1; n <= 2; n++ {
			body, err := newRegistry().Encode(tidings.Stamp(t.Context(), ordered{Number: n}))
			require.NoError(t, err)
			require.NoError(t, g.broker.Broker.Publish(t.Context(), orderedName, newMessage("", body)))
		}
		pass(12 * time.Second)
		require.Equal(t, seconds(0, 5, 10), calls.all())
		require.Equal(t, 3, g.logs.count("level=ERROR"))
		require.Equal(t, 3, g.logs.count("relay: a message cannot be stored as a dead letter, and will be redelivered"))
		g.broker.set(func() { g.broker.onPublish = nil })
		pass(time.Minute)
		require.Len(t, calls.all(), 4)
		require.Len(t, others.all(), 1)
		require.Len(t, g.letters("h"), 1)
	})
}

// Letters that the broker does not take a second time stay where they are.
func TestRedriveOfWhatIsTooLarge(t *testing.T) {
	t.Parallel()
	for _, verdict := range []relay.Verdict{relay.Keep, relay.Redeliver} {
		synctest.Test(t, func(t *testing.T) {
			g, _ := failing(t, 1, 2, 3)
			require.NoError(t, g.Close(t.Context()))
			large := ""
			g.broker.set(func() {
				g.broker.onPublish = func(_ string, m *relay.Message) error {
					if m.ID == large {
						return fmt.Errorf("the broker: %w", relay.ErrTooLarge)
					}
					return nil
				}
			})
			logs := &logs{}
			r, err := relay.New(&impatient{broker: g.broker, prefetch: 3}, newRegistry(), relay.WithLogger(slog.New(slog.NewTextHandler(logs, nil))))
			require.NoError(t, err)
			asked := map[string]int{}
			n, err := r.Redrive(t.Context(), "failing", func(d relay.DeadLetter) relay.Verdict {
				switch asked[d.ID]++; len(asked) {
				case 2:
					large = d.ID
				case 3:
					time.Sleep(40 * time.Minute) // the broker delivers what is left again
				}
				return verdict
			})
			require.NoError(t, err)
			require.NoError(t, r.Close(t.Context()))
			g.broker.set(func() { g.broker.onPublish = nil })
			require.Equal(t, 1, logs.count("relay: a dead letter is kept, since the broker does not accept it again"))
			require.Len(t, asked, 3)
			require.Equal(t, 1, asked[large])
			left := newRigOn(t, g.broker).letters("failing")
			if verdict == relay.Redeliver {
				require.Equal(t, 2, n)
				require.Len(t, left, 1)
			} else {
				require.Len(t, left, 3)
			}
		})
	}
}

// What has become a letter can be kept and redelivered: that takes no more room.
func TestLettersDoNotGrow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		size := 0
		g.broker.set(func() {
			g.broker.onPublish = func(_ string, m *relay.Message) error {
				if size > 0 {
					return atMost(size, "")("", m)
				}
				for size++; atMost(size, "")("", m) != nil; size++ {
				}
				return nil
			}
		})
		g.handle("h", func(context.Context, ordered) error { return errHandler }, tidings.Attempts(1))
		body, err := newRegistry().Encode(tidings.Stamp(t.Context(), ordered{}))
		require.NoError(t, err)
		g.start()
		require.NoError(t, g.broker.Broker.Publish(t.Context(), orderedName, newMessage(uuid.NewString(), body)))
		synctest.Wait()
		require.Len(t, g.letters("h"), 1)
		n, err := g.Redrive(t.Context(), "h", nil)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		require.Len(t, g.letters("h"), 1)
		require.Zero(t, g.logs.count("does not accept it again"))
	})
}

// Forward does not try again what is too large.
func TestForwardOfWhatIsTooLarge(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.broker.set(func() { g.broker.onPublish = atMost(100, "") })
	relay.Forward[ordered](g.bus, g.Relay)
	err := tidings.Publish(t.Context(), g.bus, ordered{})
	require.ErrorIs(t, err, relay.ErrTooLarge)
	var p interface{ Permanent() bool }
	require.ErrorAs(t, err, &p)
	require.True(t, p.Permanent())
}

// What does not go back into the queue before it is due, is a dead letter with the
// error that it has had.
func TestTooLargeToPostpone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		g.handle("h", func(context.Context, ordered) error { return retryAfter(time.Minute) })
		g.start()
		g.publish(1)
		pass(time.Second)
		g.broker.set(func() { g.broker.onPublish = atMost(10, ".retry") })
		pass(time.Minute)
		letters := g.letters("h")
		require.Len(t, letters, 1)
		require.Contains(t, letters[0].Reason, "too many requests; it cannot be retried: the broker")
		require.Equal(t, 1, letters[0].Attempts)
	})
}

// A letter that no relay has written has no ID of its own. Redrive asks for it
// once, also if the broker refuses to take it again and delivers it again and
// again.
func TestRedriveOfStrangeLetterThatIsTooLarge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		group := relay.Group{Name: "failing.dead", AckWait: time.Minute, Workers: 1, Queue: true}
		for _, m := range []*relay.Message{newMessage("", nil), newMessage("1", nil), newMessage("", []byte("x"))} {
			require.NoError(t, g.broker.Broker.Enqueue(t.Context(), group, m))
		}
		g.broker.set(func() { g.broker.onPublish = func(string, *relay.Message) error { return relay.ErrTooLarge } })
		r, err := relay.New(&rotating{broker: g.broker}, newRegistry())
		require.NoError(t, err)
		asked := map[string]int{}
		n, err := r.Redrive(t.Context(), "failing", func(d relay.DeadLetter) relay.Verdict {
			asked[d.ID+string(d.Body)]++
			return relay.Redeliver
		})
		require.NoError(t, err)
		require.Zero(t, n)
		require.Equal(t, map[string]int{"": 1, "1": 1, "x": 1}, asked)
		require.NoError(t, r.Close(t.Context()))
		g.broker.set(func() { g.broker.onPublish = nil })
		require.Len(t, newRigOn(t, g.broker).letters("failing"), 3)
	})
}

// A rotating broker delivers what is not done again when all others have been
// delivered.
type rotating struct{ *broker }

func (b *rotating) Consume(ctx context.Context, group relay.Group, topic string, handle func(*relay.Message) bool) (<-chan error, error) {
	return b.broker.Consume(ctx, group, topic, func(m *relay.Message) bool {
		if handle(m) {
			return true
		}
		return ctx.Err() == nil && b.broker.Broker.Enqueue(ctx, group, m) == nil
	})
}
