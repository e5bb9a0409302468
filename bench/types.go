package bench

import (
	"context"

	"github.com/tidings-go/tidings"
)

const (
	keyTypes      = "types"
	oneType       = "one-type"
	oneOfThousand = "one-of-1000"
)

// Numbered is a thousand event types, told apart by three digits.
type Numbered[A, B, C any] struct {
	tidings.DomainEvent
	OrderID int64
	Lane    int64
}

// The digits.
type (
	d0 struct{}
	d1 struct{}
	d2 struct{}
	d3 struct{}
	d4 struct{}
	d5 struct{}
	d6 struct{}
	d7 struct{}
	d8 struct{}
	d9 struct{}
)

// numbers is a bus and, for each type on it, how to publish an event.
type numbers struct {
	bus     *tidings.EventBus
	publish []func(ctx context.Context, lane int) error
}

func thousand(n *numbers) {
	hundred[d0](n)
	hundred[d1](n)
	hundred[d2](n)
	hundred[d3](n)
	hundred[d4](n)
	hundred[d5](n)
	hundred[d6](n)
	hundred[d7](n)
	hundred[d8](n)
	hundred[d9](n)
}

func hundred[A any](n *numbers) {
	ten[A, d0](n)
	ten[A, d1](n)
	ten[A, d2](n)
	ten[A, d3](n)
	ten[A, d4](n)
	ten[A, d5](n)
	ten[A, d6](n)
	ten[A, d7](n)
	ten[A, d8](n)
	ten[A, d9](n)
}

func ten[A, B any](n *numbers) {
	one[A, B, d0](n)
	one[A, B, d1](n)
	one[A, B, d2](n)
	one[A, B, d3](n)
	one[A, B, d4](n)
	one[A, B, d5](n)
	one[A, B, d6](n)
	one[A, B, d7](n)
	one[A, B, d8](n)
	one[A, B, d9](n)
}

func one[A, B, C any](n *numbers) {
	tidings.Subscribe(n.bus, func(_ context.Context, e Numbered[A, B, C]) error {
		counts[uint64(e.Lane)%Lanes].n++
		return nil
	})
	n.publish = append(n.publish, func(ctx context.Context, lane int) error {
		return tidings.Publish(ctx, n.bus, Numbered[A, B, C]{DomainEvent: orders[lane].DomainEvent, Lane: int64(lane)})
	})
}

func types() Case {
	return Case{
		Key:      keyTypes,
		Title:    "A thousand event types",
		Note:     "tidings with one handler for each type; stamped events of one and the same type, and of each type in turn.",
		Baseline: oneType,
		Subjects: []Subject{
			{Name: oneType, Note: "the only type on the bus", Setup: setupTypes(one[d5, d5, d5], (*numbers).publishOne)},
			{Name: oneOfThousand, Note: "the same type, among 1,000 on the bus", Setup: setupTypes(thousand, (*numbers).publishOne)},
			{Name: "1000-in-turn", Note: "the next of 1,000 types each time, through one function each", Setup: setupTypes(thousand, (*numbers).publishInTurn)},
		},
	}
}

func setupTypes(subscribe func(*numbers), publish func(_ *numbers, lane, events int) error) func() (*Runner, error) {
	return func() (*Runner, error) {
		n := &numbers{bus: tidings.New()}
		subscribe(n)
		return &Runner{
			Do:        func(lane, events int) error { return publish(n, lane, events) },
			Release:   func() error { return n.bus.Close(context.Background()) },
			Delivered: counted,
		}, nil
	}
}

func (n *numbers) publishOne(lane, events int) error {
	ctx, e := context.Background(), Numbered[d5, d5, d5]{DomainEvent: orders[lane].DomainEvent, Lane: int64(lane)}
	for range events {
		if err := tidings.Publish(ctx, n.bus, e); err != nil {
			return err
		}
	}
	return nil
}

func (n *numbers) publishInTurn(lane, events int) error {
	ctx := context.Background()
	for i := range events {
		if err := n.publish[i%len(n.publish)](ctx, lane); err != nil {
			return err
		}
	}
	return nil
}
