package relay_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/relay"
)

// sent publishes an event and returns its message.
func sent(t *testing.T, event tidings.Event, opts ...relay.Option) *relay.Message {
	t.Helper()
	g := newRig(t, opts...)
	var m *relay.Message
	g.broker.set(func() {
		g.broker.onPublish = func(_ string, published *relay.Message) error {
			m = published
			return nil
		}
	})
	bus := tidings.New(tidings.WithTransport(g.Relay))
	require.NoError(t, tidings.Publish(t.Context(), bus, event))
	return m
}

// The body is the CloudEvent, and its attributes are the metadata as well.
func TestMessage(t *testing.T) {
	t.Parallel()
	cause := tidings.Stamp(t.Context(), shipped{})
	g := newRig(t)
	g.broker.set(func() {
		g.broker.onPublish = func(_ string, m *relay.Message) error {
			var e tidings.Envelope
			require.NoError(t, e.UnmarshalJSON(m.Body))
			require.Equal(t, map[string]string{
				"content-type": "application/cloudevents+json; charset=utf-8", "ce-specversion": "1.0",
				"ce-id": e.ID.String(), "ce-source": e.Source, "ce-type": orderedName, "ce-time": e.OccurredAt.UTC().Format(time.RFC3339Nano),
				"ce-dataversion": "2", "ce-correlationid": cause.CorrelationID().String(), "ce-causationid": cause.EventID().String(),
			}, m.Metadata)
			require.Equal(t, e.ID.String(), m.ID)
			require.Equal(t, cause.EventID(), e.CausationID)
			return nil
		}
	})
	bus := tidings.New(tidings.WithTransport(g.Relay))
	other := tidings.New()
	tidings.Subscribe(other, func(ctx context.Context, _ shipped) error { return tidings.Publish(ctx, bus, ordered{}) })
	require.NoError(t, tidings.Publish(t.Context(), other, cause))
	require.Equal(t, 1, g.broker.count(orderedName))

	first := sent(t, ordered{})
	require.NotContains(t, first.Metadata, "ce-causationid")
	require.NotContains(t, first.Metadata, relay.PartitionKey)
}

func TestKeyBy(t *testing.T) {
	t.Parallel()
	number := relay.WithKeyBy(func(e ordered) string { return "number" })
	anything := relay.WithKeyBy(func(tidings.Event) string { return "anything" })
	none := relay.WithKeyBy(func(tidings.Event) string { return "" })
	for _, tt := range []struct {
		event  tidings.Event
		opts   []relay.Option
		want   string
		reason string
	}{
		{ordered{}, []relay.Option{number}, "number", ""},
		{shipped{}, []relay.Option{number}, "", "it is of another type"},
		{shipped{}, []relay.Option{number, anything}, "anything", ""},
		{ordered{}, []relay.Option{number, anything}, "number", "the first counts"},
		{ordered{}, []relay.Option{anything, number}, "anything", "the first counts"},
		{ordered{}, []relay.Option{none, number}, "", "the first counts, also if it has no key"},
	} {
		key, ok := sent(t, tt.event, tt.opts...).Metadata[relay.PartitionKey]
		require.Equal(t, tt.want, key, tt.reason)
		require.Equal(t, tt.want != "", ok)
	}
}

func TestTrace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		inject := func(ctx context.Context) map[string]string {
			trace, ok := ctx.Value(ctxKey{}).(string)
			if !ok {
				return nil
			}
			return map[string]string{"traceparent": trace}
		}
		var carried []string
		extract := func(ctx context.Context, metadata map[string]string) context.Context {
			require.NotNil(t, ctx.Done())
			return context.WithValue(ctx, ctxKey{}, "extracted "+metadata["traceparent"])
		}
		g := newRig(t, relay.WithTrace(inject, extract))
		g.handle("h", func(ctx context.Context, _ ordered) error {
			carried = append(carried, ctx.Value(ctxKey{}).(string))
			if len(carried) == 1 {
				return errHandler
			}
			return nil
		})
		g.start()
		require.NoError(t, tidings.Publish(context.WithValue(t.Context(), ctxKey{}, "here"), g.bus, ordered{}))
		pass(time.Minute)
		require.Equal(t, []string{"extracted here", "extracted here"}, carried, "also by the second attempt")
		g.publish(2)
		synctest.Wait()
		require.Equal(t, "extracted ", carried[2])
	})
}

