// Package report prints what the program did.
package report

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/google/uuid"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/proposals/crm"
	"github.com/tidings-go/tidings/examples/proposals/internal/database"
	"github.com/tidings-go/tidings/examples/proposals/internal/trace"
	"github.com/tidings-go/tidings/examples/proposals/reports"
)

// A Report writes the sections of the output. Write errors are kept for Err.
type Report struct {
	w *bufio.Writer
}

// New returns a report that goes to w.
func New(w io.Writer) *Report { return &Report{bufio.NewWriter(w)} }

// Err returns the first error of writing.
func (r *Report) Err() error { return r.w.Flush() }

// section writes a title and, below it, rows of tab-separated columns.
func (r *Report) section(title string, rows []string) {
	fmt.Fprintln(r.w, title)
	table := tabwriter.NewWriter(r.w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(table, "  "+row)
	}
	_ = table.Flush() // writes to r.w, which keeps errors for Err
	fmt.Fprintln(r.w)
	_ = r.w.Flush()
}

func row(columns ...any) string {
	s := make([]string, len(columns))
	for i, c := range columns {
		s[i] = fmt.Sprint(c)
	}
	return strings.Join(s, "\t")
}

// Sources shows the files that the program reads and writes.
func (r *Report) Sources(csv, db string) {
	r.section("Files", []string{row("from", csv), row("into", db)})
}

// Handlers shows which handlers each event has.
func (r *Report) Handlers(subscriptions []tidings.SubscriptionInfo) {
	rows := []string{row("EVENT", "HANDLER", "PHASE")}
	for _, s := range subscriptions {
		rows = append(rows, row(s.EventType, s.Handler, s.Phase))
	}
	r.section("Handlers", rows)
}

// Import shows what was read, and which lines were not.
func (r *Report) Import(i crm.Import) {
	rows := make([]string, len(i.Rejected))
	for n, rejected := range i.Rejected {
		rows[n] = row(fmt.Sprintf("line %3d", rejected.Line), rejected.Err)
	}
	r.section(fmt.Sprintf("Rejected lines: %d of %d", len(i.Rejected), i.Lines), rows)

	rows = make([]string, len(i.Proposals))
	added := 0
	for n, p := range i.Proposals {
		status := "known"
		if p.New {
			status = "new"
			added++
		}
		rows[n] = row(p.Number, p.Firm, p.Type, p.Company, fmt.Sprintf("%14s", p.Amount), status)
	}
	r.section(fmt.Sprintf("Proposals: %d of %d lines, %d new", len(i.Proposals), i.Lines, added), rows)
}

// Accepted shows the workflow that an acceptance started, and the errors that the
// bus's error handler got.
func (r *Report) Accepted(p crm.Proposal, workflow uuid.UUID, roots []*trace.Node, failures []error) {
	r.section(fmt.Sprintf("%s accepted, workflow %s", p.Number, workflow), tree(roots))
	if len(failures) == 0 {
		return
	}
	rows := make([]string, len(failures))
	for i, err := range failures {
		rows[i] = err.Error()
	}
	r.section(fmt.Sprintf("%s stays accepted: an after-commit handler failed", p.Number), rows)
}

// RolledBack shows an acceptance that a handler refused.
func (r *Report) RolledBack(p crm.Proposal, workflow uuid.UUID, roots []*trace.Node, reason error) {
	rows := tree(roots)
	if refusal := (*tidings.HandlerError)(nil); errors.As(reason, &refusal) {
		rows = append(rows, row("refused by", refusal.Handler+", inside the transaction"))
		reason = refusal.Err
	}
	rows = append(rows, row("because", reason))
	r.section(fmt.Sprintf("%s rolled back and not delivered, workflow %s", p.Number, workflow), rows)
}

// AcceptedBefore shows what an acceptance has started in an earlier run.
func (r *Report) AcceptedBefore(p crm.Proposal, workflow uuid.UUID, roots []*trace.Node) {
	r.section(fmt.Sprintf("%s accepted in an earlier run, workflow %s", p.Number, workflow), tree(roots))
}

