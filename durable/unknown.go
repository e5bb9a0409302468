package durable

import (
	"bytes"
	"context"
	"errors"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// watch makes it known if jobs die whose handler is unknown, since River hands
// those to no worker. It returns a channel that is closed once River has stopped
// and all of that is said.
func (j *Jobs) watch(ctx context.Context) <-chan struct{} {
	failures, _ := j.engine.subscribe(&river.SubscribeConfig{
		ChanSize: 10_000,
		Kinds:    []river.EventKind{river.EventKindJobFailed, river.EventKindJobCancelled},
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e := range failures { // River closes it
			if e.Job.State == rivertype.JobStateDiscarded && j.orphaned(e.Job) {
				j.died(ctx, e.Job, lastError(e.Job))
			}
		}
	}()
	return done
}

// orphaned reports whether a job is one of ours, and no handler has its name.
func (j *Jobs) orphaned(job *rivertype.JobRow) bool {
	j.mu.RLock()
	defer j.mu.RUnlock()
	return !j.worked[job.Kind] && bytes.Contains(job.EncodedArgs, []byte(`"specversion"`))
}

func lastError(job *rivertype.JobRow) error {
	if len(job.Errors) == 0 {
		return errors.New("no reason is stored")
	}
	return errors.New(job.Errors[len(job.Errors)-1].Error)
}
