package eventlog_test

import (
	"context"
	"fmt"
	"log"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
)

type StockReceived struct {
	tidings.DomainEvent
	Copies int `json:"copies"`
}

type StockReserved struct {
	tidings.DomainEvent
	Copies int `json:"copies"`
}

// A Shelf is what its events come to.
type Shelf struct{ Copies int }

func applyToShelf(s Shelf, event tidings.Event) (Shelf, error) {
	switch e := event.(type) {
	case StockReceived:
		s.Copies += e.Copies
	case StockReserved:
		s.Copies -= e.Copies
	default:
		return s, fmt.Errorf("%T on a shelf", event)
	}
	return s, nil
}

// The shelf has no table. Its state is made from its events, and what may be
// reserved is decided by that.
func ExampleAggregate() {
	ctx := context.Background()
	db, cleanUp := openDatabase()
	defer cleanUp()
	var registry tidings.Registry
	tidings.Register[StockReceived](&registry, "stock.received", 1)
	tidings.Register[StockReserved](&registry, "stock.reserved", 1)
	events, err := eventlog.Open(ctx, eventlog.SQLite(db), &registry)
	if err != nil {
		log.Fatal(err)
	}
	shelves := eventlog.NewAggregate(events, "shelf", applyToShelf,
		eventlog.WithSnapshotEvery(100), eventlog.WithRetryOnConflict(5))

	receive := func(item string, copies int) error {
		_, err := shelves.Update(ctx, item, func(context.Context, Shelf) ([]tidings.Event, error) {
			return []tidings.Event{StockReceived{Copies: copies}}, nil
		})
		return err
	}
	reserve := func(item string, copies int) error {
		_, err := shelves.Update(ctx, item, func(_ context.Context, s Shelf) ([]tidings.Event, error) {
			if copies > s.Copies {
				return nil, fmt.Errorf("%d copies of %s, but there are %d", copies, item, s.Copies)
			}
			return []tidings.Event{StockReserved{Copies: copies}}, nil
		})
		return err
	}
	fmt.Println(receive("Emma", 5))
	fmt.Println(reserve("Emma", 3))
	fmt.Println(reserve("Emma", 3))

	shelf, version, err := shelves.Load(ctx, "Emma")
	fmt.Printf("%+v at version %d, %v\n", shelf, version, err)
	// Output:
	// <nil>
	// <nil>
	// 3 copies of Emma, but there are 2
	// {Copies:2} at version 2, <nil>
}
