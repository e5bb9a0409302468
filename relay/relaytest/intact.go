package relaytest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/relay"
)

// The data and the header of an event arrive unchanged, in a process that only
// listens; the event causes the events published there.
func checkIntact(r *rig) {
	a, b := r.open(), r.open()
	relay.Forward[described](a.bus, a.Relay)
	sent := make(chan described, 1)
	tidings.Subscribe(a.bus, func(ctx context.Context, _ counted) error {
		e := tidings.Stamp(ctx, described{
			Number: math.MinInt64, Text: "Zoë’s \"fish & chips\" <7>\n\\ 🐟", Amount: math.SmallestNonzeroFloat64, Urgent: true,
			Due: time.Date(2026, 2, 28, 23, 59, 59, 123456789, time.UTC), Ref: uuid.New(), Lines: tidings.ListOf("one", "", "three"),
		})
		sent <- e
		return tidings.Publish(ctx, a.bus, e)
	}, tidings.Named("cause"))

	type arrival struct {
		event  described
		effect counted
		from   tidings.Event
	}
	arrived := make(chan arrival, 10)
	relay.Receive[tidings.Event](b.bus, b.Relay, "listener", quick)
	tidings.Subscribe(b.bus, func(ctx context.Context, e described) error {
		from, _ := tidings.EventFrom(ctx)
		arrived <- arrival{e, tidings.Stamp(ctx, counted{}), from}
		return nil
	})
	b.start()
	require.NoError(r, tidings.Publish(r.Context(), a.bus, counted{Number: 1}))
	want := <-sent
	require.NotEqual(r, uuid.Nil, want.CausationID())
	select {
	case got := <-arrived:
		require.True(r, reflect.DeepEqual(want, got.event), "want\n%+v\nhave\n%+v", want, got.event)
		require.Equal(r, want, got.from)
		require.Equal(r, want.EventID(), got.effect.CausationID())
		require.Equal(r, want.CorrelationID(), got.effect.CorrelationID())
	case <-time.After(r.Features.Patience):
		r.Fatal("the event has not arrived")
	}
	require.Empty(r, arrived)
}

type traceKey struct{}

// Metadata arrive: those of a trace and, if the broker has room, the
// attributes.
func checkMetadata(r *rig) {
	trace := map[string]string{
		"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		"tracestate":  "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
		"baggage":     "user=Zo%C3%AB,tenant=7",
	}
	p := r.open(
		relay.WithKeyBy(func(e counted) string { return fmt.Sprintf("key of %d", e.Number) }),
		relay.WithTrace(
			func(context.Context) map[string]string { return trace },
			func(ctx context.Context, metadata map[string]string) context.Context {
				return context.WithValue(ctx, traceKey{}, metadata)
			}),
	)
	type arrival struct {
		event    counted
		metadata map[string]string
	}
	arrived := make(chan arrival, 10)
	var tries atomic.Int32
	p.handle("traced", func(ctx context.Context, e counted) error {
		metadata, _ := ctx.Value(traceKey{}).(map[string]string)
		arrived <- arrival{e, metadata}
		if tries.Add(1) == 1 {
			return errors.New("once more")
		}
		return nil
	})
	p.start()
	p.send(7, 7)
	for range 2 { // the second time by way of the retry topic
		select {
		case got := <-arrived:
			for key, value := range trace {
				require.Equal(r, value, got.metadata[key], "%s of %v", key, got.metadata)
			}
			if r.NoAttributes {
				continue
			}
			require.Equal(r, "key of 7", got.metadata[relay.PartitionKey])
			require.Equal(r, countedName, got.metadata["ce-type"])
			require.Equal(r, got.event.EventID().String(), got.metadata["ce-id"])
			require.Equal(r, got.event.CorrelationID().String(), got.metadata["ce-correlationid"])
			require.Equal(r, "1", got.metadata["ce-dataversion"])
		case <-time.After(r.Features.Patience):
			r.Fatal("the event has not arrived")
		}
	}
}
