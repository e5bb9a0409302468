// Package relaytest checks with one suite that a broker does what
// [relay.Broker] requires.
package relaytest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/relay"
	"github.com/tidings-go/tidings/tidingstest/transporttest"
)

// A Server is a broker to test with. Zero fields require everything.
type Server struct {
	// URL is the URL of the server, for [relay.Open].
	URL string

	// Features are the features for the suite of package transporttest if all events
	// share a topic. Events of different topics never have an order. Unordered
	// and AtLeastOnce apply, and Patience: how long to wait for something that
	// should happen soon.
	Features transporttest.Features

	// Redelivery limits the time until the messages of a consumer that has
	// ended are redelivered to another one of its group, whose AckWait is two
	// seconds. 0 means ten seconds.
	Redelivery time.Duration

	// History reports whether a new group gets earlier messages of a topic.
	History bool

	// NoAttributes reports that metadata that begins with "ce-" does not
	// arrive.
	NoAttributes bool

	// TextOnly reports that the broker takes no body that is empty or not
	// UTF-8.
	TextOnly bool

	// RemoveTopic deletes the topic of events at the server, as an operator may
	// do, with everything that depends on it there (RabbitMQ: the exchange and
	// its bindings, NATS: the stream and its consumers). topic is a result of
	// [relay.Broker.Topic]. If nil, that is not tested.
	RemoveTopic func(t *testing.T, topic string)

	// RemoveQueue deletes what the server has for one group on a topic. If
	// group.Queue is true, that is the retry or dead-letter queue with all
	// messages; else the group's part of a topic of events (RabbitMQ: the
	// queue, NATS: the consumer). Name and Queue of the group are set. If nil,
	// that is not tested.
	RemoveQueue func(t *testing.T, group relay.Group, topic string)

	// Wiped starts another server, since all tests share this one. Its URL is
	// for [relay.Open]; wipe makes it forget everything, or restarts it empty,
	// and returns when it answers. If nil, that is not tested.
	Wiped func(t *testing.T) (url string, wipe func())
}

// Test runs the suite. The subtests share only the server.
func Test(t *testing.T, s Server) {
	t.Helper()
	if s.Features.Patience == 0 {
		s.Features.Patience = time.Minute
	}
	if s.Redelivery == 0 {
		s.Redelivery = 10 * time.Second
	}
	for _, c := range checks {
		if c.skip != nil && c.skip(s) {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(&rig{T: t, Server: s, prefix: prefix(t)})
		})
	}
	t.Run("transport", func(t *testing.T) {
		t.Parallel()
		s := s
		s.Features.Unordered = true
		testTransport(t, s)
	})
	t.Run("transport, one topic", func(t *testing.T) {
		t.Parallel()
		topic := strings.TrimSuffix(prefix(t), ".") + "-all"
		testTransport(t, s, relay.WithTopics(func(string) string { return topic }))
	})
}

type check struct {
	name string
	run  func(*rig)
	skip func(Server) bool // nil: it applies to all
}

var checks = []check{
	{name: "restart", run: checkRestart},
	{name: "redrive", run: checkRedrive},
	{name: "redrive slowly", run: checkRedriveSlowly},
	{name: "rolling deployment", run: checkRollingDeployment},
	{name: "handler of another event", run: checkHandlerOfAnotherEvent},
	{name: "garbage", run: checkGarbage},
	{name: "poison", run: checkPoison},
	{name: "verdict of the handler", run: checkHandlersVerdict},
	{name: "fan-out and competition", run: checkFanOut},
	{name: "intact", run: checkIntact},
	{name: "before start", run: checkBeforeStart},
	{name: "after start", run: checkAfterStart},
	{name: "unsubscribe", run: checkUnsubscribe},
	{name: "forward", run: checkForward},
	{name: "default transport", run: checkDefaultTransport},
	{name: "settings", run: checkSettings},
	{name: "many handlers", run: checkManyHandlers},
	{name: "workers", run: checkWorkers},
	{name: "names", run: checkNames},
	{name: "metadata", run: checkMetadata},
	{name: "order", run: checkOrder, skip: func(s Server) bool { return s.Features.Unordered }},
	{name: "close waits", run: checkCloseWaits},
	{name: "close in a hurry", run: checkCloseInAHurry},
	{name: "consumer dies", run: checkConsumerDies},
	{name: "retry queue removed", run: checkRetryQueueRemoved, skip: func(s Server) bool { return s.RemoveQueue == nil }},
	{name: "dead-letter queue removed", run: checkDeadQueueRemoved, skip: func(s Server) bool { return s.RemoveQueue == nil }},
	{name: "queue removed", run: checkQueueRemoved, skip: func(s Server) bool { return s.RemoveQueue == nil }},
	{name: "topic removed", run: checkTopicRemoved, skip: func(s Server) bool { return s.RemoveTopic == nil }},
	{name: "wiped", run: checkWiped, skip: func(s Server) bool { return s.Wiped == nil }},
}

// testTransport runs the conformance suite of tidings.
func testTransport(t *testing.T, s Server, opts ...relay.Option) {
	s.Features.NoDrain = true
	transporttest.Test(t, s.Features, func(t *testing.T) transporttest.Subject {
		rig := &rig{T: t, Server: s, prefix: prefix(t)}
		r := rig.open(opts...).Relay
		return transporttest.Subject{Via: tidings.SubscribeOptions{tidings.Via(r), quick}, Start: r.Start}
	})
}

// quick is the Backoff for tests that do not check it.
var quick = tidings.Backoff(func(int) time.Duration { return 20 * time.Millisecond })

// within returns a context that ends after d.
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), d)
	t.Cleanup(cancel)
	return ctx
}
