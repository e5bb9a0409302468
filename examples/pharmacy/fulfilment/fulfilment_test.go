package fulfilment_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/pharmacy/events"
	"github.com/tidings-go/tidings/examples/pharmacy/fulfilment"
	"github.com/tidings-go/tidings/tidingstest"
)

// carrier ships every order, or fails.
type carrier struct {
	shipped []string
	err     error
}

func (c *carrier) Ship(_ context.Context, orderID string, products []string) (string, error) {
	if c.err != nil {
		return "", c.err
	}
	c.shipped = append(c.shipped, products...)
	return "T-" + orderID, nil
}

// open returns the module and a bus. The bus is closed before the database,
// which its handlers use.
func open(t *testing.T, c *carrier, opts ...tidings.Option) (*fulfilment.Fulfilment, *tidings.EventBus) {
	t.Helper()
	db, err := sql.Open("sqlite", ":memory:")
	require.NoError(t, err)
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	_, err = db.Exec(fulfilment.Schema)
	require.NoError(t, err)
	bus := tidingstest.NewBus(t, opts...)
	return fulfilment.Register(bus, db, c, tidings.Async(), tidings.Async()), bus
}

// Drain waits for asynchronous handlers, which may still run when Publish has
// returned.
func TestShip(t *testing.T) {
	t.Parallel()
	c := &carrier{}
	f, bus := open(t, c)
	ready := events.OrderReadyForFulfillment{OrderID: "O-1", Products: tidings.ListOf("amoxicillin", "ibuprofen")}
	for range 2 { // delivered twice, shipped once
		require.NoError(t, tidings.Publish(t.Context(), bus, ready))
	}
	tidingstest.Drain(t, bus)
	require.Equal(t, []string{"amoxicillin", "ibuprofen"}, c.shipped)
	tracking, err := f.Tracking(t.Context(), "O-1")
	require.NoError(t, err)
	require.Equal(t, "T-O-1", tracking)
}

func TestCarrierDown(t *testing.T) {
	t.Parallel()
	down := errors.New("no answer")
	var reported []error
	c := &carrier{err: down}
	f, bus := open(t, c, tidings.WithErrorHandler(func(_ context.Context, err error) { reported = append(reported, err) }))
	ready := tidings.Stamp(t.Context(), events.OrderReadyForFulfillment{OrderID: "O-1"})

	require.NoError(t, tidings.Publish(t.Context(), bus, ready), "the publisher does not wait for the carrier")
	tidingstest.Drain(t, bus)
	require.Len(t, reported, 1)
	require.ErrorIs(t, reported[0], down)
	require.ErrorContains(t, reported[0], "fulfilment.ship handling events.OrderReadyForFulfillment")
	tracking, err := f.Tracking(t.Context(), "O-1")
	require.NoError(t, err)
	require.Empty(t, tracking)

	c.err = nil // the event can be delivered again
	require.NoError(t, tidings.Publish(t.Context(), bus, ready))
	tidingstest.Drain(t, bus)
	tracking, err = f.Tracking(t.Context(), "O-1")
	require.NoError(t, err)
	require.Equal(t, "T-O-1", tracking)
}
