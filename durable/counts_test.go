package durable_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
)

// Every state of River's, with and without a failure, is the same to Counts
// and to Status.
func TestCountsAgreeWithStatus(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs := h.jobs(t, river.Config{})
		counts, err := jobs.Counts(t.Context())
		require.NoError(t, err)
		require.NotNil(t, counts)
		require.Empty(t, counts)

		bus := tidings.New()
		tidings.Subscribe(bus, ignore[Created], tidings.Named("ops.one_more"), tidings.Via(jobs))
		tidings.Subscribe(bus, ignore[Accepted], tidings.Named("ops.counted"), tidings.Via(jobs))
		publishAll(t, bus, Created{}, Created{})

		failure := `jsonb('[{"at":"2026-01-02T03:04:05Z","attempt":1,"error":"once","trace":""}]')`
		if h.postgres() {
			failure = `ARRAY['{"at":"2026-01-02T03:04:05Z","attempt":1,"error":"once","trace":""}'::jsonb]`
		}
		var want durable.Counts
		for _, c := range []struct {
			river         string
			clean, failed durable.State
		}{
			{"available", durable.Waiting, durable.Retrying},
			{"scheduled", durable.Waiting, durable.Retrying},
			{"retryable", durable.Retrying, durable.Retrying},
			{"pending", durable.Held, durable.Held},
			{"running", durable.Running, durable.Running},
			{"completed", durable.Done, durable.Done},
			{"cancelled", durable.Dead, durable.Dead},
			{"discarded", durable.Dead, durable.Dead},
		} {
			for i, state := range []durable.State{c.clean, c.failed} {
				event := publishAll(t, bus, Accepted{Number: c.river})[0]
				id := statusOf(t, jobs, event.EventID())["ops.counted"].ID
				set := "state = '" + c.river + "'"
				if state == durable.Done || state == durable.Dead {
					set += ", finalized_at = '2026-01-02 03:04:06.000'"
				}
				if i == 1 {
					set += ", errors = " + failure
				}
				require.NoError(t, h.exec(t.Context(), fmt.Sprintf("UPDATE river_job SET %s WHERE id = %d", set, id)))
				require.Equal(t, state, statusOf(t, jobs, event.EventID())["ops.counted"].State, "%s, %d failures", c.river, i)
				switch state {
				case durable.Waiting:
					want.Waiting++
				case durable.Held:
					want.Held++
				case durable.Running:
					want.Running++
				case durable.Retrying:
					want.Retrying++
				case durable.Done:
					want.Done++
				case durable.Dead:
					want.Dead++
				}
			}
		}
		counts, err = jobs.Counts(t.Context())
		require.NoError(t, err)
		require.Equal(t, durable.Counts{Waiting: 2, Held: 2, Running: 2, Retrying: 4, Done: 2, Dead: 4}, want)
		require.Equal(t, map[string]durable.Counts{"ops.counted": want, "ops.one_more": {Waiting: 2}}, counts)
		require.Equal(t, 16, counts["ops.counted"].Total())
		require.Zero(t, counts["ops.never"].Total())
	})
}

func TestPurgeDeletesWhatIsDone(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs := h.jobs(t, river.Config{})
		const many = 2300
		at := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
		fill(t, h, many, "completed", at)
		fill(t, h, 2, "discarded", at)
		fill(t, h, 2, "available", at)
		n, err := jobs.Purge(t.Context(), at)
		require.NoError(t, err)
		require.Zero(t, n, "done at that time, not before")
		n, err = jobs.Purge(t.Context(), at.Add(10*time.Millisecond))
		require.NoError(t, err)
		require.Equal(t, 10, n)
		err = h.transact(t.Context(), func(ctx context.Context) error {
			n, err := jobs.Purge(ctx, at.Add(time.Second))
			require.NoError(t, err)
			require.Equal(t, 990, n)
			return errRollBack
		})
		require.ErrorIs(t, err, errRollBack)
		n, err = jobs.Purge(t.Context(), time.Now())
		require.NoError(t, err)
		require.Equal(t, many-10, n, "more than are deleted at once")
		counts, err := jobs.Counts(t.Context())
		require.NoError(t, err)
		require.Equal(t, map[string]durable.Counts{"ops.filled": {Waiting: 2, Dead: 2}}, counts)
	})
}
