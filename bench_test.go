package tidings_test

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/txtest"
)

var sum int64 // keeps handlers from being optimized away

func addUp(_ context.Context, e proposalAccepted) error {
	sum += e.ProposalID
	return nil
}

// busWith returns a bus on which n handlers add up.
func busWith(n int, opts ...tidings.SubscribeOption) *tidings.EventBus {
	bus := tidings.New()
	for range n {
		tidings.Subscribe(bus, addUp, opts...)
	}
	return bus
}

// What the hot paths allocate is part of what the documentation promises.
func TestAllocations(t *testing.T) {
	if raceDetector() {
		t.Skip("the race detector allocates")
	}
	ctx := context.Background() // that of a test can be cancelled; this is the common case
	passOn := tidings.Middleware(func(next tidings.HandlerFunc) tidings.HandlerFunc {
		return func(ctx context.Context, d tidings.Delivery) error { return next(ctx, d) }
	})
	stamped := tidings.Stamp(ctx, proposalAccepted{ProposalID: 1})
	publishing := func(ctx context.Context, bus *tidings.EventBus, event proposalAccepted) func() {
		return func() {
			if err := tidings.Publish(ctx, bus, event); err != nil {
				panic(err)
			}
		}
	}
	cancellable, cancel := context.WithCancel(ctx)
	defer cancel()
	correlated := tidings.WithCorrelationID(ctx, uuid.New())
	for _, tt := range []struct {
		path string
		want float64
		run  func()
	}{
		{"publish to nobody", 0, publishing(ctx, busWith(0), stamped)},
		{"publish to 1 handler", 1, publishing(ctx, busWith(1), stamped)},
		{"publish to 10 handlers", 1, publishing(ctx, busWith(10), stamped)},
		{"publish to 100 handlers", 1, publishing(ctx, busWith(100), stamped)},
		{"stamp and publish to nobody", 0, publishing(ctx, busWith(0), proposalAccepted{})},
		{"stamp and publish to 1 handler", 1, publishing(ctx, busWith(1), proposalAccepted{})},
		{"publish with a context that can be cancelled", 1, publishing(cancellable, busWith(10), stamped)},
		{"publish in a workflow", 1, publishing(correlated, busWith(10), proposalAccepted{})},
		{"publish through middleware", 1, publishing(ctx, busWith(10, passOn, passOn, passOn), stamped)},
		{"Stamp", 0, func() { sum += int64(tidings.Stamp(ctx, proposalAccepted{}).EventID()[15]) }},
		{"Stamp in a workflow", 0, func() { sum += int64(tidings.Stamp(correlated, proposalAccepted{}).EventID()[15]) }},
	} {
		require.Equal(t, tt.want, testing.AllocsPerRun(200, tt.run), tt.path)
	}
}

// Subscribing takes no longer for the many handlers that an event type has already.
func TestAllocationsOfSubscribing(t *testing.T) {
	if raceDetector() {
		t.Skip("the race detector allocates")
	}
	few := testing.AllocsPerRun(1, func() { busWith(100) })
	many := testing.AllocsPerRun(1, func() { busWith(10_000) })
	require.Less(t, many, 110*few)
}

