package bench_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
)

// What is logged would stand in the middle of a line that benchstat reads.
func init() { slog.SetDefault(slog.New(slog.DiscardHandler)) }

var full = flag.Bool("full", false, "the sizes that the bars are for: a log of a million events, and so on")

// sizes returns which sizes to run: the small ones, and with -full the large
// ones as well.
func sizes(small []int, large ...int) []int {
	if *full {
		return append(small, large...)
	}
	return small
}

// A bus is a contender on which handlers wait for [orderPlaced].
type bus struct {
	// publish publishes n times, from the goroutine that owns the lane, and waits
	// until handlers have run.
	publish func(lane, n int) error
	// delivered counts the calls of handlers so far, while nobody publishes.
	delivered func() int64
	close     func() error // where it is not nil, ends goroutines
}

// loop is inlined, and do as well: a bare loop takes no longer than a call of a
// function that the compiler does not know, or of b.Loop, so there is b.N instead.
func loop(lane, n int, do func(context.Context, orderPlaced) error) error {
	ctx, e := context.Background(), orders[lane]
	for range n {
		if err := do(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// must is for what does not fail unless the benchmark is wrong.
func must[T any](v T, err error) T {
	check(err)
	return v
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// contenders lists who takes part: the bare loop, tidings, the other buses.
var contenders = []struct {
	name         string
	open         func(handlers int) bus
	asynchronous bool // with a goroutine for each handler
}{
	{name: "bare", open: openBare},
	{name: "tidings", open: openTidings},
	{name: "signals", open: openSignals},
	{name: "go-mediatr", open: openMediatr},
	{name: "gookit-event", open: openGookit},
	{name: "mustafaturan-bus", open: openMustafaturan},
	{name: "ebu", open: openEbu},
	{name: "EventBus", open: openEventBus},
	{name: "kelindar-event", open: openKelindar, asynchronous: true},
	{name: "watermill-gochannel", open: openWatermill, asynchronous: true},
}

func BenchmarkPublish(b *testing.B) {
	for _, handlers := range []int{0, 1, 10, 100} {
		for _, c := range contenders {
			b.Run(fmt.Sprintf("handlers=%d/contender=%s", handlers, c.name), func(b *testing.B) {
				benchmarkPublish(b, c.open, handlers, 1)
			})
		}
	}
}

// BenchmarkPublishFromTwo has two goroutines publish to one handler. Where they
// are not in each other's way, the time is half of that of Publish/handlers=1.
func BenchmarkPublishFromTwo(b *testing.B) {
	for _, c := range contenders {
		b.Run("contender="+c.name, func(b *testing.B) { benchmarkPublish(b, c.open, 1, 2) })
	}
}

func benchmarkPublish(b *testing.B, open func(handlers int) bus, handlers, goroutines int) {
	c := open(handlers)
	n := (b.N + goroutines - 1) / goroutines
	want := c.delivered() + int64(n*goroutines*handlers)
	b.ReportAllocs()
	b.ResetTimer()
	var others sync.WaitGroup
	for lane := 1; lane < goroutines; lane++ {
		others.Go(func() { check(c.publish(lane, n)) })
	}
	check(c.publish(0, n))
	others.Wait()
	b.StopTimer()
	require.Equal(b, want, c.delivered(), "deliveries")
	if c.close != nil {
		check(c.close())
	}
}

// BenchmarkSubscribe makes a bus with so many handlers of one event type: whether
// the time is linear, and how much memory is kept. The handlers are one function.
func BenchmarkSubscribe(b *testing.B) {
	for _, n := range sizes([]int{100, 1_000}, 10_000, 100_000) {
		for _, c := range contenders {
			if c.asynchronous {
				continue // a goroutine for each handler is a different matter
			}
			b.Run(fmt.Sprintf("subscriptions=%d/contender=%s", n, c.name), func(b *testing.B) {
				before := heapInUse()
				kept := c.open(n)
				retained := heapInUse() - before
				runtime.KeepAlive(kept)
				b.ReportAllocs()
				for b.Loop() {
					c.open(n)
				}
				b.ReportMetric(float64(retained)/float64(n), "B/subscription")
			})
		}
	}
}

// BenchmarkQueue publishes events in a transaction that does nothing. Rolled back,
// it queues them; committed, it gives them to a handler as well.
func BenchmarkQueue(b *testing.B) {
	undo := errors.New("undo")
	none := tidings.Transactor{DB: "none", Run: func(ctx context.Context, body func(context.Context) error) error { return body(ctx) }}
	for _, events := range sizes([]int{10, 1_000}, 1_000_000) {
		for end, outcome := range map[string]error{"rollback": undo, "commit": nil} {
			b.Run(fmt.Sprintf("events=%d/end=%s", events, end), func(b *testing.B) {
				bus := tidings.New()
				tidings.Subscribe(bus, handle)
				transact := func(queued func()) {
					err := tidings.Transact(context.Background(), none, func(ctx context.Context) error {
						for range events {
							if err := tidings.Publish(ctx, bus, orders[0]); err != nil {
								return err
							}
						}
						queued()
						return outcome
					})
					require.Equal(b, outcome, err)
				}
				before, held := heapInUse(), int64(0)
				transact(func() { held = heapInUse() - before })
				want := counted()
				b.ReportAllocs()
				for b.Loop() {
					transact(func() {})
				}
				if outcome == nil {
					want += int64(b.N * events)
				}
				require.Equal(b, want, counted(), "deliveries")
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*events), "ns/event")
				b.ReportMetric(float64(held)/float64(events), "B-held/event")
			})
		}
	}
}

// numbered is a hundred event types, told apart by the length of an array.
type numbered[Array any] struct{ tidings.DomainEvent }

// one subscribes to a type, and returns how to publish an event of it.
func one[Array any](bus *tidings.EventBus) func(context.Context) error {
	tidings.Subscribe(bus, func(context.Context, numbered[Array]) error {
		counts[0].n++
		return nil
	})
	event := numbered[Array]{orders[0].DomainEvent}
	return func(ctx context.Context) error { return tidings.Publish(ctx, bus, event) }
}

var hundred = []func(*tidings.EventBus) func(context.Context) error{
	one[[0]int], one[[1]int], one[[2]int], one[[3]int], one[[4]int], one[[5]int], one[[6]int], one[[7]int], one[[8]int], one[[9]int],
	one[[10]int], one[[11]int], one[[12]int], one[[13]int], one[[14]int], one[[15]int], one[[16]int], one[[17]int], one[[18]int], one[[19]int],
	one[[20]int], one[[21]int], one[[22]int], one[[23]int], one[[24]int], one[[25]int], one[[26]int], one[[27]int], one[[28]int], one[[29]int],
	one[[30]int], one[[31]int], one[[32]int], one[[33]int], one[[34]int], one[[35]int], one[[36]int], one[[37]int], one[[38]int], one[[39]int],
	one[[40]int], one[[41]int], one[[42]int], one[[43]int], one[[44]int], one[[45]int], one[[46]int], one[[47]int], one[[48]int], one[[49]int],
	one[[50]int], one[[51]int], one[[52]int], one[[53]int], one[[54]int], one[[55]int], one[[56]int], one[[57]int], one[[58]int], one[[59]int],
	one[[60]int], one[[61]int], one[[62]int], one[[63]int], one[[64]int], one[[65]int], one[[66]int], one[[67]int], one[[68]int], one[[69]int],
	one[[70]int], one[[71]int], one[[72]int], one[[73]int], one[[74]int], one[[75]int], one[[76]int], one[[77]int], one[[78]int], one[[79]int],
	one[[80]int], one[[81]int], one[[82]int], one[[83]int], one[[84]int], one[[85]int], one[[86]int], one[[87]int], one[[88]int], one[[89]int],
	one[[90]int], one[[91]int], one[[92]int], one[[93]int], one[[94]int], one[[95]int], one[[96]int], one[[97]int], one[[98]int], one[[99]int],
}

// BenchmarkTypes publishes events of one type, which is alone on the bus or one of
// a hundred; and of each of the hundred in turn.
func BenchmarkTypes(b *testing.B) {
	run := func(name string, types, step int) {
		b.Run("types="+name, func(b *testing.B) {
			var publish []func(context.Context) error
			for bus, i := tidings.New(), 0; i < types; i++ {
				publish = append(publish, hundred[i](bus))
			}
			n, delivered := 0, counted()
			repeat(b, func(ctx context.Context) error {
				n += step
				return publish[n%types](ctx)
			})
			require.EqualValues(b, b.N, counted()-delivered, "deliveries")
		})
	}
	run("one", 1, 0)
	run("one-of-a-hundred", len(hundred), 0)
	run("each-of-a-hundred", len(hundred), 1)
}

// heapInUse returns the bytes of live objects. The second collection takes what
// the first one's finalizers let go.
func heapInUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// lanes bounds how many goroutines publish at once.
const lanes = 2

// orderPlaced is the event that every contender carries, by value.
type orderPlaced struct {
	tidings.DomainEvent
	OrderID int64
	// Lane is the goroutine that publishes the event. Handlers count in the
	// lane's own counter, so that two publishers share no memory but the bus's.
	Lane int64
}

// Type is what kelindar/event routes by.
func (orderPlaced) Type() uint32 { return 1 }

// orders holds an event for each lane, stamped beforehand.
var orders = func() (events [lanes]orderPlaced) {
	for lane := range events {
		events[lane] = tidings.Stamp(context.Background(), orderPlaced{OrderID: int64(lane) + 1, Lane: int64(lane)})
	}
	return events
}()

// counts has a counter for each lane, two cache lines apart.
var counts [lanes]struct {
	n int64
	_ [120]byte
}

// handle is the handler of those that run it in the goroutine of the publisher.
func handle(_ context.Context, e orderPlaced) error {
	counts[uint64(e.Lane)%lanes].n++
	return nil
}

// handleOnly is handle for buses whose handlers return no error.
func handleOnly(_ context.Context, e orderPlaced) { counts[uint64(e.Lane)%lanes].n++ }

func counted() int64 { return counts[0].n + counts[1].n }

// openBare is the bare minimum: no bus at all.
func openBare(handlers int) bus {
	list := make([]func(context.Context, orderPlaced) error, 0, handlers)
	for range handlers {
		list = append(list, handle)
	}
	return bus{delivered: counted, publish: func(lane, n int) error {
		return loop(lane, n, func(ctx context.Context, e orderPlaced) error {
			for _, h := range list {
				if err := h(ctx, e); err != nil {
					return err
				}
			}
			return nil
		})
	}}
}

func openTidings(handlers int) bus {
	events := tidings.New()
	for range handlers {
		tidings.Subscribe(events, handle)
	}
	return bus{delivered: counted, publish: func(lane, n int) error {
		return loop(lane, n, func(ctx context.Context, e orderPlaced) error { return tidings.Publish(ctx, events, e) })
	}}
}
