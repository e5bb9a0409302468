package bench

import (
	"fmt"
	"runtime"
	"time"
)

// A Case sets subjects side by side.
type Case struct {
	Key      string // "handlers-10": the name of the benchmark, and what -run matches
	Title    string
	Note     string // what is measured, in a sentence or two
	Baseline string // the subject that ratios refer to
	Subjects []Subject
	// Turns, where it is not 0, lets the subjects take turns every so many
	// operations, all set up at the same time, instead of one measurement after
	// the other. For subjects that differ by a few percent.
	Turns int
	// Skip says why the case cannot be measured here, such as that there is no
	// server; empty if it can.
	Skip string
}

// Plan says how often and how long to measure.
type Plan struct {
	Count int           // measurements of each subject
	Time  time.Duration // of one measurement, about
	// Events are how many the log holds that is read; 0 is [LogEvents].
	Events int
	// Jobs are how many wait when the workers start; 0 is [DurableJobs].
	Jobs int
	// Messages are how many go through each broker; 0 is [RelayMessages].
	Messages int
}

// A Table is what a case came to.
type Table struct {
	Case Case
	Rows []Row
}

// A Row is what a subject came to.
type Row struct {
	Subject Subject
	Sample  Sample // medians
}

// Row returns the row of the subject of this name that so many goroutines did.
func (t Table) Row(name string, goroutines int) (Row, bool) {
	for _, row := range t.Rows {
		if row.Subject.Name == name && max(row.Subject.Goroutines, 1) == goroutines {
			return row, true
		}
	}
	return Row{}, false
}

// Measure measures every subject plan.Count times, in rounds: each round
// measures each subject once and begins with another one, so that a slow spell
// of the machine and the order of the subjects hit all alike.
func (c Case) Measure(plan Plan) (Table, error) {
	samples := make([][]Sample, len(c.Subjects))
	round := c.oneByOne
	if c.Turns > 0 {
		round = c.inTurns
	}
	operations := make([]int, len(c.Subjects)) // calibrated in the first round
	for i := range plan.Count {
		if err := round(i, plan.Time, operations, samples); err != nil {
			return Table{}, fmt.Errorf("case %s: %w", c.Key, err)
		}
	}
	table := Table{Case: c}
	for i, subject := range c.Subjects {
		table.Rows = append(table.Rows, Row{Subject: subject, Sample: medianSample(samples[i])})
	}
	return table, nil
}

func (c Case) oneByOne(round int, d time.Duration, operations []int, samples [][]Sample) error {
	for i := range c.Subjects {
		i = (i + round) % len(c.Subjects)
		sample, err := c.Subjects[i].measure(d, &operations[i])
		if err != nil {
			return fmt.Errorf("%s: %w", c.Subjects[i].Name, err)
		}
		samples[i] = append(samples[i], sample)
	}
	return nil
}

// measure sets the subject up afresh, so that no other one's goroutines and
// garbage are about.
func (s Subject) measure(d time.Duration, operations *int) (_ Sample, err error) {
	r, err := s.Setup()
	if err != nil {
		return Sample{}, err
	}
	defer func() {
		if closeErr := r.Close(); err == nil {
			err = closeErr
		}
	}()
	goroutines := max(s.Goroutines, 1)
	if *operations == 0 {
		if *operations, err = calibrate(r, goroutines, d); err != nil {
			return Sample{}, err
		}
	} else {
		var warm stopwatch
		if err := warm.time(r, goroutines, max(*operations/20, 1)); err != nil {
			return Sample{}, err
		}
	}
	runtime.GC()
	var w stopwatch
	if err := w.time(r, goroutines, *operations); err != nil {
		return Sample{}, err
	}
	return w.per(*operations * goroutines), nil
}

func (c Case) inTurns(round int, d time.Duration, _ []int, samples [][]Sample) (err error) {
	runners := make([]*Runner, len(c.Subjects))
	defer func() {
		for _, r := range runners {
			if r == nil {
				continue
			}
			if closeErr := r.Close(); err == nil {
				err = closeErr
			}
		}
	}()
	for i, subject := range c.Subjects {
		if runners[i], err = subject.Setup(); err != nil {
			return fmt.Errorf("%s: %w", subject.Name, err)
		}
		var warm stopwatch
		if err := warm.time(runners[i], 1, c.Turns); err != nil {
			return fmt.Errorf("%s: %w", subject.Name, err)
		}
	}
	runtime.GC()
	watches := make([]stopwatch, len(runners))
	turns := 0
	for ; turns == 0 || watches[0].elapsed < d; turns++ {
		for i := range runners {
			i = (i + turns + round) % len(runners)
			if err := watches[i].time(runners[i], 1, c.Turns); err != nil {
				return fmt.Errorf("%s: %w", c.Subjects[i].Name, err)
			}
		}
	}
	for i := range watches {
		samples[i] = append(samples[i], watches[i].per(turns*c.Turns))
	}
	return nil
}
