package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

const keyDurableStart = "durable-start"

// startsOf: one start takes a thousand times as long as one job among many.
const startsOf = 50

func (p Plan) starts() int { return max(p.jobs()/startsOf, 1) }

// A DurableStartCost is how long an idle worker takes to begin with a job,
// from when the commit of the publisher has returned.
type DurableStartCost struct {
	Database   string
	Starts     int // of each, in all rounds together
	Bare, Ours Latency
}

// A Latency says how long something takes, of many times.
type Latency struct{ P50, P99 time.Duration }

// Ratio returns how many times as long the handler of tidings waits.
func (c DurableStartCost) Ratio() float64 { return float64(c.Ours.P50) / float64(c.Bare.P50) }

// DurableStartCosts measures on every database that there is, in plan.Count
// rounds with new tables. left is what it has left out, and why.
func DurableStartCosts(plan Plan) (costs []DurableStartCost, left []string, err error) {
	return onJobDatabases(keyDurableStart,
		func() (DurableStartCost, error) { return startCosts(plan, onSQLite, jobsOnSQLite("NORMAL")) },
		func() (DurableStartCost, error) { return startCosts(plan, onPgx, jobsOnPgx) })
}

func startCosts[TTx any](plan Plan, database string, open jobDBFunc[TTx]) (DurableStartCost, error) {
	crews := []crewFunc[TTx]{bareCrew[TTx], durableCrew[TTx]}
	waits := make([][]time.Duration, len(crews))
	for range plan.Count {
		if err := startJobs(open, crews, plan.starts(), waits); err != nil {
			return DurableStartCost{}, fmt.Errorf("case %s: %s: %w", keyDurableStart, database, err)
		}
	}
	return DurableStartCost{Database: database, Starts: len(waits[0]), Bare: latency(waits[0]), Ours: latency(waits[1])}, nil
}

func latency(waits []time.Duration) Latency {
	slices.Sort(waits)
	return Latency{P50: waits[len(waits)/2], P99: waits[len(waits)*99/100]}
}

// startJobs has all crews at work at the same time, each in a new database,
// and inserts a job for each in turn.
func startJobs[TTx any](open jobDBFunc[TTx], makers []crewFunc[TTx], starts int, waits [][]time.Duration) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), mostOfARun)
	defer cancel()
	begun := make(chan time.Time, 1)
	crews := make([]*crew, len(makers))
	for i, newCrew := range makers {
		d, openErr := open()
		if openErr != nil {
			return openErr
		}
		defer func() { err = errors.Join(err, d.remove()) }()
		if crews[i], err = newCrew(d, func() { note(begun) }, func() {}); err != nil {
			return err
		}
		if err := crews[i].start(ctx); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, crews[i].stop(context.WithoutCancel(ctx))) }()
	}
	// The first ones prepare their statements.
	const warmStarts = 3
	for n := range warmStarts + starts {
		for i := range crews {
			i = (i + n) % len(crews)
			// At any time between two looks of River at the database, and
			// later than it would save itself a notification.
			time.Sleep(2*fetchCooldown + rand.N(10*fetchCooldown))
			if err := crews[i].insert(ctx, 1); err != nil {
				return err
			}
			committed := time.Now()
			select {
			case at := <-begun:
				if n >= warmStarts {
					waits[i] = append(waits[i], at.Sub(committed))
				}
			case <-ctx.Done():
				return fmt.Errorf("a job has not begun: %w", ctx.Err())
			}
		}
	}
	return nil
}

// note does not wait: an attempt that is made again would, for ever.
func note(begun chan<- time.Time) {
	select {
	case begun <- time.Now():
	default:
	}
}