// BenchmarkPublish sets the bus beside the bare minimum: a loop.
func BenchmarkPublish(b *testing.B) {
	ctx := context.Background()
	event := tidings.Stamp(ctx, proposalAccepted{ProposalID: 1})
	for _, n := range []int{0, 1, 10, 100} {
		b.Run(fmt.Sprintf("handlers=%d/loop", n), func(b *testing.B) {
			handlers := make([]func(context.Context, proposalAccepted) error, n)
			for i := range handlers {
				handlers[i] = addUp
			}
			b.ReportAllocs()
			for b.Loop() {
				for _, handle := range handlers {
					if err := handle(ctx, event); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
		b.Run(fmt.Sprintf("handlers=%d/bus", n), func(b *testing.B) {
			bus := busWith(n)
			b.ReportAllocs()
			for b.Loop() {
				if err := tidings.Publish(ctx, bus, event); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkStamp(b *testing.B) {
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		sum += int64(tidings.Stamp(ctx, proposalAccepted{}).EventID()[15])
	}
}

// BenchmarkEncode sets Registry.Encode beside encoding/json.
func BenchmarkEncode(b *testing.B) {
	type line struct {
		SKU    string
		Copies int
	}
	type order struct {
		tidings.DomainEvent
		ID       int64
		Customer uuid.UUID
		Number   string
		Note     string
		Currency string
		Due      time.Time
		Lines    tidings.List[line]
	}
	r := &tidings.Registry{}
	tidings.Register[order](r, "shop.ordered", 1)
	event := tidings.Stamp(context.Background(), order{
		ID: 7, Customer: uuid.New(), Number: "PROP-007", Note: "ring twice, the bell is quiet", Currency: "EUR",
		Due: time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC), Lines: tidings.ListOf(line{"A-1", 2}, line{"B-2", 1}, line{"C-3", 4}),
	})
	b.Run("json.Marshal", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := json.Marshal(&event); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Registry.Encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := r.Encode(event); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// raceDetector reports whether the test was built with -race.
func raceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// A million events wait in one transaction, some of them in inner scopes.
func TestAMillionEventsInOneTransaction(t *testing.T) {
	t.Parallel()
	const each = 1000
	scopes := 1000
	if raceDetector() {
		scopes = 100 // it takes 20 times as long
	}
	bus := tidings.New()
	before, after, dropped := 0, 0, 0
	tidings.Subscribe(bus, func(context.Context, txtest.Event) error { before++; return nil }, tidings.BeforeCommit)
	tidings.Subscribe(bus, func(_ context.Context, e txtest.Event) error {
		if e.N != after {
			return fmt.Errorf("want %d, got %d", after, e.N)
		}
		after++
		return nil
	})
	tidings.Subscribe(bus, func(context.Context, txtest.Event) error { dropped++; return nil }, tidings.AfterRollback)
	ctx, hook := tidings.NewTxHook(t.Context(), txtest.Database)
	for s := range scopes {
		inner, innerHook := tidings.NewTxHook(ctx, txtest.Database)
		for i := range each {
			if err := tidings.Publish(inner, bus, txtest.Event{N: s/2*each + i}); err != nil {
				t.Fatal(err)
			}
		}
		if s%2 == 0 {
			require.NoError(t, innerHook.Commit(inner))
		} else {
			innerHook.Rollback(inner)
		}
	}
	require.NoError(t, hook.Prepare(ctx))
	require.NoError(t, hook.Commit(ctx))
	half := scopes * each / 2
	require.Equal(t, []int{half, half, half}, []int{before, after, dropped})
}

// TestCostOfAQueuedEvent pins what an event costs that waits for the commit.
// It measures the whole process, so nothing may run beside it.
func TestCostOfAQueuedEvent(t *testing.T) {
	if raceDetector() {
		t.Skip("the race detector allocates")
	}
	bus := tidings.New()
	tidings.Subscribe(bus, func(context.Context, txWide) error { return nil })
	ctx, hook := tidings.NewTxHook(t.Context(), txtest.Database)
	defer hook.Rollback(ctx)
	e := tidings.Stamp(t.Context(), txWide{})

	result := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := tidings.Publish(ctx, bus, e); err != nil {
				b.Fatal(err)
			}
		}
	})
	require.LessOrEqual(t, result.AllocsPerOp(), int64(2))
	require.LessOrEqual(t, result.AllocedBytesPerOp(), int64(300))
	t.Logf("%d allocations and %d bytes an event", result.AllocsPerOp(), result.AllocedBytesPerOp())
}

// txWide is an event of 72 bytes, as in the benchmarks.
type txWide struct {
	tidings.DomainEvent
	OrderID, Lane int64
}
