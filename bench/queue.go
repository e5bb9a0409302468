package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/tidings-go/tidings"
)

const keyQueue = "queue"

// queueSizes are how many events a transaction queues: a few, many, and as many
// as a batch job that never commits in between.
var queueSizes = []int{10, 1_000, 1_000_000}

// A QueueCost is what events in a transaction take until they are delivered.
type QueueCost struct {
	Events    int     // published in one transaction
	Queued    Sample  // per event, from the first Publish to the last
	HeapBytes float64 // per event, in use while all are queued
	DeliverNS float64 // per event, from the commit on, with one handler
	Delivered int     // of Events
}

// QueueCosts measures transactions of every queue size: medians over plan.Count
// rounds.
func QueueCosts(plan Plan) ([]QueueCost, error) {
	var costs []QueueCost
	for _, events := range queueSizes {
		var queued []Sample
		var heap, deliver []float64
		cost := QueueCost{Events: events, Delivered: events}
		for range plan.Count {
			c, err := queueCost(events)
			if err != nil {
				return nil, fmt.Errorf("case %s: %w", keyQueue, err)
			}
			queued = append(queued, c.Queued)
			heap, deliver = append(heap, c.HeapBytes), append(deliver, c.DeliverNS)
			cost.Delivered = min(cost.Delivered, c.Delivered)
		}
		cost.Queued, cost.HeapBytes, cost.DeliverNS = medianSample(queued), Median(heap), Median(deliver)
		costs = append(costs, cost)
	}
	return costs, nil
}

func queueCost(events int) (QueueCost, error) {
	cost := QueueCost{Events: events, Delivered: events}
	bus := tidings.New()
	tidings.Subscribe(bus, handle)
	// Short transactions are repeated, so that the clock has something to read.
	transactions := max(1, 100_000/events)
	var queue stopwatch
	var deliver time.Duration
	for i := range transactions {
		var committed time.Time
		began := counted()
		before := heapInUseIf(i == 0)
		commit := func(ctx context.Context, body func(context.Context) error) error {
			err := body(ctx)
			committed = time.Now()
			return err
		}
		err := tidings.Transact(context.Background(), commit, func(ctx context.Context) error {
			queue.start()
			err := publishOrders(ctx, bus, events)
			queue.stop()
			if i == 0 {
				cost.HeapBytes = float64(heapInUse()-before) / float64(events)
			}
			return err
		})
		deliver += time.Since(committed)
		if err != nil {
			return cost, err
		}
		cost.Delivered = min(cost.Delivered, int(counted()-began))
	}
	cost.Queued = queue.per(events * transactions)
	cost.DeliverNS = float64(deliver.Nanoseconds()) / float64(events*transactions)
	return cost, bus.Close(context.Background())
}

func publishOrders(ctx context.Context, bus *tidings.EventBus, events int) error {
	e := orders[0]
	for range events {
		if err := tidings.Publish(ctx, bus, e); err != nil {
			return err
		}
	}
	return nil
}

// heapInUseIf spares all but the first transaction the collections.
func heapInUseIf(first bool) int64 {
	if !first {
		return 0
	}
	return heapInUse()
}
