package bench

import (
	"fmt"
	"math"
	"strings"
)

// A Bar is a limit that tidings has set itself, and what was measured.
type Bar struct {
	Case     string
	Limit    string
	Measured string
	Verdict  Verdict
}

// A Verdict says whether a bar was met.
type Verdict string

// The verdicts.
const (
	Met         Verdict = "met"
	Missed      Verdict = "**missed**"
	NotMeasured Verdict = "not measured"
)

func verdict(met bool) Verdict {
	if met {
		return Met
	}
	return Missed
}

// Bars judges a report. A bar whose cases -run has left out is NotMeasured.
func Bars(r Report) []Bar {
	bars := []Bar{
		r.ratioBar("No handler", keyHandlers(0), 4, bareOfOne),
		r.allocsBar("No handler", keyHandlers(0), 0),
		r.ratioBar("One handler", keyHandlers(1), 28, Bare),
		r.allocsBar("One handler", keyHandlers(1), 1),
		r.aheadBar("One handler", keyHandlers(1), "every peer but go-mediatr and signals", func(c Contender) bool {
			return c.Name != Mediatr && c.Name != Signals
		}),
		r.ratioBar("One handler", keyHandlers(1), 3, Mediatr),
		r.ratioBar("One handler", keyHandlers(1), 3, Signals),
		r.ratioBar("Ten handlers", keyHandlers(10), 4, Bare),
		r.aheadBar("Ten handlers", keyHandlers(10), "every synchronous peer", synchronous),
		r.ratioBar("A hundred handlers", keyHandlers(100), 1.6, Bare),
		r.aheadBar("A hundred handlers", keyHandlers(100), "every synchronous peer", synchronous),
	}
	bars = append(bars, r.stampBars()...)
	bars = append(bars, r.throughputBar(), r.typesBar())
	bars = append(bars, r.subscriptionBars()...)
	bars = append(bars, r.queueBars()...)
	bars = append(bars,
		r.ratioBar("InTx on SQLite, synchronous=FULL", keyInTxFull, 1.05, bareSQL),
		r.ratioBar("InTx on SQLite, synchronous=NORMAL", keyInTxNormal, 1.05, bareSQL))
	bars = append(bars, r.logBars()...)
	return append(append(bars, r.durableBars()...), r.relayBars()...)
}

func synchronous(c Contender) bool { return c.Synchronous }

// ratioBar: tidings takes at most limit times what the other one takes.
func (r Report) ratioBar(title, key string, limit float64, other string) Bar {
	bar := Bar{Case: title, Limit: fmt.Sprintf("≤ %gx %s", limit, other), Verdict: NotMeasured}
	ours, ok1 := r.row(key, Tidings, 1)
	theirs, ok2 := r.row(key, other, 1)
	if ok1 && ok2 {
		ratio := ours.Sample.NS / theirs.Sample.NS
		bar.Measured = fmt.Sprintf("%sx (%s of %s ns)", Ratio(ratio), Number(ours.Sample.NS), Number(theirs.Sample.NS))
		bar.Verdict = verdict(ratio <= limit)
	}
	return bar
}

// allocsBar: tidings allocates at most limit times for each operation.
func (r Report) allocsBar(title, key string, limit float64) Bar {
	bar := Bar{Case: title, Limit: fmt.Sprintf("≤ %g allocs/op", limit), Verdict: NotMeasured}
	if ours, ok := r.row(key, Tidings, 1); ok {
		bar.Measured = Count(ours.Sample.Allocs)
		bar.Verdict = verdict(atMost(ours.Sample.Allocs, limit))
	}
	return bar
}

// atMost forgives what the runtime allocates now and then beside the program:
// a hundredth of an allocation, or of a byte, for each operation.
func atMost(value, limit float64) bool { return value <= limit+0.01 }

// aheadBar: tidings takes less than every peer that counts.
func (r Report) aheadBar(title, key, whom string, counts func(Contender) bool) Bar {
	bar := Bar{Case: title, Limit: "ahead of " + whom, Verdict: NotMeasured}
	ours, ok := r.row(key, Tidings, 1)
	if !ok {
		return bar
	}
	var ahead []string
	nearest, name := math.Inf(1), ""
	for _, c := range Contenders() {
		if c.Name == Bare || c.Name == Tidings || !counts(c) {
			continue
		}
		theirs, ok := r.row(key, c.Name, 1)
		if !ok {
			return bar
		}
		if theirs.Sample.NS <= ours.Sample.NS {
			ahead = append(ahead, fmt.Sprintf("%s takes %s ns", c.Name, Number(theirs.Sample.NS)))
		}
		if theirs.Sample.NS < nearest {
			nearest, name = theirs.Sample.NS, c.Name
		}
	}
	bar.Verdict = verdict(len(ahead) == 0)
	bar.Measured = fmt.Sprintf("%s ns; the next, %s, %s", Number(ours.Sample.NS), name, Number(nearest))
	if len(ahead) > 0 {
		bar.Measured = fmt.Sprintf("%s ns, but %s", Number(ours.Sample.NS), strings.Join(ahead, ", "))
	}
	return bar
}

