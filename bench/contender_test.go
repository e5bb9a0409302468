package bench_test

import (
	"os"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/bench"
)

// The tests of this package do not run in parallel: handlers count in one sink,
// and go-mediatr has one registry for the process.

func TestContendersDeliverEveryEventToEveryHandler(t *testing.T) {
	for _, contender := range bench.Contenders() {
		for _, handlers := range []int{0, 1, 10, 100} {
			t.Run(contender.Name+"/"+strconv.Itoa(handlers), func(t *testing.T) {
				runner, err := contender.Setup(handlers)
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, runner.Close()) })

				for _, n := range []int{1, 7, 0, 1} {
					before := runner.Delivered()
					require.NoError(t, runner.Do(0, n))
					require.NoError(t, runner.Finish())
					require.EqualValues(t, n*handlers, runner.Delivered()-before, "%d events", n)
				}
			})
		}
	}
}

func TestContendersDeliverFromTwoGoroutines(t *testing.T) {
	const events, handlers = 200, 3
	for _, contender := range bench.Contenders() {
		t.Run(contender.Name, func(t *testing.T) {
			runner, err := contender.Setup(handlers)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, runner.Close()) })

			before := runner.Delivered()
			var publishers sync.WaitGroup
			errs := make([]error, 2)
			for lane := range errs {
				publishers.Go(func() { errs[lane] = runner.Do(lane, events) })
			}
			publishers.Wait()
			require.NoError(t, errs[0])
			require.NoError(t, errs[1])
			require.NoError(t, runner.Finish())
			require.EqualValues(t, 2*events*handlers, runner.Delivered()-before)
		})
	}
}

func TestContendersAreToldApart(t *testing.T) {
	requirements, err := os.ReadFile("go.mod")
	require.NoError(t, err)

	seen := map[string]bool{}
	for _, contender := range bench.Contenders() {
		require.NotEmpty(t, contender.Name)
		require.NotContains(t, contender.Name, "/", "a slash would split the name of the sub-benchmark")
		require.NotEmpty(t, contender.Remarks())
		require.False(t, seen[contender.Name], "%s twice", contender.Name)
		seen[contender.Name] = true
		require.Contains(t, string(requirements), contender.Module, "the report looks its version up by this path")
	}
}
