package bench

import (
	"errors"
	"sync"
)

// A Subject is one row of a [Case]: something to do many times.
type Subject struct {
	Name       string
	Note       string
	Goroutines int // that do it at the same time; 0 is 1
	Setup      func() (*Runner, error)
}

// A Runner is a subject that is ready to run.
type Runner struct {
	// Do does the subject's work n times, one after the other, from the
	// goroutine that owns the lane. The loop is the subject's own, so that no
	// indirect call stands between it and what it measures. Several goroutines
	// may call Do at once, each in its own lane, below [Lanes].
	Do func(lane, n int) error
	// Drain waits until the handlers of all that was done have run. Nil where
	// Do returns no sooner.
	Drain func() error
	// Release gives back what Setup took. Nil where that is nothing.
	Release func() error
	// Delivered counts the handler calls so far, or the events stored, while
	// nobody calls Do. Nil where there is nothing to count.
	Delivered func() int64
}

// DoFrom does the work n times in each of so many goroutines.
func (r *Runner) DoFrom(goroutines, n int) error {
	if goroutines <= 1 {
		return r.Do(0, n)
	}
	var group sync.WaitGroup
	errs := make([]error, goroutines)
	for lane := range errs {
		group.Go(func() { errs[lane] = r.Do(lane, n) })
	}
	group.Wait()
	return errors.Join(errs...)
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