func (r Report) stampBars() []Bar {
	bars := []Bar{
		r.ratioBar("Stamping", keyStamp, 1.5, stampByHand),
		{Case: "Stamping", Limit: "0 further allocs/op", Verdict: NotMeasured},
	}
	ours, ok1 := r.row(keyStamp, Tidings, 1)
	theirs, ok2 := r.row(keyStamp, stampByHand, 1)
	if ok1 && ok2 {
		further := ours.Sample.Allocs - theirs.Sample.Allocs
		bars[1].Measured = Count(max(further, 0))
		bars[1].Verdict = verdict(atMost(further, 0))
	}
	return bars
}

func (r Report) throughputBar() Bar {
	const limit = 1.6
	bar := Bar{Case: "Two goroutines", Limit: fmt.Sprintf("≥ %gx the throughput of one", limit), Verdict: NotMeasured}
	if ours, ok := r.throughput(Tidings); ok {
		bar.Measured = Ratio(ours) + "x"
		if bare, ok := r.throughput(Bare); ok {
			bar.Measured += fmt.Sprintf(" (the bare loop: %sx)", Ratio(bare))
		}
		bar.Verdict = verdict(ours >= limit)
	}
	return bar
}

// throughput returns how many events two goroutines publish while one alone
// publishes one.
func (r Report) throughput(name string) (float64, bool) {
	one, ok1 := r.row(keyTwo, name, 1)
	two, ok2 := r.row(keyTwo, name, 2)
	return one.Sample.NS / two.Sample.NS, ok1 && ok2
}

func (r Report) typesBar() Bar {
	const limit = 1.3
	bar := Bar{Case: "1,000 event types", Limit: fmt.Sprintf("≤ %gx one type", limit), Verdict: NotMeasured}
	one, ok1 := r.row(keyTypes, oneType, 1)
	thousand, ok2 := r.row(keyTypes, oneOfThousand, 1)
	if ok1 && ok2 {
		ratio := thousand.Sample.NS / one.Sample.NS
		bar.Measured = Ratio(ratio) + "x"
		bar.Verdict = verdict(ratio <= limit)
	}
	return bar
}

func (r Report) subscriptionBars() []Bar {
	// Ten times the subscriptions take ten times as long; a fifth on top is for
	// the clock, since quadratic growth would be a hundred.
	const growth, bytes = 12, 250
	bars := []Bar{
		{Case: "100,000 subscriptions", Limit: fmt.Sprintf("linear: ≤ %d times the time of 10,000", growth), Verdict: NotMeasured},
		{Case: "100,000 subscriptions", Limit: fmt.Sprintf("≤ %d B each", bytes), Verdict: NotMeasured},
	}
	for _, cost := range r.Subscriptions {
		if cost.Contender == Tidings {
			bars[0].Measured = Ratio(cost.Growth()) + " times"
			bars[0].Verdict = verdict(cost.Growth() <= growth)
			bars[1].Measured = Number(cost.BytesEach) + " B"
			bars[1].Verdict = verdict(cost.BytesEach <= bytes)
		}
	}
	return bars
}

func (r Report) queueBars() []Bar {
	const allocs, bytes = 2, 300
	var bars []Bar
	for _, events := range queueSizes {
		title := fmt.Sprintf("Queueing, %s events in a transaction", Whole(events))
		bar := Bar{Case: title, Limit: fmt.Sprintf("≤ %d allocs and ≤ %d B per event", allocs, bytes), Verdict: NotMeasured}
		for _, cost := range r.Queue {
			if cost.Events == events {
				bar.Measured = fmt.Sprintf("%s allocs, %s B", Count(cost.Queued.Allocs), Number(cost.Queued.Bytes))
				if cost.Delivered != events {
					bar.Measured += fmt.Sprintf("; %s delivered", Whole(cost.Delivered))
				}
				bar.Verdict = verdict(atMost(cost.Queued.Allocs, allocs) && atMost(cost.Queued.Bytes, bytes) && cost.Delivered == events)
			}
		}
		bars = append(bars, bar)
	}
	return bars
}
