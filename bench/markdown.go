package bench

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unsafe"
)

// A Heading says how a report came about.
type Heading struct {
	Machine Machine
	Date    time.Time
	Command string
	Plan    Plan
}

// WriteMarkdown writes the report as a page.
func WriteMarkdown(w io.Writer, h Heading, r Report) error {
	var page strings.Builder
	writeHeading(&page, h)
	writeContenders(&page)
	for _, table := range r.Tables {
		if table.Case.Key == keyTwo {
			writeThroughput(&page, r, table)
			continue
		}
		writeTable(&page, table)
	}
	if r.Subscriptions != nil {
		writeSubscriptions(&page, r.Subscriptions)
	}
	if r.Queue != nil {
		writeQueue(&page, r.Queue)
	}
	if r.LogReads != nil {
		writeLogReads(&page, r.LogReads)
	}
	if r.DurableWork != nil {
		writeDurableWork(&page, r.DurableWork)
	}
	if r.DurableStarts != nil {
		writeDurableStarts(&page, r.DurableStarts)
	}
	if r.Relays != nil {
		writeRelays(&page, r.Relays)
	}
	writeBars(&page, Bars(r))
	writeLeftOut(&page, r.LeftOut)
	_, err := io.WriteString(w, page.String())
	return err
}

func writeHeading(page *strings.Builder, h Heading) {
	fmt.Fprintf(page, `# Benchmarks

tidings beside the bare minimum, a loop over `+"`[]func(context.Context, E) error`"+`, and beside other event buses: the same event, the same handlers, the same run.
Trust the ratios; the times are this machine's.

- Machine: %s
- Date: %s
- Command, from the root of the repository: `+"`%s`"+`

Every figure is the median of %d measurements of about %v each. A measurement is a loop around direct calls of the contender, not `+"`testing.B`"+`,
timed as a whole, on a bus set up afresh and after a garbage collection. The contenders take turns: each round measures every one of them once and
begins with another, so that noise hits all alike. Bytes and allocations are those of the heap, from `+"`runtime.MemStats`"+`.

The event is %d bytes, by value: the header of a tidings event and two numbers. It is stamped beforehand, except where stamping is the case.
Every handler increments a counter of the publishing goroutine, and nothing else; where handlers run in goroutines of their own, an atomic one of the handler.
`, h.Machine, h.Date.UTC().Format(time.DateOnly), h.Command, h.Plan.Count, h.Plan.Time, unsafe.Sizeof(OrderPlaced{}))
}

func writeContenders(page *strings.Builder) {
	page.WriteString("\n## Contenders\n\n| name | module | version | remarks |\n|---|---|---|---|\n")
	for _, c := range Contenders() {
		module, version := "–", "–"
		if c.Module != "" {
			module = c.Module
		}
		if c.Name == Tidings {
			version = "this one"
		} else if v := c.Version(); v != "" {
			version = v
		}
		fmt.Fprintf(page, "| %s | %s | %s | %s; %s |\n", c.Name, module, version, c.Remarks(), c.Note)
	}
}

func writeTable(page *strings.Builder, t Table) {
	fmt.Fprintf(page, "\n## %s\n\n%s\n\n| %s | ns/op | x %s | B/op | allocs/op | remarks |\n|---|--:|--:|--:|--:|---|\n",
		t.Case.Title, t.Case.Note, t.Case.Key, t.Case.Baseline)
	baseline, _ := t.Row(t.Case.Baseline, 1)
	for _, row := range t.Rows {
		s := row.Sample
		fmt.Fprintf(page, "| %s | %s | %s | %s | %s | %s |\n", row.Subject.Name,
			Number(s.NS), Ratio(s.NS/baseline.Sample.NS), Count(s.Bytes), Count(s.Allocs), row.Subject.Note)
	}
}

func writeThroughput(page *strings.Builder, r Report, t Table) {
	fmt.Fprintf(page, "\n## %s\n\n%s\n\n| %s | ns/event, one | ns/event, two | throughput of two | remarks |\n|---|--:|--:|--:|---|\n",
		t.Case.Title, t.Case.Note, t.Case.Key)
	for _, row := range t.Rows {
		if row.Subject.Goroutines != 2 {
			continue
		}
		one, _ := t.Row(row.Subject.Name, 1)
		throughput, _ := r.throughput(row.Subject.Name)
		fmt.Fprintf(page, "| %s | %s | %s | %sx | %s |\n", row.Subject.Name,
			Number(one.Sample.NS), Number(row.Sample.NS), Ratio(throughput), row.Subject.Note)
	}
}

