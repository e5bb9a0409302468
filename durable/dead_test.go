package durable_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
)

var errRollBack = errors.New("roll back")

// kill has jobs die without a worker, at a time.
func kill(t testing.TB, h harness, where string, at time.Time) {
	t.Helper()
	errs := `jsonb('[{"at":"2026-01-02T03:04:05Z","attempt":1,"error":"killed","trace":""}]')`
	if h.postgres() {
		errs = `ARRAY['{"at":"2026-01-02T03:04:05Z","attempt":1,"error":"killed","trace":""}'::jsonb]`
	}
	require.NoError(t, h.exec(t.Context(), fmt.Sprintf("UPDATE river_job SET state = 'discarded', attempt = 1, finalized_at = '%s', errors = %s WHERE %s",
		at.UTC().Format("2006-01-02 15:04:05.000"), errs, where)))
}

// fill stores n jobs in a state; where that is an end, each has it a
// millisecond after the one before, the first one at that time.
func fill(t testing.TB, h harness, n int, state string, at time.Time) {
	t.Helper()
	args := `{"specversion":"1.0","id":"019aa0a0-0000-7000-8000-000000000001","type":"crm.accepted"}`
	ended := "NULL"
	first := at.UTC().Format("2006-01-02 15:04:05.000")
	query := "WITH RECURSIVE numbers (i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM numbers WHERE i + 1 < %d) " +
		"INSERT INTO river_job (kind, args, max_attempts, state, finalized_at) SELECT 'ops.filled', jsonb('%s'), 3, '%s', %s FROM numbers"
	if state != "available" {
		ended = "strftime('%Y-%m-%d %H:%M:%f', '" + first + "', '+' || (i / 1000.0) || ' seconds')"
	}
	if h.postgres() {
		query = "INSERT INTO river_job (kind, args, max_attempts, state, finalized_at) SELECT 'ops.filled', '%[2]s', 3, '%[3]s', %[4]s FROM generate_series(0, %[1]d - 1) AS i"
		if state != "available" {
			ended = "'" + first + "+00'::timestamptz + i * interval '1 millisecond'"
		}
	}
	require.NoError(t, h.exec(t.Context(), fmt.Sprintf(query, n, args, state, ended)))
}

// deadIDs returns the IDs of the dead jobs of a selection.
func deadIDs(t testing.TB, jobs *durable.Jobs, selected durable.Selection) []int64 {
	t.Helper()
	dead, err := jobs.Dead(t.Context(), selected)
	require.NoError(t, err)
	ids := []int64{}
	for _, job := range dead {
		require.Equal(t, durable.Dead, job.State)
		ids = append(ids, job.ID)
	}
	return ids
}

