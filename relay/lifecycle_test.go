package relay_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/relay"
)

type ctxKey struct{}

// The handlers' contexts have the values of Start's, and end with Close.
func TestContextOfHandlers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		var value any
		var err error
		g.handle("h", func(ctx context.Context, _ ordered) error {
			value, err = ctx.Value(ctxKey{}), ctx.Err()
			return nil
		})
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), ctxKey{}, "of Start"))
		require.NoError(t, g.Start(ctx))
		cancel()
		g.publish(1)
		synctest.Wait()
		require.Equal(t, "of Start", value)
		require.NoError(t, err)
	})
}

// Close waits patiently as long as its ctx lasts.
func TestCloseWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		var interrupted atomic.Bool
		numbers := 0
		g.handle("slow", func(ctx context.Context, _ ordered) error {
			numbers++
			time.Sleep(20 * time.Second)
			interrupted.Store(ctx.Err() != nil)
			return nil
		})
		g.start()
		g.publish(1, 2)
		pass(time.Second)
		require.NoError(t, g.Close(context.Background()))
		require.Equal(t, 20*time.Second, g.since())
		require.False(t, interrupted.Load())
		require.Equal(t, 1, numbers, "the second is left")
		require.Zero(t, g.logs.count("WARN"))
	})
}

// When ctx ends the handlers' contexts do, and they have five seconds.
func TestCloseInterrupts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		needs  time.Duration // after the handler's context has ended
		closed time.Duration
		fails  bool
	}{
		{"at once", 0, 3 * time.Second, false},
		{"in time", 4 * time.Second, 7 * time.Second, false},
		{"not in time", 6 * time.Second, 8 * time.Second, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := newRig(t)
				g.handle("slow", func(ctx context.Context, _ ordered) error {
					<-ctx.Done()
					time.Sleep(tt.needs)
					return ctx.Err()
				})
				g.start()
				g.publish(1)
				synctest.Wait()
				ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
				defer cancel()
				err := g.Close(ctx)
				require.Equal(t, tt.closed, g.since())
				require.Equal(t, 1, g.broker.closes)
				if tt.fails {
					require.ErrorIs(t, err, context.DeadlineExceeded)
					require.Equal(t, 1, g.logs.count("relay: closed before everything had ended"))
					require.NoError(t, g.Close(context.Background()), "a second call waits again")
					require.Equal(t, 9*time.Second, g.since())
					require.Equal(t, 1, g.broker.closes)
				} else {
					require.NoError(t, err)
				}
				require.Zero(t, g.logs.count("relay: an attempt has failed"))

				next := newRigOn(t, g.broker)
				calls := &times{g: next}
				next.handle("slow", func(context.Context, ordered) error { calls.add(); return nil })
				next.start()
				synctest.Wait()
				require.Len(t, calls.all(), 1, "the event is not lost")
			})
		})
	}
}

// An interrupted handler that has failed for another reason is not judged
// either: nobody knows what its context has to do with it.
func TestCloseInterruptsTheLastAttempt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		g.handle("slow", func(ctx context.Context, _ ordered) error {
			<-ctx.Done()
			return errHandler
		}, tidings.Attempts(1))
		g.start()
		g.publish(1)
		synctest.Wait()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		require.NoError(t, g.Close(ctx))
		require.Empty(t, newRigOn(t, g.broker).letters("slow"))
	})
}

func TestAfterClose(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.handle("h", func(context.Context, ordered) error { return nil })
	g.broker.closeErr = errRefused
	require.ErrorIs(t, g.Close(t.Context()), errRefused)
	require.NoError(t, g.Close(t.Context()), "the broker is closed once")
	_, redriveErr := g.Redrive(t.Context(), "h", nil)
	for _, tt := range []struct {
		err  error
		text string
	}{
		{g.Start(t.Context()), "relay: Start: the relay is closed"},
		{tidings.Publish(t.Context(), g.bus, ordered{}), "tidings: h handling relay_test.ordered: relay: the broker has not accepted the event: the relay is closed"},
		{redriveErr, `relay: Redrive of "h": the relay is closed`},
	} {
		require.ErrorIs(t, tt.err, relay.ErrClosed)
		require.EqualError(t, tt.err, tt.text)
	}
	requirePanic(t, `relay: the handler "r": the relay is closed`, func() { relay.Receive[shipped](g.bus, g.Relay, "r") })
}

func TestCloseWithoutStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		g.handle("h", func(context.Context, ordered) error { return nil })
		g.publish(1)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		require.NoError(t, g.Close(ctx))
		require.Zero(t, g.since())
	})
}

func TestNew(t *testing.T) {
	t.Parallel()
	_, err := relay.New(nil, newRegistry())
	require.ErrorContains(t, err, "nil Broker")

	for _, tt := range []struct {
		registry *tidings.Registry
		opts     []relay.Option
		want     string
	}{
		{nil, nil, "nil Registry"},
		{newRegistry(), []relay.Option{nil}, "nil Option"},
		{unsoundRegistry(), nil, "Upcast"},
	} {
		b := newBroker(t)
		b.closeErr = errRefused
		_, err := relay.New(b, tt.registry, tt.opts...)
		require.ErrorContains(t, err, tt.want)
		require.ErrorIs(t, err, errRefused)
		require.Equal(t, 1, b.closes, "New closes the broker also if it fails")
	}
}

