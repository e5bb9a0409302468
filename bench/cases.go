package bench

import "strconv"

// Keys of the cases that bars speak of.
const (
	keyTwo           = "two-goroutines"
	keySubscriptions = "subscriptions"
)

// bareOfOne is the baseline where there is no handler: a loop over nothing is
// too little to compare with.
const bareOfOne = "bare-of-one"

func keyHandlers(n int) string { return "handlers-" + strconv.Itoa(n) }

// Cases lists the cases that are timed operation by operation. What is measured
// in another way stands beside them: [SubscriptionCosts], [QueueCosts],
// [LogReadCosts], [DurableWorkCosts], [DurableStartCosts] and [RelayCosts].
func Cases() []Case {
	cases := []Case{
		noHandler(),
		publishing(1, "One handler"),
		publishing(10, "Ten handlers"),
		publishing(100, "A hundred handlers"),
		twoGoroutines(),
		stamping(),
		types(),
		inTxFull(),
		inTxNormal(),
	}
	cases = append(cases, appendOneCases()...)
	cases = append(cases, appendHundredCases()...)
	cases = append(cases, durablePublishCases()...)
	return append(cases, encoding(), decoding())
}

// Keys lists the keys of all cases, of the others as well.
func Keys() []string {
	var keys []string
	for _, c := range Cases() {
		keys = append(keys, c.Key)
	}
	return append(keys, keySubscriptions, keyQueue, keyRead, keyDurableWork, keyDurableStart, keyRelay)
}

func publishing(handlers int, title string) Case {
	c := Case{
		Key:      keyHandlers(handlers),
		Title:    title,
		Note:     "One goroutine publishes one stamped event after the other.",
		Baseline: Bare,
	}
	for _, contender := range Contenders() {
		c.Subjects = append(c.Subjects, contender.Subject(handlers))
	}
	return c
}

func noHandler() Case {
	c := publishing(0, "No handler")
	c.Note += " Nobody listens. Ratios are to the bare loop over one handler, since a loop over none is nothing."
	c.Baseline = bareOfOne
	baseline := Subject{
		Name:  bareOfOne,
		Note:  "the bare loop over one handler",
		Setup: func() (*Runner, error) { return setupBare(1) },
	}
	c.Subjects = append([]Subject{baseline}, c.Subjects...)
	return c
}

// twoGoroutines has every contender twice: one goroutine, and two on one bus.
func twoGoroutines() Case {
	c := Case{
		Key:   keyTwo,
		Title: "Two goroutines",
		Note: "One handler, stamped events, one bus: the time from event to event with one goroutine publishing and with two. " +
			"Throughput is how many events two goroutines publish while one alone publishes one: 2 is perfect, below 1 they are in each other's way.",
		Baseline: Bare,
	}
	for _, contender := range Contenders() {
		for goroutines := 1; goroutines <= 2; goroutines++ {
			s := contender.Subject(1)
			s.Goroutines = goroutines
			c.Subjects = append(c.Subjects, s)
		}
	}
	return c
}
