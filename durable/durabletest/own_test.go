package durabletest_test

import (
	"context"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
)

// Own is a job of the application's.
type Own struct {
	N int `json:"n"`
}

func (Own) Kind() string { return "own" }

type ownWorker struct {
	river.WorkerDefaults[Own]
	log *journal
}

func (w *ownWorker) Work(_ context.Context, job *river.Job[Own]) error {
	w.log.add("own %d", job.Args.N)
	return nil
}

// Foreign is a job that no worker of the client is for.
type Foreign struct{}

func (Foreign) Kind() string { return "foreign" }

// Jobs of the application's own are worked as well, when they are due.
func TestDrainOwnJobs(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, db database) {
		var log journal
		config := &river.Config{Workers: river.NewWorkers(), SkipUnknownJobCheck: true}
		river.AddWorker(config.Workers, &ownWorker{log: &log})
		config.PeriodicJobs = []*river.PeriodicJob{river.NewPeriodicJob(river.PeriodicInterval(time.Second),
			func() (river.JobArgs, *river.InsertOpts) { return Own{N: 99}, nil }, &river.PeriodicJobOpts{RunOnStart: true})}
		r := newRig(t, db, config)
		tidings.Subscribe(r.bus, log.noted("a", nil), tidings.Named("test.a"), tidings.Via(r.jobs), durable.Outside())

		_, err := r.client.Insert(t.Context(), Own{N: 1}, nil)
		require.NoError(t, err)
		_, err = r.client.Insert(t.Context(), Own{N: 2}, &river.InsertOpts{ScheduledAt: r.clock.Now().Add(time.Hour)})
		require.NoError(t, err)
		_, err = r.client.Insert(t.Context(), Foreign{}, &river.InsertOpts{MaxAttempts: 1})
		require.NoError(t, err)
		r.publish(t, Numbered{N: 1})
		r.drain(t)
		require.Equal(t, []string{"own 1", "a 1"}, log.take())
		require.Equal(t, map[rivertype.JobState]int{rivertype.JobStateCompleted: 2, rivertype.JobStateScheduled: 1, rivertype.JobStateDiscarded: 1}, r.states(t))

		r.clock.Advance(time.Hour)
		r.drain(t)
		require.Equal(t, []string{"own 2"}, log.take())
		require.Zero(t, r.leaders(t), "who leads is free again")
	})
}
