package bench

import "errors"

// A Subject is one row of a case: something to do many times.
type Subject struct {
	Name  string
	Note  string
	Setup func() (*Runner, error)
}

// A Runner is a subject that is ready to run.
type Runner struct {
	// Do does the subject's work n times, one after the other, from the
	// goroutine that owns the lane. The loop is the subject's own, so that no
	// indirect call stands between it and what it measures. Two goroutines may
	// call Do, in two lanes.
	Do func(lane, n int) error
	// Drain waits until the handlers of all that was done have run. Nil where
	// Do returns no sooner.
	Drain func() error
	// Release gives back what Setup took. Nil where that is nothing.
	Release func() error
	// Delivered counts the handler calls so far. Nil where no handlers run.
	Delivered func() int64
}

// Finish waits for what is under way.
func (r *Runner) Finish() error {
	if r.Drain == nil {
		return nil
	}
	return r.Drain()
}

// Close finishes and gives back what Setup took.
func (r *Runner) Close() error {
	err := r.Finish()
	if r.Release != nil {
		err = errors.Join(err, r.Release())
	}
	return err
}
