package handlers_test

import (
	"context"
	"fmt"
	"maps"

	"github.com/tidings-go/tidings"
)

// CartPaid has a slice, whose elements all handlers would share.
type CartPaid struct {
	tidings.DomainEvent
	Items []string
}

// BasketPaid has a List instead.
type BasketPaid struct {
	tidings.DomainEvent
	Items tidings.List[string]
}

// StockCounted has a method that copies it.
type StockCounted struct {
	tidings.DomainEvent
	Shelves map[string]int
}

// Clone returns a copy that shares no memory with e.
func (e StockCounted) Clone() StockCounted {
	e.Shelves = maps.Clone(e.Shelves)
	return e
}

func Example_immutable() {
	bus := tidings.New()
	ctx := context.Background()
	fmt.Println(tidings.Publish(ctx, bus, CartPaid{Items: []string{"pen"}}))

	tidings.Subscribe(bus, func(_ context.Context, e BasketPaid) error {
		for i, item := range e.Items.All() {
			fmt.Println(i, item)
		}
		return nil
	})
	fmt.Println(tidings.Publish(ctx, bus, BasketPaid{Items: tidings.ListOf("pen", "ink")}))

	for range 2 {
		tidings.Subscribe(bus, func(_ context.Context, e StockCounted) error {
			e.Shelves["A1"]++ // in this handler's copy
			fmt.Println("A1:", e.Shelves["A1"])
			return nil
		})
	}
	fmt.Println(tidings.Publish(ctx, bus, StockCounted{Shelves: map[string]int{"A1": 5}}))
	// Output:
	// tidings: handlers of handlers_test.CartPaid would share memory through its field Items of type []string: use a tidings.List[string], or give handlers_test.CartPaid a method Clone() handlers_test.CartPaid that copies deeply, or declare the type immutable with tidings.WithImmutable[[]string]()
	// 0 pen
	// 1 ink
	// <nil>
	// A1: 6
	// A1: 6
	// <nil>
}
