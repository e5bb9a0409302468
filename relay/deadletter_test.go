package relay_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/relay"
)

// failing has a handler give up these numbers, until it is cured.
func failing(t *testing.T, numbers ...int) (g *rig, calls *times) {
	t.Helper()
	g = newRig(t)
	calls = &times{g: g}
	g.handle("failing", func(context.Context, ordered) error { calls.add(); return errHandler }, tidings.Attempts(1))
	g.handle("calm", func(context.Context, ordered) error { return nil })
	g.start()
	g.publish(numbers...)
	synctest.Wait()
	require.Len(t, calls.all(), len(numbers))
	return g, calls
}

func numberOf(t *testing.T, d relay.DeadLetter) int {
	t.Helper()
	e, err := newRegistry().Decode(d.Body)
	require.NoError(t, err)
	return e.(ordered).Number
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g, calls := failing(t, 1, 2, 3, 4, 5, 6)
		ordinary := g.broker.count(orderedName)
		var seen []int
		n, err := g.Redrive(t.Context(), "failing", func(d relay.DeadLetter) relay.Verdict {
			seen = append(seen, numberOf(t, d))
			return []relay.Verdict{relay.Redeliver, relay.Keep, relay.Discard}[len(seen)%3]
		})
		require.NoError(t, err)
		require.Equal(t, []int{1, 2, 3, 4, 5, 6}, seen, "also those that have failed again are decided about once")
		require.Equal(t, 2, n)
		require.Len(t, calls.all(), 6+2)
		require.Equal(t, ordinary, g.broker.count(orderedName), "no other handler gets them")
		var left []int
		for _, d := range g.letters("failing") {
			left = append(left, numberOf(t, d))
		}
		require.ElementsMatch(t, []int{1, 4, 3, 6}, left)

		n, err = g.Redrive(t.Context(), "failing", func(relay.DeadLetter) relay.Verdict { return relay.Discard })
		require.NoError(t, err)
		require.Zero(t, n)
		require.Empty(t, g.letters("failing"))
	})
}

// What is put back has all its attempts.
func TestRedriveGivesAllAttempts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		calls := &times{g: g}
		g.handle("failing", func(context.Context, ordered) error { calls.add(); return errHandler }, tidings.Attempts(2))
		g.start()
		g.publish(1)
		pass(time.Minute)
		first := g.letters("failing")[0]
		began := g.since()
		n, err := g.Redrive(t.Context(), "failing", nil)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		pass(time.Minute)
		require.Equal(t, []time.Duration{0, time.Second, began, began + time.Second}, calls.all())
		second := g.letters("failing")[0]
		require.Equal(t, 2, second.Attempts)
		require.Equal(t, orderedName, second.Origin, "not the topic of retries")
		require.Equal(t, began+time.Second, second.FailedAt.Sub(g.began))
		second.FailedAt = first.FailedAt
		require.Equal(t, first, second)
	})
}

func TestRedriveEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		n, err := g.Redrive(t.Context(), "nobody", nil)
		require.NoError(t, err)
		require.Zero(t, n)
		require.Equal(t, 10*time.Second, g.since(), "a consumer of Kafka needs some time to get the first")
	})
	synctest.Test(t, func(t *testing.T) {
		g, _ := failing(t, 1, 2)
		n, err := g.Redrive(t.Context(), "failing", func(relay.DeadLetter) relay.Verdict {
			time.Sleep(2 * time.Second) // may take its time
			return relay.Redeliver
		})
		require.NoError(t, err)
		require.Equal(t, 2, n)
		require.Equal(t, (2+2+3)*time.Second, g.since())
	})
}

