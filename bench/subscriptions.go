package bench

import (
	"fmt"
	"runtime"
	"time"
)

// Subscriptions to one type: as many as a bus must take, and the tenth of it
// that tells whether the total is linear.
const (
	ManySubscriptions = 100_000
	FewSubscriptions  = ManySubscriptions / 10
)

// SubscriptionCost is what subscribing many handlers to one event type takes.
type SubscriptionCost struct {
	Contender string
	Few       time.Duration // for FewSubscriptions, the mean of ten buses
	Many      time.Duration // for ManySubscriptions, on one bus
	BytesEach float64       // that the bus of ManySubscriptions retains
}

// Growth is Many over Few: 10 where the total is linear, 100 where every
// subscription copies the ones before it.
func (c SubscriptionCost) Growth() float64 { return float64(c.Many) / float64(c.Few) }

// SubscriptionCosts measures the contenders that need no goroutine for each
// handler. The figures are medians over plan.Count rounds.
func SubscriptionCosts(plan Plan) ([]SubscriptionCost, error) {
	var contenders []Contender
	for _, c := range Contenders() {
		if c.Synchronous {
			contenders = append(contenders, c)
		}
	}
	few, many, bytes := make([][]float64, len(contenders)), make([][]float64, len(contenders)), make([][]float64, len(contenders))
	for round := range plan.Count {
		for i := range contenders {
			i = (i + round) % len(contenders)
			cost, err := contenders[i].subscriptionCost()
			if err != nil {
				return nil, fmt.Errorf("case %s: %w", keySubscriptions, err)
			}
			few[i] = append(few[i], float64(cost.Few))
			many[i] = append(many[i], float64(cost.Many))
			bytes[i] = append(bytes[i], cost.BytesEach)
		}
	}
	var costs []SubscriptionCost
	for i, c := range contenders {
		costs = append(costs, SubscriptionCost{
			Contender: c.Name,
			Few:       time.Duration(Median(few[i])),
			Many:      time.Duration(Median(many[i])),
			BytesEach: Median(bytes[i]),
		})
	}
	return costs, nil
}

func (c Contender) subscriptionCost() (SubscriptionCost, error) {
	cost := SubscriptionCost{Contender: c.Name}
	// Ten small buses and one large one: the same number of subscriptions, and
	// the same work for the collector, if the total is linear.
	const buses = ManySubscriptions / FewSubscriptions
	for range buses {
		elapsed, _, err := c.subscribe(FewSubscriptions)
		if err != nil {
			return cost, err
		}
		cost.Few += elapsed / buses
	}
	elapsed, retained, err := c.subscribe(ManySubscriptions)
	cost.Many, cost.BytesEach = elapsed, float64(retained)/ManySubscriptions
	return cost, err
}

// subscribe sets up a bus with n handlers and measures the time and the memory
// that stays in use. The handlers themselves are one function and take none.
func (c Contender) subscribe(n int) (elapsed time.Duration, retained int64, err error) {
	before := heapInUse()
	began := time.Now()
	r, err := c.Setup(n)
	elapsed = time.Since(began)
	if err != nil {
		return 0, 0, err
	}
	retained = heapInUse() - before
	return elapsed, retained, r.Close()
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