// Topics are asked for once for each name, and the broker's rule has the prefix.
func TestTopics(t *testing.T) {
	t.Parallel()
	asked := 0
	g := newRig(t, relay.WithPrefix("p."), relay.WithTopics(func(event string) string {
		asked++
		return strings.ToUpper(event)
	}))
	g.handle("h", func(context.Context, ordered) error { return nil })
	g.publish(1)
	before := asked
	g.publish(2, 3)
	require.Equal(t, 3, g.broker.count("SHOP.ORDERED"))
	require.Equal(t, before, asked, "not once for each event")
}

// What a handler does not take is skipped where it belongs, and a dead letter
// where it does not.
func TestForeignMessages(t *testing.T) {
	t.Parallel()
	registry := newRegistry()
	tidings.Register[unregistered](registry, "shop.unknown", 1)
	body := func(event tidings.Event) string {
		e, err := registry.Wrap(event)
		require.NoError(t, err)
		text, err := e.MarshalJSON()
		require.NoError(t, err)
		return string(text)
	}
	ctx := t.Context()
	taken, other, unknown := body(tidings.Stamp(ctx, ordered{})), body(tidings.Stamp(ctx, shipped{})), body(tidings.Stamp(ctx, unregistered{}))
	shared := relay.WithTopics(func(event string) string {
		if event == "shop.elsewhere" {
			return "elsewhere"
		}
		return "shared"
	})
	for _, tt := range []struct {
		name, body, reason string // reason "": it is skipped
		opts               []relay.Option
		topic              string
		family             bool // the handler takes an interface
	}{
		{"other type, shared", other, "", []relay.Option{shared}, "shared", false},
		{"unknown type, shared", unknown, "", []relay.Option{shared}, "shared", false},
		{"other type, shared, family", other, "", []relay.Option{shared}, "shared", true},
		{"unknown type, shared, family", unknown, "not registered", []relay.Option{shared}, "shared", true},
		{"type of elsewhere, shared", strings.Replace(unknown, "shop.unknown", "shop.elsewhere", 1), "not registered", []relay.Option{shared}, "shared", false},
		{"other type", other, "does not belong in the topic", nil, orderedName, false},
		{"unknown type", unknown, "not registered", nil, orderedName, false},
		{"other type with prefix", other, "does not belong in the topic", []relay.Option{relay.WithPrefix("p.")}, "p." + orderedName, false},
		{"newer version", strings.Replace(taken, `"dataversion":2`, `"dataversion":3`, 1), "not registered: the newest", nil, orderedName, false},
		{"older version", strings.Replace(taken, `"dataversion":2`, `"dataversion":1`, 1), "not registered: there is no Upcast", nil, orderedName, false},
		{"other fields", strings.Replace(taken, `"Number":0`, `"Number":[]`, 1), "Number", nil, orderedName, false},
		{"no id", strings.Replace(taken, `"id":`, `"i":`, 1), "id", nil, orderedName, false},
		{"too large", taken + strings.Repeat(" ", 1000), "the message has", []relay.Option{relay.WithMaxSize(1000)}, orderedName, false},
		{"empty", "", "CloudEvent", nil, orderedName, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := newRig(t, tt.opts...)
				calls := &times{g: g}
				if tt.family {
					tidings.Subscribe(g.bus, func(context.Context, item) error { calls.add(); return nil }, tidings.Named("h"), tidings.Via(g.Relay), tidings.Attempts(2))
				} else {
					g.handle("h", func(context.Context, ordered) error { calls.add(); return nil }, tidings.Attempts(2))
				}
				g.start()
				require.NoError(t, g.broker.Publish(t.Context(), tt.topic, newMessage(uuid.NewString(), []byte(tt.body)), newMessage("", []byte(taken))))
				pass(time.Hour)
				require.Len(t, calls.all(), 1, "the next one is handled")
				letters := g.letters("h")
				if tt.reason == "" {
					require.Empty(t, letters)
					return
				}
				require.Len(t, letters, 1)
				if strings.Contains(tt.reason, "not registered") {
					require.Zero(t, letters[0].Attempts, "the handler was not called, and another process may know the event")
					require.Equal(t, 9, g.logs.count("relay: an attempt has failed"))
				} else {
					require.Equal(t, 2, letters[0].Attempts)
					require.Equal(t, 1, g.logs.count("relay: an attempt has failed"))
				}
				require.Equal(t, tt.body, string(letters[0].Body))
				require.Equal(t, tt.topic, letters[0].Origin)
				require.Contains(t, letters[0].Reason, tt.reason)
			})
		})
	}
}
