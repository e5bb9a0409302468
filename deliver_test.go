package tidings_test

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/txtest"
)

func TestDeliverCallsOneHandlerByItsName(t *testing.T) {
	t.Parallel()
	d := &diary{}
	bus := tidings.New(tidings.WithMiddleware(traces(d, "bus")))
	var got clientCreated
	var effect projectCreated
	tidings.Subscribe(bus, func(ctx context.Context, e clientCreated) error {
		got = e
		d.add("onboard %d", e.ClientID)
		from, ok := tidings.EventFrom(ctx)
		require.True(t, ok)
		require.Equal(t, tidings.Event(e), from)
		return tidings.Publish(ctx, bus, projectCreated{})
	}, tidings.Named("clients.onboard"), traces(d, "own"))
	tidings.Subscribe(bus, writes[clientCreated](d, "unnamed"))
	tidings.Subscribe(bus, writes[clientCreated](d, "other"), tidings.Named("other"))
	tidings.Subscribe(bus, writes[audited](d, "family"), tidings.Named("family"))
	tidings.Subscribe(bus, func(_ context.Context, e projectCreated) error {
		effect = e
		return nil
	})

	event := tidings.Stamp(t.Context(), clientCreated{ClientID: 3})
	require.NoError(t, bus.Deliver(t.Context(), "clients.onboard", event))
	require.Equal(t, []string{"> bus", "> own", "onboard 3", "> bus", "family", "< bus", "> bus", "< bus", "< own", "< bus"}, d.read())
	require.Equal(t, event, got, "with the header that it has")
	require.Equal(t, event.EventID(), effect.CausationID())
	require.Equal(t, event.CorrelationID(), effect.CorrelationID())

	d.lines = nil
	require.NoError(t, bus.Deliver(t.Context(), "family", event), "a handler of an interface type")
	require.Equal(t, []string{"> bus", "family", "< bus"}, d.read())
}

func TestDeliverGivesACopy(t *testing.T) {
	t.Parallel()
	bus := tidings.New()
	tidings.Subscribe(bus, func(_ context.Context, e orderPlaced) error {
		e.Stock["apples"] = 99
		return nil
	}, tidings.Named("spoils"))
	event := tidings.Stamp(t.Context(), placed(nil))
	require.NoError(t, bus.Deliver(t.Context(), "spoils", event))
	require.Equal(t, 1, event.Stock["apples"])
}

func TestDeliverReturnsTheHandlersError(t *testing.T) {
	t.Parallel()
	bus := tidings.New()
	tidings.Subscribe(bus, func(context.Context, proposalAccepted) error { return errDeclined }, tidings.Named("fails"))
	tidings.Subscribe(bus, func(context.Context, proposalAccepted) error { panic(errDeclined) }, tidings.Named("panics"))
	event := tidings.Stamp(t.Context(), proposalAccepted{})
	for _, tt := range []struct {
		name string
		want string
	}{{"fails", "card declined"}, {"panics", "panic: card declined"}} {
		err := bus.Deliver(t.Context(), tt.name, event)
		require.EqualError(t, err, "tidings: "+tt.name+" handling tidings_test.proposalAccepted: "+tt.want)
		require.ErrorIs(t, err, errDeclined)
		var failed *tidings.HandlerError
		require.ErrorAs(t, err, &failed)
		require.Equal(t, tidings.Event(event), failed.Event)
	}
}

func TestDeliverRefuses(t *testing.T) {
	t.Parallel()
	bus := tidings.New()
	sub := tidings.Subscribe(bus, onAny[clientCreated], tidings.Named("a"))
	unnamed := tidings.Subscribe(bus, onAny[clientCreated])
	event := tidings.Stamp(t.Context(), clientCreated{})
	other := tidings.Stamp(t.Context(), proposalAccepted{})
	function := ""
	for _, s := range bus.Subscriptions() {
		if s.Handler != "a" {
			function = s.Handler
		}
	}
	require.NotEmpty(t, function)
	for _, tt := range []struct {
		name  string
		event tidings.Event
		want  string
	}{
		{"b", event, `tidings: there is no handler named "b": Subscribe one with Named("b") first`},
		{"", event, `tidings: there is no handler named "": Subscribe one with Named("") first`},
		{function, event, `tidings: there is no handler named "` + function + `": Subscribe one with Named("` + function + `") first`},
		{"a", other, "tidings: a handles tidings_test.clientCreated, but tidings_test.proposalAccepted was delivered to it"},
		{"a", &event, "tidings: *tidings_test.clientCreated is a pointer, which handlers would share: publish and subscribe to the struct tidings_test.clientCreated itself"},
		{"a", (*clientCreated)(nil), "tidings: *tidings_test.clientCreated is a pointer, which handlers would share: publish and subscribe to the struct tidings_test.clientCreated itself"},
		{"a", clientCreated{}, "tidings: Deliver of a tidings_test.clientCreated without a header: publish it, or use Stamp"},
		{"a", nil, "tidings: Deliver with a nil context or event"},
	} {
		require.EqualError(t, bus.Deliver(t.Context(), tt.name, tt.event), tt.want)
	}
	var none context.Context
	require.EqualError(t, bus.Deliver(none, "a", event), "tidings: Deliver with a nil context or event")
	require.NoError(t, bus.Deliver(t.Context(), "a", event))
	sub.Unsubscribe()
	unnamed.Unsubscribe()
	require.ErrorContains(t, bus.Deliver(t.Context(), "a", event), `there is no handler named "a"`)
}

