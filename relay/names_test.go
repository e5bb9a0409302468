package relay_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/relay"
)

// A mangling broker has fewer names than there are.
type mangling struct{ *broker }

func (mangling) Topic(name string) string { return strings.ReplaceAll(strings.ToLower(name), ".", "-") }

// named returns a relay whose registry has ordered by that name, and shipped by
// the other.
func named(t *testing.T, b relay.Broker, event, other string, opts ...relay.Option) (*relay.Relay, error) {
	t.Helper()
	registry := new(tidings.Registry)
	tidings.Register[ordered](registry, event, 1)
	if other != "" {
		tidings.Register[shipped](registry, other, 1)
	}
	r, err := relay.New(b, registry, opts...)
	if err == nil {
		t.Cleanup(func() { require.NoError(t, r.Close(context.Background())) })
	}
	return r, err
}

// Names that would meet at the broker are refused when things are wired, with
// both.
func TestNamesThatMeet(t *testing.T) {
	t.Parallel()
	topics := func(topic string) relay.Option { return relay.WithTopics(func(string) string { return topic }) }
	for _, tt := range []struct {
		name           string
		mangled        bool
		event, other   string
		handler, first string // first: a handler that is there before
		opts           []relay.Option
		want           []string // parts of the panic; none: it is fine
	}{
		{name: "fine", event: "shop.ordered", handler: "shipping.pack"},
		{name: "event like a handler", event: "shipping.pack", handler: "shipping.pack"},
		{name: "event like a queue", event: "shipping.pack.retry", handler: "shipping.pack", want: []string{`the event "shipping.pack.retry"`, `a handler "shipping.pack"`, "does not end in .retry"}},
		{name: "event like a queue of nobody here", event: "shipping.pack.dead", handler: "x", want: []string{`the event "shipping.pack.dead"`, `a handler "shipping.pack"`, "does not end in .dead"}},
		{name: "handler like a queue", event: "shop.ordered", handler: "shipping.pack.dead", want: []string{`the handler "shipping.pack.dead"`, `a handler "shipping.pack"`}},
		{name: "handler like a queue of a system without the prefix", event: "shop.ordered", handler: "retry", opts: []relay.Option{relay.WithPrefix("shipping.pack.")}, want: []string{`the handler "retry"`, `a handler "shipping.pack"`}},
		{name: "topic like a queue", event: "shop.ordered", handler: "shipping.pack", opts: []relay.Option{topics("shipping.pack.retry")}, want: []string{`the event "shop.ordered", by the function of WithTopics,`, `a handler "shipping.pack"`}},
		{name: "topic like a queue, by the broker's rule", mangled: true, event: "shop.ordered", handler: "shipping.pack", opts: []relay.Option{topics("shipping-pack-retry")}, want: []string{`the event "shop.ordered" (relay_test.ordered)`, `the topic "shipping-pack-retry"`, `the handler "shipping.pack", subscribed at `, "names_test.go:"}},
		{name: "topic empty", event: "shop.ordered", handler: "h", opts: []relay.Option{topics("")}, want: []string{`the function of WithTopics returns "" for the event "shop.ordered"`}},
		{name: "topic of two lines", event: "shop.ordered", handler: "h", opts: []relay.Option{topics("a\nb")}, want: []string{`returns "a\nb"`}},
		{name: "topic that is no text", event: "shop.ordered", handler: "h", opts: []relay.Option{topics("a\xff")}, want: []string{`returns "a\xff"`}},
		{name: "two events", mangled: true, event: "shop.ordered", other: "shop-ordered", handler: "h", want: []string{`the events "shop.ordered" and "shop-ordered"`, `the topic "shop-ordered"`, "relay_test.mangling"}},
		{name: "two events, shared on purpose", mangled: true, event: "shop.ordered", other: "shop-ordered", handler: "h", opts: []relay.Option{topics("all")}},
		{name: "two handlers", mangled: true, event: "shop.ordered", first: "shipping-pack", handler: "shipping.pack", want: []string{`the handlers "shipping.pack", at `, `and "shipping-pack", subscribed at `, "names_test.go:"}},
		{name: "one handler twice", event: "shop.ordered", first: "h", handler: "h", want: []string{`the name "h" already, subscribed at `, "names_test.go:"}},
		{name: "a handler that is no name", event: "shop.ordered", handler: "pack parcels", want: []string{`the handler "pack parcels"`, "only contain letters, digits and"}},
		{name: "a handler of two lines", event: "shop.ordered", handler: "a\nb", want: []string{`the handler "a\nb"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var b relay.Broker = newBroker(t)
			if tt.mangled {
				b = mangling{b.(*broker)}
			}
			r, err := named(t, b, tt.event, tt.other, tt.opts...)
			require.NoError(t, err)
			subscribe := func(handler string) {
				tidings.Subscribe(tidings.New(), func(context.Context, ordered) error { return nil }, tidings.Named(handler), tidings.Via(r))
			}
			if tt.first != "" {
				subscribe(tt.first)
			}
			panicked := func() (text string) {
				defer func() { text = fmt.Sprint(recover()) }()
				subscribe(tt.handler)
				return ""
			}()
			if tt.want == nil {
				require.Equal(t, "<nil>", panicked)
				require.NoError(t, r.Start(t.Context()))
				return
			}
			for _, want := range tt.want {
				require.Contains(t, panicked, want)
			}
		})
	}
}

// What is registered later meets the handlers that there are.
func TestNamesOfLateEvents(t *testing.T) {
	t.Parallel()
	registry := newRegistry()
	r, err := relay.New(mangling{newBroker(t)}, registry, relay.WithTopics(func(event string) string { return strings.ReplaceAll(event, ".", "-") }))
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Close(context.Background())) }()
	bus := tidings.New(tidings.WithTransport(r))
	tidings.Subscribe(bus, func(context.Context, ordered) error { return nil }, tidings.Named("shipping.pack"))
	tidings.Register[late](registry, "shipping.pack-dead", 1)
	err = tidings.Publish(t.Context(), bus, late{})
	require.ErrorContains(t, err, `the event "shipping.pack-dead" (relay_test.late) has the topic "shipping-pack-dead", which is a queue of the handler "shipping.pack", subscribed at `)
	require.ErrorContains(t, err, "names_test.go:")
}

// They are refused wherever an event is sent or taken, too.
func TestNamesOfEventsThatMeet(t *testing.T) {
	t.Parallel()
	const want = `the event "shipping.pack.retry" has the same topic as the queue`
	open := func(t *testing.T) *relay.Relay {
		r, err := named(t, newBroker(t), "shipping.pack.retry", "")
		require.NoError(t, err)
		return r
	}
	t.Run("transport", func(t *testing.T) {
		t.Parallel()
		require.ErrorContains(t, tidings.Publish(t.Context(), tidings.New(tidings.WithTransport(open(t))), ordered{}), want)
	})
	t.Run("forward", func(t *testing.T) {
		t.Parallel()
		requirePanic(t, want, func() { relay.Forward[ordered](tidings.New(), open(t)) })
	})
	t.Run("receive", func(t *testing.T) {
		t.Parallel()
		requirePanic(t, want, func() { relay.Receive[ordered](tidings.New(), open(t), "group") })
	})
	t.Run("family", func(t *testing.T) {
		t.Parallel()
		r := open(t)
		tidings.Subscribe(tidings.New(), func(context.Context, tidings.Event) error { return nil }, tidings.Named("all"), tidings.Via(r))
		require.ErrorContains(t, r.Start(t.Context()), `relay: the handler "all": `+want)
	})
	t.Run("prefix", func(t *testing.T) {
		t.Parallel()
		_, err := named(t, newBroker(t), "shop.ordered", "", relay.WithPrefix("a b."))
		require.ErrorContains(t, err, `relay: WithPrefix("a b.")`)
	})
}

// A rule that forgets what it has said does not make more and more topics.
func TestTopicsThatForget(t *testing.T) {
	t.Parallel()
	n := 0
	g := newRig(t, relay.WithTopics(func(string) string { n++; return fmt.Sprint("topic", n) }))
	got := make(chan int, 10)
	g.handle("h", func(_ context.Context, e ordered) error { got <- e.Number; return nil })
	g.start()
	g.publish(1, 2)
	require.Equal(t, 1, <-got)
	require.Equal(t, 2, <-got)
}

// Two buses may have one relay: what one of them forwards, the other does not.
func TestTwoBuses(t *testing.T) {
	t.Parallel()
	for _, transacted := range []bool{false, true} {
		g := newRig(t)
		other := tidings.New()
		got := make(chan int, 10)
		handle := func(_ context.Context, e ordered) error { got <- e.Number; return nil }
		relay.Forward[ordered](g.bus, g.Relay)
		tidings.Subscribe(other, handle, tidings.Named("other"), tidings.Via(g.Relay))
		relay.Receive[ordered](other, g.Relay, "received") // what is published there is not forwarded
		tidings.Subscribe(other, handle)
		g.start()
		require.NoError(t, inTxIf(transacted, t.Context(), func(ctx context.Context) error {
			return tidings.Publish(ctx, other, ordered{Number: 1})
		}))
		for range 3 { // by the handler, by the one behind Receive, and by that at once
			require.Equal(t, 1, <-got)
		}
		g.publish(2)
		for range 2 {
			require.Equal(t, 2, <-got)
		}
		require.Equal(t, 2, g.broker.count(orderedName))
	}
}

func inTxIf(transacted bool, ctx context.Context, fn func(context.Context) error) error {
	if !transacted {
		return fn(ctx)
	}
	return inTx(ctx, fn)
}

// Metadata of a trace cannot pass for the relay's, nor spoil a message.
func TestTraceOfForeignText(t *testing.T) {
	t.Parallel()
	trace := func(name, value string) relay.Option {
		return relay.WithTrace(func(context.Context) map[string]string { return map[string]string{name: value} },
			func(ctx context.Context, _ map[string]string) context.Context { return ctx })
	}
	for _, name := range []string{"", "tidings-attempt", "Ce-Type", "content-type", "a b", "a\r\nb", "é"} {
		g := newRig(t, trace(name, "x"))
		err := tidings.Publish(t.Context(), tidings.New(tidings.WithTransport(g.Relay)), ordered{})
		require.ErrorContains(t, err, fmt.Sprintf("inject of WithTrace returns the metadata %q", name))
	}
	m := sent(t, ordered{}, trace("baggage", "user=Zo\xeb\r\nevil: yes\x00"), relay.WithKeyBy(func(ordered) string { return "a\nb\xff" }))
	require.Equal(t, "user=Zo?  evil: yes ", m.Metadata["baggage"])
	require.Equal(t, "a b?", m.Metadata[relay.PartitionKey])
	m = sent(t, ordered{}, trace("baggage", strings.Repeat("x", 10_000)))
	require.Len(t, m.Metadata["baggage"], 8192+len("..."))
}