// tree draws events with their effects below them.
func tree(nodes []*trace.Node) []string {
	var rows []string
	for _, n := range nodes {
		rows = append(rows, branch(n, "", "")...)
	}
	return rows
}

func branch(n *trace.Node, first, rest string) []string {
	text := fmt.Sprint(n.Event)
	if n.RolledBack {
		text += " (rolled back)"
	}
	rows := []string{row(first+reflect.TypeOf(n.Event).Name(), text)}
	for i, f := range n.Failures {
		rows = append(rows, row(rest+joint(i == len(n.Failures)-1 && len(n.Effects) == 0)+"failed", f.Handler))
	}
	for i, effect := range n.Effects {
		last := i == len(n.Effects)-1
		indent := "│  "
		if last {
			indent = "   "
		}
		rows = append(rows, branch(effect, rest+joint(last), rest+indent)...)
	}
	return rows
}

func joint(last bool) string {
	if last {
		return "└─ "
	}
	return "├─ "
}

// Sales shows the sales of each firm.
func (r *Report) Sales(firms []reports.Firm) {
	rows := []string{row("FIRM", "COMPANIES", "CONTRACTS", "        AMOUNT")}
	for _, f := range firms {
		rows = append(rows, row(f.Name, fmt.Sprintf("%9d", f.Companies), fmt.Sprintf("%9d", f.Contracts), fmt.Sprintf("%14s", f.Amount)))
	}
	r.section("Sales, from the read model of reports", rows)
}

// Replay begins to show the replay of a handler.
func (r *Report) Replay(db, handler string) {
	r.section("Files", []string{row("log in", db)})
	fmt.Fprintf(r.w, "Replay to %s, whose table was emptied\n", handler)
}

// Replayed shows the progress of the replay, in tenths.
func (r *Report) Replayed(done, total int) {
	if tenth := total / 10; tenth > 0 && done%tenth != 0 && done != total {
		return
	}
	fmt.Fprintf(r.w, "  %*d of %d\n", len(fmt.Sprint(total)), done, total)
	_ = r.w.Flush() // which keeps the error for Err
}

// Rebuilt shows the result of the replay.
func (r *Report) Rebuilt(events int, before, after []reports.Firm) {
	fmt.Fprintln(r.w)
	r.Sales(after)
	verdict := "as before"
	if !slices.Equal(before, after) {
		verdict = "not what it was before"
	}
	fmt.Fprintf(r.w, "rebuilt from %d events: the read model is %s\n", events, verdict)
}

// Tables shows the rows of every table, and how many came in this run.
func (r *Report) Tables(before, after []database.Table) {
	rows := []string{row("MODULE", "TABLE", "ROWS", "NEW")}
	was := map[string]int{}
	for _, t := range before {
		was[t.Name] = t.Rows
	}
	for _, t := range after {
		module, table, _ := strings.Cut(t.Name, "_")
		rows = append(rows, row(module, table, fmt.Sprintf("%4d", t.Rows), fmt.Sprintf("%3d", t.Rows-was[t.Name])))
	}
	r.section("Rows in the tables of each module", rows)
}

// Totals has the counts of one run.
type Totals struct {
	Accepted, RolledBack, AcceptedBefore int // proposals
	EventsDelivered, EventsRolledBack    int
	HandlersFailed                       int  // after a commit
	Unchanged                            bool // no row of a table has changed
}

// Summary shows the totals.
func (r *Report) Summary(t Totals) {
	rows := []string{
		row("proposals", fmt.Sprintf("%d accepted, %d rolled back, %d accepted in an earlier run", t.Accepted, t.RolledBack, t.AcceptedBefore)),
		row("events", fmt.Sprintf("%d delivered, %d rolled back", t.EventsDelivered, t.EventsRolledBack)),
		row("handlers", fmt.Sprintf("%d failed after a commit", t.HandlersFailed)),
	}
	r.section("Summary", rows)
	if t.Unchanged && t.EventsDelivered == 0 {
		fmt.Fprintln(r.w, "no changes: nothing was delivered, and every row of every table is as it was before")
	}
}