func TestDeliverInATransaction(t *testing.T) {
	t.Parallel()
	r := txtest.NewSQLRig(t)
	r.SQL.Reset()
	type arrived struct{ tidings.DomainEvent }
	for _, phase := range []tidings.Phase{tidings.AfterCommit, tidings.InTransaction, tidings.BeforeCommit, tidings.AfterRollback} {
		tidings.Subscribe(r.Bus, func(ctx context.Context, _ arrived) error {
			tx, ok := tidings.TxFrom[*sql.Tx](ctx, r.DB)
			if !ok {
				return errors.New("not in a transaction")
			}
			if _, err := tx.ExecContext(ctx, "effect"); err != nil {
				return err
			}
			return r.Publish(ctx, 1)
		}, tidings.Named(phase.String()), phase)
		event := tidings.Stamp(t.Context(), arrived{})
		require.NoError(t, r.InTx(t.Context(), func(ctx context.Context, _ *sql.Tx) error {
			return r.Bus.Deliver(ctx, phase.String(), event)
		}))
		require.Equal(t, []string{"BEGIN", "effect", "I1", "B1", "COMMIT", "C1"}, r.Statements(), "now, whatever the phase of the handler is")
		require.ErrorContains(t, r.Bus.Deliver(t.Context(), phase.String(), event), "not in a transaction")
	}
}

func TestDeliverReachesHandlersOfTransports(t *testing.T) {
	t.Parallel()
	d := &diary{}
	bus, c := tidings.New(), &courier{}
	tidings.Subscribe(bus, writes[clientCreated](d, "via"), tidings.Named("via"), tidings.Via(c))
	tidings.Subscribe(bus, writes[clientCreated](d, "async"), tidings.Named("async"), tidings.Async())
	event := tidings.Stamp(t.Context(), clientCreated{})
	require.NoError(t, bus.Deliver(t.Context(), "via", event))
	require.NoError(t, bus.Deliver(t.Context(), "async", event))
	require.Equal(t, []string{"via", "async"}, d.read(), "here and now")
	require.Empty(t, c.sent())
}

func TestDeliverToOnce(t *testing.T) {
	t.Parallel()
	d, bus := &diary{}, tidings.New()
	tidings.Subscribe(bus, writes[clientCreated](d, "once"), tidings.Named("once"), tidings.Once())
	event := tidings.Stamp(t.Context(), clientCreated{})
	require.NoError(t, bus.Deliver(t.Context(), "once", event))
	require.ErrorContains(t, bus.Deliver(t.Context(), "once", event), `there is no handler named "once"`)
	require.NoError(t, tidings.Publish(t.Context(), bus, event))
	require.Equal(t, []string{"once"}, d.read())
}

func TestDeliverAfterClose(t *testing.T) {
	t.Parallel()
	d, bus := &diary{}, tidings.New()
	tidings.Subscribe(bus, writes[clientCreated](d, "called"), tidings.Named("a"))
	require.NoError(t, bus.Close(t.Context()))
	require.ErrorIs(t, bus.Deliver(t.Context(), "a", tidings.Stamp(t.Context(), clientCreated{})), tidings.ErrClosed)
	require.Empty(t, d.read())
}

func TestDeliverInAHandler(t *testing.T) {
	t.Parallel()
	d, bus := &diary{}, tidings.New()
	tidings.Subscribe(bus, func(ctx context.Context, e clientCreated) error {
		d.add("outer")
		return bus.Deliver(ctx, "inner", e)
	}, tidings.Named("outer"))
	tidings.Subscribe(bus, writes[clientCreated](d, "inner"), tidings.Named("inner"))
	event := tidings.Stamp(t.Context(), clientCreated{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := bus.Deliver(t.Context(), "outer", event); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.Len(t, d.read(), 16)
}

func TestDeliverIsBounded(t *testing.T) {
	t.Parallel()
	bus := tidings.New(tidings.WithMaxDepth(5))
	calls := 0
	tidings.Subscribe(bus, func(ctx context.Context, e clientCreated) error {
		calls++
		return bus.Deliver(ctx, "again", e)
	}, tidings.Named("again"))
	err := bus.Deliver(t.Context(), "again", tidings.Stamp(t.Context(), clientCreated{}))
	require.ErrorIs(t, err, tidings.ErrMaxDepth)
	require.Equal(t, 5, calls)
}
