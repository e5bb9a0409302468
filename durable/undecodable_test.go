package durable_test

import (
	"context"
	"strconv"
	"strings"
	"testing"

	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
	"github.com/tidings-go/tidings/tidingstest"
)

// What nobody can handle is tried again by the policy, and dies loudly with the
// reason, while the others go on.
func TestWhatNobodyCanHandle(t *testing.T) {
	t.Parallel()
	const cloudEvent = `{"specversion":"1.0","id":"0192f1a4-5cf3-7d3e-8a6b-3c1d2e4f5a6b","source":"tidings","type":"TYPE","dataversion":VERSION,"time":"2026-01-01T00:00:00Z","datacontenttype":"application/json","data":{}}`
	tests := []struct {
		name     string
		kind     string
		args     string
		metadata string
		want     string
	}{
		{"no handler has the name", "gone", `{"specversion":"1.0","id":"0192f1a4-5cf3-7d3e-8a6b-3c1d2e4f5a6b","type":"crm.accepted"}`, `{}`, `gone`},
		{"no event", "handler", `{}`, `{}`, `the event for \"handler\" cannot be decoded`},
		{"no object", "handler", `"text"`, `{}`, `cannot be decoded`},
		{"null", "handler", `null`, `{}`, `cannot be decoded`},
		{"unknown type", "handler", `TYPE=crm.unheard_of`, `{}`, `crm.unheard_of`},
		{"unknown version", "handler", `VERSION=99`, `{}`, `version 99`},
		{"another type", "handler", `TYPE=clients.created`, `{}`, `was delivered to it`},
		{"enclosed garbage", "handler", `{"enclosedcloudevent":"{"}`, `{}`, `cannot be decoded`},
		{"enclosed number", "handler", `{"enclosedcloudevent":7}`, `{}`, `cannot be decoded`},
		{"bad metadata", "handler", `TYPE=crm.accepted`, `{"tidings_trace":7}`, `metadata`},
		{"bad order", "handler", `TYPE=crm.accepted`, `{"tidings_order":"xyz"}`, `is not the order of a job`},
	}
	expand := func(args string) string {
		if typ, ok := strings.CutPrefix(args, "TYPE="); ok {
			return replace(cloudEvent, typ, "1")
		}
		if version, ok := strings.CutPrefix(args, "VERSION="); ok {
			return replace(cloudEvent, "crm.accepted", version)
		}
		return args
	}
	each(t, func(t *testing.T, h harness) {
		logs := &logBuffer{}
		bus := tidingstest.NewBus(t)
		jobs := h.jobs(t, river.Config{RetryPolicy: policy(0)}, durable.WithLogger(logs.logger()), durable.WithBus(bus))
		tidings.Subscribe(bus, nothing[Accepted], tidings.Named("handler"), atOnce(jobs))
		died := make(chan durable.About, 100)
		tidings.Subscribe(bus, func(_ context.Context, e durable.JobDied) error {
			died <- e.Job
			return nil
		})
		for range 10 {
			require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{}))
		}
		for _, tt := range tests {
			insert := "INSERT INTO river_job (kind, args, metadata, max_attempts, queue, priority, state, scheduled_at) SELECT $1, $2, $3, 2, 'default', 1, 'available', now()"
			if h.name == "sqlite" {
				insert = "INSERT INTO river_job (kind, args, metadata, max_attempts, queue, priority, state) SELECT $1, jsonb($2), jsonb($3), 2, 'default', 1, 'available'"
			}
			require.NoError(t, h.exec(t.Context(), insert, tt.kind, expand(tt.args), tt.metadata), tt.name)
		}
		for range 10 {
			require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{}))
		}
		start(t, jobs)
		awaitJobs(t, h, 20, "state = 'completed'")
		awaitJobs(t, h, len(tests), "state = 'discarded' AND attempt = 2")
		stop(t, jobs)
		for _, tt := range tests {
			require.True(t, logs.has("a job is dead", "handler="+tt.kind, tt.want), "%s:\n%s", tt.name, logs)
		}
		require.Len(t, died, len(tests), "each is told once")
	})
}

func replace(cloudEvent, typ, version string) string {
	return strings.NewReplacer("TYPE", typ, "VERSION", version).Replace(cloudEvent)
}

// Jobs of others that share the client are not ours to speak of.
func TestJobsOfOthersAreLeftAlone(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		logs := &logBuffer{}
		workers := river.NewWorkers()
		river.AddWorker(workers, river.WorkFunc(func(_ context.Context, job *river.Job[chore]) error {
			if job.Args.Number == 0 {
				return nil
			}
			return errOnPurpose
		}))
		jobs, client := h.jobsAndClient(t, river.Config{Workers: workers}, durable.WithLogger(logs.logger()))
		start(t, jobs)
		for i := range 2 {
			_, err := client.Insert(t.Context(), chore{i}, &river.InsertOpts{MaxAttempts: 1})
			require.NoError(t, err, strconv.Itoa(i))
		}
		awaitJobs(t, h, 1, "state = 'completed'")
		awaitJobs(t, h, 1, "state = 'discarded'")
		stop(t, jobs)
		require.Empty(t, logs.String())
	})
}

type chore struct{ Number int }

func (chore) Kind() string { return "chore" }
