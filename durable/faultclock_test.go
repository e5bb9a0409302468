package durable_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
)

// The job of a worker that is alive is given to another one, since its clock
// is an hour behind: to the others the attempt looks an hour old. The same
// happens where the leader's clock is ahead, and after a machine was
// suspended. Both attempts end, in either order: one of them has an effect.
func TestFaultTwoAttemptsAtOnce(t *testing.T) {
	t.Parallel()
	faultsTakeTime(t)
	tests := map[string]func(*testing.T){}
	for _, on := range []string{"sqlite", "sql", "pgx"} {
		for _, tt := range []struct {
			name          string
			first, second string // where the attempts hang
			reason        string
		}{
			{"late", atBegin, "", "it begins when the job is done"},
			{"overtakes", atBegin, atBegin, "it ends while the second attempt runs, which then fails as well"},
			{"both have written", atHandler, atHandler, "and the first one ends first"},
			{"one after the other has written", atHandler, "", "and the second one ends first"},
		} {
			if on == "sqlite" && tt.first == atHandler {
				continue // it has one writer
			}
			tests[on+" "+tt.name] = func(t *testing.T) { twoAttempts(t, openFault(t, on), tt.first, tt.second, tt.reason) }
		}
	}
	together(t, tests)
}

func twoAttempts(t *testing.T, h harness, first, second, reason string) {
	w := newFaultWorker(t, h, faultPlan{Name: "parent"}, effectHandler)
	require.NoError(t, w.order(t.Context(), h, tidings.Stamp(t.Context(), Accepted{Number: "1"})))

	dueForAll(t, h)
	// No handler is in order: with one, Start has a transaction of its own.
	handlers := []string{effectHandler}
	one := startWorking(t, h, faultPlan{Name: "one", Handlers: handlers, Clock: -time.Hour, HangAt: first})
	one.hear(t, "hung")
	withoutLeader(t, h)
	two := startWorking(t, h, faultPlan{Name: "two", Handlers: handlers, HangAt: second})
	if second == "" {
		allDone(t, h)
	} else {
		two.hear(t, "hung")
		require.GreaterOrEqual(t, h.count(t, "SELECT attempt FROM river_job"), 2)
	}
	one.tell("go")
	calls := one.stop(t) // once its attempt has ended
	two.tell("go")
	allDone(t, h)
	calls += two.stop(t)
	require.GreaterOrEqual(t, calls, 2)
	t.Logf("%s: the handler ran %d times", h.name, calls)
	balanced(t, h, 1, effectHandler)
	require.Contains(t, strings.Join(one.heard, "\n"), "came too late", reason)
}

// The rescuer reads which jobs are stuck, and then makes them run again,
// without another look. A job that is completed in between runs again.
func TestFaultRescuedOnceCompleted(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		faultTables(t, h)
		w := newFaultWorker(t, h, faultPlan{Name: "parent"}, effectHandler, orderedHandler)
		for n := range 3 {
			require.NoError(t, w.order(t.Context(), h, tidings.Stamp(t.Context(), Accepted{Number: "1", Total: int64(n)})))
		}
		start(t, w.jobs)
		allDone(t, h)
		stop(t, w.jobs) // River panics if a job runs again before it is reported
		// What the rescuer does, and later the scheduler.
		require.NoError(t, h.exec(t.Context(), "UPDATE river_job SET state = 'available', finalized_at = NULL"))
		start(t, w.jobs)
		allDone(t, h)
		require.Equal(t, 6, h.count(t, "SELECT count(*) FROM river_job WHERE attempt = 2"))
		balanced(t, h, 3, effectHandler, orderedHandler)
	})
}

// dueForAll makes jobs due also by a clock that is behind.
func dueForAll(t *testing.T, h harness) {
	t.Helper()
	require.NoError(t, h.exec(t.Context(), "UPDATE river_job SET scheduled_at = '2020-01-01 00:00:00.000'"))
}

// Workers whose clocks are an hour ahead, right, and an hour behind work the
// same queue. The ones with the right time come and go, and take what the one
// behind is working on for stuck.
func TestFaultSkewedClocks(t *testing.T) {
	t.Parallel()
	faultsTakeTime(t)
	alongside(t, []string{"sqlite", "sql", "pgx"}, func(t *testing.T, h harness) {
		w := newFaultWorker(t, h, faultPlan{Name: "parent"}, effectHandler, orderedHandler)
		orders := 150
		if !h.postgres() {
			orders = 40
		}
		for n := range orders {
			e := tidings.Stamp(t.Context(), Accepted{Number: fmt.Sprint(n % 40), Total: int64(n)})
			require.NoError(t, w.order(t.Context(), h, e))
		}
		dueForAll(t, h)
		plan := faultPlan{Workers: 5, Works: 100 * time.Millisecond, JobTimeout: 2 * time.Second, RescueAfter: 2 * time.Second}
		if !h.postgres() {
			plan.Works /= 10 // it is the only one meanwhile
		}
		plan.Name, plan.Clock = "behind", -time.Hour
		behind := startWorking(t, h, plan)
		plan.Name, plan.Clock = "ahead", time.Hour
		ahead := startWorking(t, h, plan)
		killed := 0
		plan.Name, plan.Clock, plan.Workers = "right", 0, 1
		right := startWorking(t, h, plan)
		for ; killed < 4; killed++ {
			withoutLeader(t, h)
			next := startWorking(t, h, plan)
			<-time.After(500 * time.Millisecond)
			right.kill(t)
			right = next
		}
		allDone(t, h, func() {
			for _, c := range []**faultChild{&behind, &ahead, &right} {
				*c = (*c).alive(t, h)
			}
		})
		calls := behind.stop(t) + ahead.stop(t) + right.stop(t)
		var each []string
		for _, name := range []string{"behind", "right", "ahead"} {
			n := h.count(t, "SELECT count(*) FROM effects WHERE process = '"+name+"'")
			each = append(each, fmt.Sprintf("%s %d", name, n))
		}
		rescued := h.count(t, "SELECT count(*) FROM river_job WHERE metadata ->> 'river:rescue_count' IS NOT NULL")
		t.Logf("%s: %d calls of handlers and those of %d processes that were killed; %d jobs rescued; effects by clock: %s", h.name, calls, killed, rescued, strings.Join(each, ", "))
		balanced(t, h, orders, effectHandler, orderedHandler)
	})
}
