package main

import (
	"context"

	"github.com/tidings-go/tidings/eventlog"
	"github.com/tidings-go/tidings/examples/proposals/internal/report"
	"github.com/tidings-go/tidings/examples/proposals/reports"
)

// replay empties the read model of reports and replays the log to its handler, and
// to no other. The handler is idempotent, so it may also run live meanwhile.
func (m *monolith) replay(ctx context.Context, file string, out *report.Report) error {
	before, err := m.reports.Firms(ctx)
	if err != nil {
		return err
	}
	if err := m.reports.Clear(ctx); err != nil {
		return err
	}
	out.Replay(file, reports.Handler)
	progress := eventlog.Progress(func(p eventlog.ReplayProgress) { out.Replayed(p.Done, p.Total) })
	done, err := m.log.Backfill(ctx, m.bus, reports.Handler, progress)
	if err != nil {
		return err
	}
	after, err := m.reports.Firms(ctx)
	if err != nil {
		return err
	}
	out.Rebuilt(done.Handled, before, after)
	return out.Err()
}
