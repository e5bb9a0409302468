package bench_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/bench"
)

// A subject that stored nothing would be the fastest of all.
func TestAppendingSubjectsStoreEveryEvent(t *testing.T) {
	for _, c := range bench.Cases() {
		each := 1
		switch {
		case strings.HasPrefix(c.Key, "log-append-100-"):
			each = 100
		case strings.HasPrefix(c.Key, "durable-publish-1000-"):
			each = 1000
		case strings.HasPrefix(c.Key, "log-append-"), strings.HasPrefix(c.Key, "durable-publish-"):
		default:
			continue
		}
		for _, subject := range c.Subjects {
			t.Run(c.Key+"/"+subject.Name, func(t *testing.T) {
				skipWithoutServices(t, c.Skip)
				runner, err := subject.Setup()
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, runner.Close()) })
				require.Zero(t, runner.Delivered())
				for _, n := range []int{1, 2} {
					before := runner.Delivered()
					require.NoError(t, runner.Do(0, n))
					require.EqualValues(t, n*each, runner.Delivered()-before)
				}
			})
		}
	}
}

func TestLogReadCosts(t *testing.T) {
	const events = 1_234 // more than a page, and no multiple of one
	costs, left, err := bench.LogReadCosts(bench.Plan{Count: 2, Time: time.Millisecond, Events: events})
	require.NoError(t, err)
	databases := []string{"SQLite", "Postgres, database/sql", "Postgres, pgx"}
	if len(left) > 0 {
		require.Len(t, left, 1)
		require.Contains(t, left[0], "log-read on Postgres: TIDINGS_POSTGRES_URL is not set")
		databases = databases[:1]
	}
	require.Len(t, costs, 2*len(databases))
	for i, c := range costs {
		require.Equal(t, databases[i/2], c.Database)
		require.Equal(t, []int{events / 100, events}[i%2], c.Events)
		require.Equal(t, events, c.Of)
		require.Positive(t, c.Bare.NS)
		require.Positive(t, c.Ours.NS)
		require.Positive(t, c.HeapBytes, "it was looked at while reading")
	}
	if len(left) > 0 {
		skipWithoutServices(t, left[0])
	}
}

func TestReportSaysWhatIsLeftOut(t *testing.T) {
	t.Setenv("TIDINGS_POSTGRES_URL", "")
	var said []string
	r, err := bench.Run(bench.Plan{Count: 1, Time: time.Millisecond, Events: 100}, regexp.MustCompile("^(log-append-pgx|log-read|encode)$"),
		func(line string) { said = append(said, line) })
	require.NoError(t, err)
	require.Equal(t, []string{
		`log-append-pgx: TIDINGS_POSTGRES_URL is not set: scripts/services up, then eval "$(scripts/services env)"`,
		`log-read on Postgres: TIDINGS_POSTGRES_URL is not set: scripts/services up, then eval "$(scripts/services env)"`,
	}, r.LeftOut)
	require.Len(t, said, 3)
	require.Contains(t, said[0], "log-append-pgx is left out: TIDINGS_POSTGRES_URL is not set")
	require.Len(t, r.Tables, 1)
	var page strings.Builder
	require.NoError(t, bench.WriteMarkdown(&page, bench.Heading{}, r))
	require.Contains(t, page.String(), "\nLeft out:\n\n- log-append-pgx: TIDINGS_POSTGRES_URL is not set")
	require.Contains(t, page.String(), "\n| SQLite | 100 | ")
	require.Contains(t, page.String(), "| Log: append 1, Postgres, pgx | ≤ 1.15x insert |  | not measured |")
}
