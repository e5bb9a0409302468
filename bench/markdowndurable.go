package bench

import (
	"fmt"
	"strings"
	"time"
)

func writeDurableWork(page *strings.Builder, costs []DurableWorkCost) {
	fmt.Fprintf(page, `
## Durable handlers: working jobs

%s jobs wait in a new database; then the client starts with %d workers, FetchCooldown %v and FetchPollInterval %v, and the time is that until the last handler has written. Every job writes one row, which is counted afterwards.
Bare is River's worker as its documentation has it: begin, the INSERT, river.JobCompleteTx, commit, of arguments that are a struct with the fields of the event. With tidings it is a durable handler with the same INSERT, on tables that have the indexes of Jobs.Migrate besides. Each run has new tables, and the two take turns. SQLite with synchronous=NORMAL.

| %s | jobs/s, River | jobs/s | x River | B/job, River | B/job | allocs/job, River | allocs/job |
|---|--:|--:|--:|--:|--:|--:|--:|
`, Whole(costs[0].Jobs), workers, fetchCooldown, fetchPoll, keyDurableWork)
	for _, c := range costs {
		fmt.Fprintf(page, "| %s | %s | %s | %s | %s | %s | %s | %s |\n", c.Database, Number(c.Bare.PerSecond()), Number(c.Ours.PerSecond()), Ratio(c.Ratio()),
			Count(c.Bare.Bytes), Count(c.Ours.Bytes), Count(c.Bare.Allocs), Count(c.Ours.Allocs))
	}
}

func writeDurableStarts(page *strings.Builder, costs []DurableStartCost) {
	fmt.Fprintf(page, `
## Durable handlers: from the commit to the start

How long a job waits for an idle worker: from when the publisher's commit has returned to the first line of River's Work, or of the durable handler, which has its transaction and its event by then. One job at a time, for each in turn, each in a database of its own, with both clients at work;
the configuration is that of working jobs. Before each there is a pause of %v to %v, by chance, so that it falls anywhere between two looks of River at the database. On Postgres River is notified; on SQLite its listener looks every now and then, which is most of the time.

| %s | starts | ms p50, River | ms p50 | x River | ms p99, River | ms p99 |
|---|--:|--:|--:|--:|--:|--:|
`, 2*fetchCooldown, 12*fetchCooldown, keyDurableStart)
	for _, c := range costs {
		fmt.Fprintf(page, "| %s | %s | %s | %s | %s | %s | %s |\n", c.Database, Whole(c.Starts),
			millis(c.Bare.P50), millis(c.Ours.P50), Ratio(c.Ratio()), millis(c.Bare.P99), millis(c.Ours.P99))
	}
}

func millis(d time.Duration) string { return Number(float64(d) / 1e6) }
