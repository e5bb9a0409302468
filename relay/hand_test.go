package relay_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/relay"
)

// refusing refuses what is published on topics with that ending.
func refusing(suffix string) func(string, *relay.Message) error {
	return func(topic string, _ *relay.Message) error {
		if strings.HasSuffix(topic, suffix) {
			return errRefused
		}
		return nil
	}
}

// While a failed message cannot be passed on it is given back, and tried again
// as if for the first time; slowly, and until the broker is back.
func TestRetryTopicOutOfOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		g.broker.set(func() { g.broker.onPublish = refusing(".retry") })
		calls := &times{g: g}
		g.handle("failing", func(context.Context, ordered) error {
			if calls.add() <= 4 {
				return errHandler
			}
			return nil
		})
		g.start()
		g.publish(1)
		pass(9500 * time.Millisecond)
		require.Equal(t, seconds(0, 4, 8), calls.all())
		require.Equal(t, 12, g.broker.count("failing.retry"), "five times with a second in between, then it is given back")
		require.Equal(t, 12, g.logs.count("relay: a message could not be passed on"))
		require.Zero(t, g.logs.count("relay: an attempt has failed"), "that is logged when it has been passed on")
		g.broker.set(func() { g.broker.onPublish = nil })
		pass(time.Hour)
		require.Equal(t, seconds(0, 4, 8, 10, 14), calls.all())
		require.Empty(t, g.letters("failing"))
	})
}

func TestDeadTopicOutOfOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		g.broker.set(func() { g.broker.onPublish = refusing(".dead") })
		calls := &times{g: g}
		g.handle("failing", func(context.Context, ordered) error { calls.add(); return errHandler }, tidings.Attempts(1))
		g.start()
		g.publish(1)
		pass(5500 * time.Millisecond)
		require.Equal(t, seconds(0, 4), calls.all())
		require.Zero(t, g.logs.count("relay: a message is a dead letter"))
		g.broker.set(func() { g.broker.onPublish = nil })
		pass(time.Minute)
		require.Len(t, calls.all(), 2)
		require.Len(t, g.letters("failing"), 1)
	})
}

// Dead letters are kept from the first, although nobody consumes them: that is
// for the broker to see to.
func TestDeadLettersHaveNoSubscriber(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, relay.WithPrefix("p."))
		g.handle("failing", func(context.Context, ordered) error { return errHandler }, tidings.Attempts(1))
		g.start()
		g.publish(1, 2, 3)
		pass(time.Minute)
		require.Len(t, g.broker.asked(), 2)
		require.Equal(t, 3, g.broker.count("p.failing.dead"))
		require.Len(t, g.letters("failing"), 3)
	})
}

// Close does not wait for a broker that refuses, and the message stays.
func TestCloseWhilePassingOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		g.broker.set(func() { g.broker.onPublish = refusing(".retry") })
		g.handle("failing", func(context.Context, ordered) error { return errHandler })
		g.start()
		g.publish(1)
		pass(1500 * time.Millisecond)
		require.NoError(t, g.Close(t.Context()))
		require.Equal(t, 1500*time.Millisecond, g.since())

		next := newRigOn(t, g.broker)
		calls := &times{g: next}
		next.handle("failing", func(context.Context, ordered) error { calls.add(); return nil })
		next.start()
		synctest.Wait()
		require.Len(t, calls.all(), 1)
	})
}

// Nor does it wait until a message that is to be tried again is due.
func TestCloseWhileARetryIsNotDue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		g.handle("failing", func(context.Context, ordered) error { return retryAfter(10 * time.Second) })
		g.start()
		g.publish(1)
		pass(3 * time.Second)
		require.NoError(t, g.Close(t.Context()))
		require.Equal(t, 3*time.Second, g.since())

		next := newRigOn(t, g.broker)
		calls := &times{g: next}
		next.handle("failing", func(context.Context, ordered) error { calls.add(); return nil })
		next.start()
		pass(time.Minute)
		require.Equal(t, seconds(7), calls.all(), "when it is due, not earlier")
	})
}
