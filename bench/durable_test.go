package bench_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/bench"
)

// Both check by themselves that every job is done, and that once.
func TestDurableCosts(t *testing.T) {
	const jobs = 1_150 // no multiple of what is inserted in a transaction
	r, err := bench.Run(bench.Plan{Count: 2, Time: time.Millisecond, Jobs: jobs}, regexp.MustCompile("^durable-(work|start)$"), func(string) {})
	require.NoError(t, err)
	databases := []string{"SQLite", "Postgres, pgx"}
	if len(r.LeftOut) > 0 {
		require.Len(t, r.LeftOut, 2)
		require.Contains(t, r.LeftOut[0], "durable-work on Postgres: TIDINGS_POSTGRES_URL is not set")
		require.Contains(t, r.LeftOut[1], "durable-start on Postgres: TIDINGS_POSTGRES_URL is not set")
		databases = databases[:1]
	}
	require.Len(t, r.DurableWork, len(databases))
	require.Len(t, r.DurableStarts, len(databases))
	for i, database := range databases {
		work, start := r.DurableWork[i], r.DurableStarts[i]
		require.Equal(t, database, work.Database)
		require.Equal(t, jobs, work.Jobs)
		require.Positive(t, work.Bare.NS)
		require.Positive(t, work.Ours.NS)
		require.Equal(t, database, start.Database)
		require.Equal(t, 2*(jobs/50), start.Starts)
		require.GreaterOrEqual(t, start.Bare.P99, start.Bare.P50)
		require.GreaterOrEqual(t, start.Ours.P99, start.Ours.P50)
	}
	var page strings.Builder
	require.NoError(t, bench.WriteMarkdown(&page, bench.Heading{}, r))
	require.Contains(t, page.String(), "\n## Durable handlers: working jobs\n\n1,150 jobs wait in a new database; then the client starts with ")
	require.Contains(t, page.String(), "\n## Durable handlers: from the commit to the start\n")
	require.Contains(t, page.String(), "\n| SQLite | 46 | ")
	if len(r.LeftOut) > 0 {
		skipWithoutServices(t, r.LeftOut[0])
	}
}