// Redrive that fails, or whose ctx ends, leaves what it has not decided about.
func TestRedriveStops(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		spoil   func(*broker, context.CancelFunc)
		verdict func(n int, cancel context.CancelFunc) relay.Verdict
		want    string
		left    int
		moved   int
	}{
		{
			name:    "not a valid Verdict",
			verdict: func(n int, _ context.CancelFunc) relay.Verdict { return relay.Verdict(3 * (n - 1)) },
			want:    "Verdict(3) is not a valid Verdict", left: 2, moved: 1,
		},
		{
			name: "canceled",
			verdict: func(n int, cancel context.CancelFunc) relay.Verdict {
				if n == 3 {
					cancel()
				}
				return relay.Discard
			},
			want: "context canceled", left: 0,
		},
		{
			name:    "canceled before",
			spoil:   func(_ *broker, cancel context.CancelFunc) { cancel() },
			verdict: func(int, context.CancelFunc) relay.Verdict { panic("not called") },
			want:    "context canceled", left: 3,
		},
		{
			name:    "publish",
			spoil:   func(b *broker, _ context.CancelFunc) { b.onPublish = refusing(".retry") },
			verdict: func(n int, _ context.CancelFunc) relay.Verdict { return relay.Redeliver },
			want:    "the broker refuses", left: 3,
		},
		{
			name:    "publish what is kept",
			spoil:   func(b *broker, _ context.CancelFunc) { b.onPublish = refusing(".dead") },
			verdict: func(n int, _ context.CancelFunc) relay.Verdict { return relay.Keep },
			want:    "the broker refuses", left: 3,
		},
		{
			name: "subscriber",
			spoil: func(b *broker, _ context.CancelFunc) {
				b.onSubscriber = func(g relay.Group) error { return refusing(".dead")(g.Name, nil) }
			},
			want: "the broker refuses", left: 3,
		},
		{
			name: "subscribe",
			spoil: func(b *broker, _ context.CancelFunc) {
				b.onSubscribe = func(group, _ string) error { return refusing(".dead")(group, nil) }
			},
			want: "the broker refuses", left: 3,
		},
		{
			name: "close",
			spoil: func(b *broker, _ context.CancelFunc) {
				b.onClose = func(group string) error { return refusing(".dead")(group, nil) }
			},
			verdict: func(int, context.CancelFunc) relay.Verdict { return relay.Discard },
			want:    "the broker refuses", left: 0,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g, _ := failing(t, 1, 2, 3)
				g.Close(t.Context()) // nobody handles what is put back
				g = newRigOn(t, g.broker)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if tt.spoil != nil {
					g.broker.set(func() { tt.spoil(g.broker, cancel) })
				}
				decided := 0
				n, err := g.Redrive(ctx, "failing", func(relay.DeadLetter) relay.Verdict {
					decided++
					return tt.verdict(decided, cancel)
				})
				require.ErrorContains(t, err, tt.want)
				require.ErrorContains(t, err, `relay: Redrive of "failing"`)
				require.Equal(t, tt.moved, n)
				g.broker.set(func() {
					g.broker.onPublish, g.broker.onSubscriber, g.broker.onSubscribe, g.broker.onInitialize, g.broker.onClose = nil, nil, nil, nil, nil
				})
				require.Len(t, g.letters("failing"), tt.left)
			})
		})
	}
}

// Redrive leaves no subscriber behind.
func TestRedriveCloses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		var closed []string
		g.broker.set(func() { g.broker.onClose = func(group string) error { closed = append(closed, group); return nil } })
		_, err := g.Redrive(t.Context(), "nobody", nil)
		require.NoError(t, err)
		require.Equal(t, []string{"nobody.dead"}, closed)
	})
}

func TestRedriveOfNothing(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	_, err := g.Redrive(t.Context(), "", nil)
	require.EqualError(t, err, "relay: Redrive without the name of a handler")
}