func TestSelections(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs := h.jobs(t, river.Config{})
		bus := tidings.New()
		tidings.Subscribe(bus, ignore[Accepted], tidings.Named("ops.a"), tidings.Via(jobs))
		tidings.Subscribe(bus, ignore[Accepted], tidings.Named("ops.b"), tidings.Via(jobs))
		tidings.Subscribe(bus, ignore[Created], tidings.Named("ops.c"), tidings.Via(jobs))
		accepted := publishAll(t, bus, Accepted{Number: "1"}, Accepted{Number: "2"})
		created := publishAll(t, bus, Created{Client: "x"})
		publishAll(t, bus, Created{Client: "alive"})
		id := func(e tidings.Event, handler string) int64 { return statusOf(t, jobs, e.EventID())[handler].ID }
		a1, b1 := id(accepted[0], "ops.a"), id(accepted[0], "ops.b")
		a2, b2 := id(accepted[1], "ops.a"), id(accepted[1], "ops.b")
		c := id(created[0], "ops.c")
		// Not in the order of their IDs, and two at the same time.
		at := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
		for i, ids := range [][]int64{{c}, {b2}, {a1, a2}, {b1}} {
			for _, id := range ids {
				kill(t, h, fmt.Sprint("id = ", id), at.Add(time.Duration(i)*time.Second))
			}
		}
		require.NoError(t, h.exec(t.Context(), fmt.Sprint("UPDATE river_job SET state = 'cancelled' WHERE id = ", a1)))

		for _, tt := range []struct {
			name     string
			selected durable.Selection
			want     []int64
		}{
			{"zero", durable.Selection{}, []int64{c, b2, a1, a2, b1}},
			{"all", durable.Selection{All: true}, []int64{c, b2, a1, a2, b1}},
			{"ids", durable.Selection{JobIDs: []int64{b1, c, b1, -1, 1 << 60}}, []int64{c, b1}},
			{"no ids", durable.Selection{JobIDs: []int64{}}, []int64{}},
			{"handler", durable.Selection{Handler: "ops.a"}, []int64{a1, a2}},
			{"no such handler", durable.Selection{Handler: "ops"}, []int64{}},
			{"event", durable.Selection{EventID: accepted[1].EventID()}, []int64{b2, a2}},
			{"type", durable.Selection{EventType: "clients.created"}, []int64{c}},
			{"before", durable.Selection{Before: at.Add(2 * time.Second)}, []int64{c, b2}},
			{"just after", durable.Selection{Before: at.Add(2*time.Second + time.Millisecond)}, []int64{c, b2, a1, a2}},
			{"in another zone", durable.Selection{Before: at.Add(2 * time.Second).In(time.FixedZone("x", 5*3600))}, []int64{c, b2}},
			{"limit", durable.Selection{Limit: 3}, []int64{c, b2, a1}},
			{"high limit", durable.Selection{Limit: 300}, []int64{c, b2, a1, a2, b1}},
			{"several", durable.Selection{Handler: "ops.b", EventType: "crm.accepted", Before: at.Add(time.Hour), Limit: 1, All: true}, []int64{b2}},
			{"all with another", durable.Selection{Handler: "ops.a", EventID: accepted[0].EventID(), All: true}, []int64{a1}},
			{"nothing meets all", durable.Selection{Handler: "ops.c", EventType: "crm.accepted"}, []int64{}},
			{"not SQL", durable.Selection{Handler: "' OR 1=1 --", EventType: `\`}, []int64{}},
		} {
			require.Equal(t, tt.want, deadIDs(t, jobs, tt.selected), tt.name)
			tt.selected.All = true // for "zero" and "limit"
			for _, test := range []struct {
				name   string
				change func(context.Context, durable.Selection) (int, error)
			}{{"retry", jobs.Retry}, {"discard", jobs.Discard}} {
				err := h.transact(t.Context(), func(ctx context.Context) error {
					n, err := test.change(ctx, tt.selected)
					require.NoError(t, err)
					require.Equal(t, len(tt.want), n, "%s %s", test.name, tt.name)
					left, err := jobs.Dead(ctx, durable.Selection{})
					require.NoError(t, err)
					for _, job := range left {
						require.NotContains(t, tt.want, job.ID, "%s %s", test.name, tt.name)
					}
					require.Len(t, left, 5-n, "%s %s", test.name, tt.name)
					return errRollBack
				})
				require.ErrorIs(t, err, errRollBack)
			}
		}
		require.Len(t, deadIDs(t, jobs, durable.Selection{}), 5, "all was rolled back")
	})
}

func TestRetryAndDiscardRefuseSelectionsThatMayBeMistakes(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs := h.jobs(t, river.Config{})
		fill(t, h, 3, "discarded", time.Now())
		for _, selected := range []durable.Selection{{}, {Limit: 2}} {
			_, err := jobs.Retry(t.Context(), selected)
			require.EqualError(t, err, "durable: Retry: the Selection is empty: set All to mean every dead job")
			_, err = jobs.Discard(t.Context(), selected)
			require.EqualError(t, err, "durable: Discard: the Selection is empty: set All to mean every dead job")
		}
		_, err := jobs.Dead(t.Context(), durable.Selection{Limit: -1})
		require.EqualError(t, err, "durable: Dead: the Limit -1 is negative: 0 means no limit")
		_, err = jobs.Retry(t.Context(), durable.Selection{All: true, Limit: -2})
		require.EqualError(t, err, "durable: Retry: the Limit -2 is negative: 0 means no limit")
		_, err = jobs.Discard(t.Context(), durable.Selection{All: true, Limit: -2})
		require.ErrorContains(t, err, "durable: Discard: ")
		require.Len(t, deadIDs(t, jobs, durable.Selection{}), 3)
	})
}

// More than are read, and changed, at once.
func TestManyDeadJobs(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs := h.jobs(t, river.Config{})
		at := time.Now().Add(-time.Hour)
		fill(t, h, 900, "discarded", at)
		fill(t, h, 1300, "cancelled", at.Add(100*time.Millisecond)) // between them
		require.NoError(t, h.exec(t.Context(), "UPDATE river_job SET finalized_at = (SELECT finalized_at FROM river_job WHERE id = 950) WHERE id > 950 AND id < 1400"))

		dead, err := jobs.Dead(t.Context(), durable.Selection{})
		require.NoError(t, err)
		require.Len(t, dead, 2200)
		for i := range dead[1:] {
			a, b := dead[i], dead[i+1]
			if !a.EndedAt.Equal(b.EndedAt) {
				require.True(t, a.EndedAt.Before(b.EndedAt))
			} else {
				require.Less(t, a.ID, b.ID)
			}
		}
		require.Equal(t, deadIDs(t, jobs, durable.Selection{})[:1000], deadIDs(t, jobs, durable.Selection{Limit: 1000}), "just a page")
		require.Equal(t, deadIDs(t, jobs, durable.Selection{})[:1001], deadIDs(t, jobs, durable.Selection{Limit: 1001}))

		n, err := jobs.Retry(t.Context(), durable.Selection{All: true, Limit: 1201})
		require.NoError(t, err)
		require.Equal(t, 1201, n)
		left := deadIDs(t, jobs, durable.Selection{})
		require.Len(t, left, 999)
		require.Equal(t, dead[1201].ID, left[0], "the oldest went first")
		n, err = jobs.Discard(t.Context(), durable.Selection{All: true})
		require.NoError(t, err)
		require.Equal(t, 999, n)
		counts, err := jobs.Counts(t.Context())
		require.NoError(t, err)
		require.Equal(t, map[string]durable.Counts{"ops.filled": {Waiting: 1201}}, counts)
	})
}