func writeSubscriptions(page *strings.Builder, costs []SubscriptionCost) {
	fmt.Fprintf(page, `
## Subscriptions

To one event type, on a new bus: %s of them and %s. Growth is the one time over the other: 10 is linear, 100 quadratic. Bytes are what the bus of %s retains for each;
the handler is one function, which takes none. Contenders that need a goroutine for each handler are left out.

| %s | ms for %s | ms for %s | growth | ns each | B each |
|---|--:|--:|--:|--:|--:|
`, Whole(FewSubscriptions), Whole(ManySubscriptions), Whole(ManySubscriptions), keySubscriptions, Whole(FewSubscriptions), Whole(ManySubscriptions))
	for _, c := range costs {
		fmt.Fprintf(page, "| %s | %s | %s | %s | %s | %s |\n", c.Contender,
			Number(float64(c.Few)/1e6), Number(float64(c.Many)/1e6), Ratio(c.Growth()),
			Number(float64(c.Many)/ManySubscriptions), Number(c.BytesEach))
	}
}

func writeQueue(page *strings.Builder, costs []QueueCost) {
	fmt.Fprintf(page, `
## Queueing in a transaction

Events published in one `+"`tidings.Transact`"+` whose TxFunc does nothing, and delivered to one handler after its commit. Time, bytes and allocations are those of the publishing;
held is the heap in use for each event while all are queued.

| %s | ns/event | B/event | allocs/event | B held | ns/event to deliver | delivered |
|---|--:|--:|--:|--:|--:|--:|
`, keyQueue)
	for _, c := range costs {
		fmt.Fprintf(page, "| %s events | %s | %s | %s | %s | %s | %s |\n", Whole(c.Events),
			Number(c.Queued.NS), Number(c.Queued.Bytes), Count(c.Queued.Allocs), Number(c.HeapBytes), Number(c.DeliverNS), Whole(c.Delivered))
	}
}

func writeBars(page *strings.Builder, bars []Bar) {
	page.WriteString("\n## Bars\n\nWhat tidings is to keep to, and whether it did in this run.\n\n| case | bar | measured | |\n|---|---|---|---|\n")
	missed, unknown := 0, 0
	for _, bar := range bars {
		switch bar.Verdict {
		case Missed:
			missed++
		case NotMeasured:
			unknown++
		}
		fmt.Fprintf(page, "| %s | %s | %s | %s |\n", bar.Case, bar.Limit, bar.Measured, bar.Verdict)
	}
	fmt.Fprintf(page, "\n%d of %d bars met, %d missed, %d not measured.\n", len(bars)-missed-unknown, len(bars), missed, unknown)
}

func writeLogReads(page *strings.Builder, costs []LogReadCost) {
	fmt.Fprintf(page, `
## The log: reading

A log of %s events, from the first on, decoded. By hand it is one query, scanned into plain variables, and json.Unmarshal of the data; with tidings, `+"`Log.Read`"+`. Each reading is of all the events of its row, and there are three at most.
Heap is the most that was in use on top while `+"`Log.Read`"+` was reading, looked at ten times, in a run of its own.

| %s | events | ns/event by hand | ns/event | x by hand | B/event by hand | B/event | allocs/event by hand | allocs/event | B heap |
|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|
`, Whole(costs[0].Of), keyRead)
	for _, c := range costs {
		fmt.Fprintf(page, "| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", c.Database, Whole(c.Events),
			Number(c.Bare.NS), Number(c.Ours.NS), Ratio(c.Ratio()), Count(c.Bare.Bytes), Count(c.Ours.Bytes), Count(c.Bare.Allocs), Count(c.Ours.Allocs), Number(c.HeapBytes))
	}
}

func writeLeftOut(page *strings.Builder, left []string) {
	if len(left) == 0 {
		return
	}
	page.WriteString("\nLeft out:\n\n")
	for _, line := range left {
		fmt.Fprintf(page, "- %s\n", line)
	}
}
