package durable

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// watch makes it known if jobs die that River does not hand to a worker: those
// whose handler is unknown, and those whose arguments are no JSON. It returns a
// channel that is closed once River has stopped and all of that is said.
func (j *Jobs) watch(ctx context.Context) <-chan struct{} {
	failures, _ := j.engine.subscribe(&river.SubscribeConfig{
		ChanSize: 10_000,
		Kinds:    []river.EventKind{river.EventKindJobFailed, river.EventKindJobCancelled},
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e := range failures { // River closes it
			if e.Job.State == rivertype.JobStateDiscarded && j.unworkable(e.Job) {
				j.died(ctx, e.Job, nil, lastError(e.Job))
			}
		}
	}()
	return done
}

// unworkable reports whether River had no worker of ours for a job of ours.
func (j *Jobs) unworkable(job *rivertype.JobRow) bool {
	if _, err := j.handlerOf(job.Kind); err == nil {
		return !json.Valid(job.EncodedArgs)
	}
	return bytes.Contains(job.EncodedArgs, []byte(`"specversion"`))
}

func lastError(job *rivertype.JobRow) error {
	if len(job.Errors) == 0 {
		return errors.New("River says no more")
	}
	return errors.New(job.Errors[len(job.Errors)-1].Error)
}
