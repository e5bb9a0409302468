package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// report calls run in a process, prints the counts of tally whenever they have
// changed, and returns when ctx ends or one of the two fails.
func report(ctx context.Context, out io.Writer, name string, tally func(context.Context) (string, error), work func(context.Context) error) error {
	running, fail := context.WithCancelCause(ctx)
	var working sync.WaitGroup
	working.Go(func() {
		if err := work(running); err != nil {
			fail(err)
		}
	})
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	last := ""
	for running.Err() == nil {
		line, err := tally(running)
		if err != nil {
			fail(err)
			break
		}
		if line != last {
			fmt.Fprintf(out, "%s: %s\n", name, line)
			last = line
		}
		select {
		case <-tick.C:
		case <-running.Done():
		}
	}
	working.Wait()
	if ctx.Err() != nil {
		return nil // interrupted, which may have caused the error
	}
	return context.Cause(running)
}

// closeGently is a graceful shutdown within ten seconds.
func closeGently(ctx context.Context, closing func(context.Context) error, err *error) {
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	*err = errors.Join(*err, closing(grace))
}
