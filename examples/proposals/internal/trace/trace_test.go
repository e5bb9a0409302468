package trace_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
	"github.com/tidings-go/tidings/examples/proposals/internal/database/databasetest"
	"github.com/tidings-go/tidings/examples/proposals/internal/trace"
	"github.com/tidings-go/tidings/tidingstest"
)

type asked struct {
	tidings.DomainEvent
	N int
}

type answered struct {
	tidings.DomainEvent
	N int
}

// newTrace returns a trace and a log of one bus.
func newTrace(t *testing.T) (*trace.Trace, *eventlog.Log, *tidings.EventBus, *sql.DB) {
	t.Helper()
	db := databasetest.New(t)
	var registry tidings.Registry
	tidings.Register[asked](&registry, "test.asked", 1)
	tidings.Register[answered](&registry, "test.answered", 1)
	log, err := eventlog.Open(t.Context(), eventlog.SQLite(db), &registry)
	require.NoError(t, err)
	tr := &trace.Trace{}
	bus := tidingstest.NewBus(t, tidings.WithErrorHandler(tr.HandleError))
	log.Attach(bus)
	tr.Register(bus)
	return tr, log, bus, db
}

func workflow(t *testing.T, tr *trace.Trace, log *eventlog.Log, id uuid.UUID) string {
	t.Helper()
	logged, err := log.Workflow(t.Context(), id)
	require.NoError(t, err)
	return show(tr.Workflow(logged, id))
}

func TestWorkflow(t *testing.T) {
	t.Parallel()
	tr, log, bus, _ := newTrace(t)
	tidings.Subscribe(bus, func(ctx context.Context, e asked) error {
		for i := range e.N {
			if err := tidings.Publish(ctx, bus, answered{N: i}); err != nil {
				return err
			}
		}
		return nil
	})

	first, second := uuid.New(), uuid.New()
	for _, id := range []uuid.UUID{first, second, first} {
		require.NoError(t, tidings.Publish(tidings.WithCorrelationID(t.Context(), id), bus, asked{N: 2}))
	}
	require.Equal(t, "asked 2 (answered 0, answered 1), asked 2 (answered 0, answered 1)", workflow(t, tr, log, first))
	require.Equal(t, "asked 2 (answered 0, answered 1)", workflow(t, tr, log, second))
	require.Empty(t, workflow(t, tr, log, uuid.New()))
	require.Zero(t, tr.RolledBack())
}

func TestWorkflow_RolledBackAndFailed(t *testing.T) {
	t.Parallel()
	tr, log, bus, db := newTrace(t)
	tidings.Subscribe(bus, func(ctx context.Context, e asked) error {
		return tidings.InTx(ctx, db, nil, func(ctx context.Context, _ *sql.Tx) error {
			if err := tidings.Publish(ctx, bus, answered{N: e.N}); err != nil {
				return err
			}
			return errors.New("changed my mind")
		})
	}, tidings.Named("answer"))

	id := uuid.New()
	err := tidings.InTx(tidings.WithCorrelationID(t.Context(), id), db, nil, func(ctx context.Context, _ *sql.Tx) error {
		return tidings.Publish(ctx, bus, asked{N: 1})
	})
	require.NoError(t, err)
	require.Equal(t, "asked 1 [answer: changed my mind] (-answered 1)", workflow(t, tr, log, id))
	require.Len(t, tr.Failures(), 1)
	require.Equal(t, 1, tr.RolledBack())
}

// show writes a tree on one line.
func show(nodes []*trace.Node) string {
	var all []string
	for _, n := range nodes {
		s := ""
		if n.RolledBack {
			s = "-"
		}
		switch e := n.Event.(type) {
		case asked:
			s += fmt.Sprint("asked ", e.N)
		case answered:
			s += fmt.Sprint("answered ", e.N)
		}
		for _, f := range n.Failures {
			s += fmt.Sprintf(" [%s: %v]", f.Handler, f.Err)
		}
		if len(n.Effects) > 0 {
			s += " (" + show(n.Effects) + ")"
		}
		all = append(all, s)
	}
	return strings.Join(all, ", ")
}