// A broker with partitions may bring what was kept before it brings the rest.
func TestRedriveWithPartitions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g, _ := failing(t, 1, 2, 3, 4)
		require.NoError(t, g.Close(t.Context()))
		p := &partitions{broker: g.broker}
		r, err := relay.New(p, newRegistry())
		require.NoError(t, err)
		defer func() { require.NoError(t, r.Close(t.Context())) }()
		seen := 0
		_, err = r.Redrive(t.Context(), "failing", func(relay.DeadLetter) relay.Verdict { seen++; return relay.Keep })
		require.NoError(t, err)
		require.Equal(t, 4, seen)
	})
}

// A partitions has a second partition for what is published through it, from
// which its subscribers get messages first.
type partitions struct {
	*broker
	second chan *relay.Message
}

func (p *partitions) Enqueue(_ context.Context, _ relay.Group, messages ...*relay.Message) error {
	for _, m := range messages {
		p.second <- m
	}
	return nil
}

func (p *partitions) Consume(ctx context.Context, group relay.Group, topic string, handle func(*relay.Message) bool) (<-chan error, error) {
	p.second = make(chan *relay.Message, 100)
	return p.broker.Consume(ctx, group, topic, func(m *relay.Message) bool {
		done := handle(m)
		select {
		case m := <-p.second:
			handle(m) // whatever it says: others follow from the first
		default:
		}
		return done
	})
}

// A message has the metadata of where it is, and not of where it was.
func TestMetadataOfFailures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		has := map[string][]bool{} // by topic, each time: when it is due, when it has failed, the trace
		g.broker.set(func() {
			g.broker.onPublish = func(topic string, m *relay.Message) error {
				for _, key := range []string{"tidings-due", "tidings-failed-at", "traceparent"} {
					_, ok := m.Metadata[key]
					has[topic] = append(has[topic], ok)
				}
				return nil
			}
		})
		g.handle("failing", func(context.Context, ordered) error { return errHandler }, tidings.Attempts(2))
		g.start()
		m := newMessage("", []byte("{"))
		m.Metadata["traceparent"] = "00"
		require.NoError(t, g.broker.Publish(t.Context(), orderedName, m))
		pass(time.Minute)
		n, err := g.Redrive(t.Context(), "failing", nil)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		pass(time.Minute)
		require.Equal(t, map[string][]bool{
			orderedName:     {false, false, true},
			"failing.retry": {true, false, true, false, false, true, true, false, true}, // tried again, redriven, tried again
			"failing.dead":  {false, true, true, false, true, true},
		}, has)
	})
}

// The type of a letter that is no event is unknown.
func TestLetterType(t *testing.T) {
	t.Parallel()
	require.Empty(t, relay.DeadLetter{Body: []byte("what?")}.Type())
	e, err := newRegistry().Wrap(tidings.Stamp(t.Context(), shipped{}))
	require.NoError(t, err)
	body, err := e.MarshalJSON()
	require.NoError(t, err)
	require.Equal(t, shippedName, relay.DeadLetter{Body: body}.Type())
}

// Metadata that somebody has spoilt do not stop anything.
func TestDamagedMetadata(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		number, due string
		want        int
	}{
		{"", "", 3},
		{"x", "y", 3},
		{"-5", "0001-01-01T00:00:00Z", 3},
		{"-9223372036854775808", "", 3},
		{"1", "", 3},
		{"7", "", 8},
		{"9223372036854775807", "soon", 1 << 30},
		{"99999999999999999999", "soon", 1 << 30},
	} {
		synctest.Test(t, func(t *testing.T) {
			g := newRig(t)
			g.handle("failing", func(context.Context, ordered) error { return errHandler }, tidings.Attempts(3))
			g.start()
			m := newMessage("", []byte("{"))
			m.Metadata["tidings-attempt"] = tt.number
			m.Metadata["tidings-due"] = tt.due
			require.NoError(t, g.broker.Publish(t.Context(), "failing.retry", m))
			pass(time.Hour)
			letters := g.letters("failing")
			require.Len(t, letters, 1, tt.number)
			require.Equal(t, tt.want, letters[0].Attempts, tt.number)
		})
	}
}
