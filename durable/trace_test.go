package durable_test

import (
	"context"
	"testing"

	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
	"github.com/tidings-go/tidings/tidingstest"
)

type traceKey struct{}

func TestTrace(t *testing.T) {
	t.Parallel()
	inject := func(ctx context.Context) map[string]string {
		trace, _ := ctx.Value(traceKey{}).(string)
		switch trace {
		case "":
			return nil
		case "empty":
			return map[string]string{}
		}
		return map[string]string{"traceparent": trace, "a\x00b": "c\x00\xff"}
	}
	extract := func(ctx context.Context, carrier map[string]string) context.Context {
		if carrier["traceparent"] == "panic" {
			panic("no such trace")
		}
		return context.WithValue(ctx, traceKey{}, carrier["traceparent"]+carrier["a\ufffdb"])
	}
	each(t, func(t *testing.T, h harness) {
		jobs := h.jobs(t, river.Config{}, durable.WithTrace(inject, extract))
		bus := tidingstest.NewBus(t)
		got := make(chan any, 10)
		ordered := durable.InOrderBy(func(e Accepted) string { return e.Number })
		for _, tt := range []struct {
			name string
			opts tidings.SubscribeOptions
		}{{"in.tx", nil}, {"outside", tidings.SubscribeOptions{durable.Outside()}}, {"ordered", tidings.SubscribeOptions{ordered}}} {
			tidings.Subscribe(bus, func(ctx context.Context, _ Accepted) error {
				got <- ctx.Value(traceKey{})
				return nil
			}, tidings.Named(tt.name), atOnce(jobs, append(tt.opts, tidings.Attempts(1))...))
		}
		start(t, jobs)
		publish := func(trace string) {
			t.Helper()
			ctx := context.WithValue(t.Context(), traceKey{}, trace)
			require.NoError(t, tidings.Publish(ctx, bus, Accepted{Number: "k"}))
		}
		publish("00-abc-01")
		for range 3 {
			require.Equal(t, "00-abc-01c\ufffd\ufffd", <-got)
		}
		require.Equal(t, 3, storedJobs(t, h, "metadata -> 'tidings_trace' ->> 'traceparent' = '00-abc-01'"))
		require.Equal(t, 1, storedJobs(t, h, "metadata -> 'tidings_trace' ->> 'traceparent' = '00-abc-01' AND metadata ->> 'tidings_key' = 'k'"))
		publish("")
		publish("empty")
		for range 6 {
			require.Nil(t, <-got)
		}
		require.Equal(t, 3, storedJobs(t, h, "metadata ->> 'tidings_trace' IS NOT NULL"), "nothing is stored for none")
		awaitJobs(t, h, 9, "state = 'completed'")
		publish("panic")
		awaitJobs(t, h, 3, "state = 'discarded'")
		require.Empty(t, got)
	})
}

// A process that has no WithTrace leaves the trace alone.
func TestTraceOfOthers(t *testing.T) {
	t.Parallel()
	h := openSQLite(t)
	inject := func(context.Context) map[string]string { return map[string]string{"a": "b"} }
	publisher := h.jobs(t, river.Config{}, durable.WithTrace(inject, func(ctx context.Context, _ map[string]string) context.Context { return ctx }))
	bus := tidingstest.NewBus(t)
	tidings.Subscribe(bus, nothing[Accepted], tidings.Named("handler"), tidings.Via(publisher))
	require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{}))
	worker := h.jobs(t, river.Config{})
	tidings.Subscribe(tidingstest.NewBus(t), nothing[Accepted], tidings.Named("handler"), tidings.Via(worker))
	start(t, worker)
	awaitJobs(t, h, 1, "state = 'completed'")
}
