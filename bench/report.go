package bench

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// A Report is everything that was measured.
type Report struct {
	Tables        []Table
	Subscriptions []SubscriptionCost
	Queue         []QueueCost
	LogReads      []LogReadCost
	DurableWork   []DurableWorkCost
	DurableStarts []DurableStartCost
	Relays        []RelayCost
	LeftOut       []string // cases that could not be measured, and why
}

// Run measures the cases whose keys match, one after the other, and says to
// progress which one begins.
func Run(plan Plan, match *regexp.Regexp, progress func(key string)) (Report, error) {
	var report Report
	if plan.Count < 1 || plan.Time <= 0 {
		return report, fmt.Errorf("nothing to do: %d measurements of %v", plan.Count, plan.Time)
	}
	if !slices.ContainsFunc(Keys(), match.MatchString) {
		return report, fmt.Errorf("no case matches %q; there are %s", match, strings.Join(Keys(), ", "))
	}
	for _, c := range Cases() {
		if !match.MatchString(c.Key) {
			continue
		}
		if c.Skip != "" {
			report.LeftOut = append(report.LeftOut, c.Key+": "+c.Skip)
			progress(c.Key + " is left out: " + c.Skip)
			continue
		}
		progress(c.Key)
		table, err := c.Measure(plan)
		if err != nil {
			return report, err
		}
		report.Tables = append(report.Tables, table)
	}
	var err error
	if match.MatchString(keySubscriptions) {
		progress(keySubscriptions)
		if report.Subscriptions, err = SubscriptionCosts(plan); err != nil {
			return report, err
		}
	}
	if match.MatchString(keyQueue) {
		progress(keyQueue)
		if report.Queue, err = QueueCosts(plan); err != nil {
			return report, err
		}
	}
	if match.MatchString(keyRead) {
		progress(keyRead)
		costs, left, err := LogReadCosts(plan)
		if err != nil {
			return report, err
		}
		report.LogReads, report.LeftOut = costs, append(report.LeftOut, left...)
	}
	if match.MatchString(keyDurableWork) {
		progress(keyDurableWork)
		costs, left, err := DurableWorkCosts(plan)
		if err != nil {
			return report, err
		}
		report.DurableWork, report.LeftOut = costs, append(report.LeftOut, left...)
	}
	if match.MatchString(keyDurableStart) {
		progress(keyDurableStart)
		costs, left, err := DurableStartCosts(plan)
		if err != nil {
			return report, err
		}
		report.DurableStarts, report.LeftOut = costs, append(report.LeftOut, left...)
	}
	if match.MatchString(keyRelay) {
		progress(keyRelay)
		costs, left, err := RelayCosts(plan)
		if err != nil {
			return report, err
		}
		report.Relays, report.LeftOut = costs, append(report.LeftOut, left...)
	}
	return report, nil
}

// row returns the row of that case, subject and number of goroutines.
func (r Report) row(key, name string, goroutines int) (Row, bool) {
	for _, table := range r.Tables {
		if table.Case.Key == key {
			return table.Row(name, goroutines)
		}
	}
	return Row{}, false
}