func unsoundRegistry() *tidings.Registry {
	registry := newRegistry()
	tidings.Upcast(registry, "shop.unknown", 1, func(ordered) (ordered, error) { return ordered{}, nil })
	return registry
}

// Close ends also if the broker does not: five seconds after its ctx, and once
// more for the connections. It says what has not ended, and a second call waits
// again.
func TestCloseOfASilentBroker(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		silence func(b *broker, answer chan struct{})
		want    []string
		most    time.Duration
	}{
		{"subscriber", func(b *broker, answer chan struct{}) {
			b.onClose = func(string) error { <-answer; return nil }
		}, []string{`relay: Close: the broker has not answered the consumers of handlers: ["steady"]`}, 8 * time.Second},
		{"broker", func(b *broker, answer chan struct{}) { b.onBrokerClose = func() { <-answer } },
			[]string{"relay: Close: closing the broker: the broker has not answered"}, 8 * time.Second},
		{"both", func(b *broker, answer chan struct{}) {
			b.onClose = func(string) error { <-answer; return nil }
			b.onBrokerClose = func() { <-answer }
		}, []string{`["steady"]`, "relay: Close: closing the broker"}, 13 * time.Second},
		{"declaration", func(b *broker, answer chan struct{}) {
			b.onInitialize = func(string, string) error { <-answer; return nil }
		}, []string{`["steady"]`}, 8 * time.Second},
		{"hand", func(b *broker, answer chan struct{}) {
			b.onPublish = func(string, *relay.Message) error { <-answer; return nil }
		}, []string{`["steady"]`}, 8 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := newRig(t)
				g.handle("steady", func(context.Context, ordered) error { return errHandler })
				g.start()
				answer := make(chan struct{})
				g.publish(1)
				g.broker.set(func() { tt.silence(g.broker, answer) })
				pass(10 * time.Second)
				began := time.Now()
				ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
				defer cancel()
				err := g.Close(ctx)
				require.LessOrEqual(t, time.Since(began), tt.most)
				for _, want := range tt.want {
					require.ErrorContains(t, err, want)
				}
				require.ErrorIs(t, g.Close(ctx), context.DeadlineExceeded)
				close(answer)
				require.NoError(t, g.Close(context.Background()))
			})
		})
	}
}

// Send and Redrive end with their contexts.
func TestSilentBrokerEndsNoContext(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		silence func(b *broker, answer chan struct{})
	}{
		{"publish", func(b *broker, answer chan struct{}) {
			b.onPublish = func(string, *relay.Message) error { <-answer; return nil }
		}},
		{"subscriber", func(b *broker, answer chan struct{}) {
			b.onSubscriber = func(relay.Group) error { <-answer; return nil }
		}},
		{"initialize", func(b *broker, answer chan struct{}) {
			b.onInitialize = func(string, string) error { <-answer; return nil }
		}},
		{"subscribe", func(b *broker, answer chan struct{}) {
			b.onSubscribe = func(string, string) error { <-answer; return nil }
		}},
		{"close", func(b *broker, answer chan struct{}) { b.onClose = func(string) error { <-answer; return nil } }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g, _ := failing(t, 1)
				answer := make(chan struct{})
				g.broker.set(func() { tt.silence(g.broker, answer) })
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				_, err := g.Redrive(ctx, "failing", func(relay.DeadLetter) relay.Verdict { return relay.Keep })
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.LessOrEqual(t, g.since(), 7*time.Second)
				if tt.name == "publish" {
					ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
					defer cancel()
					began := time.Now()
					require.ErrorIs(t, tidings.Publish(ctx, g.bus, ordered{}), context.DeadlineExceeded)
					require.Equal(t, 2*time.Second, time.Since(began))
				}
				close(answer)
				synctest.Wait()
				g.broker.set(func() {
					g.broker.onPublish, g.broker.onSubscriber, g.broker.onInitialize, g.broker.onSubscribe, g.broker.onClose = nil, nil, nil, nil, nil
				})
				require.NotEmpty(t, g.letters("failing"), "the letter is there, and no subscription that has it is left")
			})
		})
	}
}

// A broker that has messages at hand when Close begins may deliver them
// nonetheless: no handler gets one.
func TestNothingIsHandledAfterClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, err := relay.New(&tardy{broker: newBroker(t)}, newRegistry())
		require.NoError(t, err)
		handled := 0
		tidings.Subscribe(tidings.New(), func(context.Context, ordered) error {
			handled++
			return nil
		}, tidings.Named("h"), tidings.Via(r))
		require.NoError(t, r.Start(t.Context()))
		require.NoError(t, r.Close(t.Context()))
		require.Zero(t, handled)
	})
}

// A tardy broker delivers messages when the consuming ends.
type tardy struct{ *broker }

func (b *tardy) Consume(ctx context.Context, _ relay.Group, _ string, handle func(*relay.Message) bool) (<-chan error, error) {
	body, err := newRegistry().Encode(tidings.Stamp(ctx, ordered{}))
	if err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() {
		<-ctx.Done()
		for range 50 { // whether it gets one is chosen at random
			if handle(newMessage(uuid.NewString(), body)) {
				err = errors.New("it was done")
			}
		}
		ended <- err
	}()
	return ended, nil
}
