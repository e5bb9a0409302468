package main

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/pharmacy/events"
)

// The journal records which handler of a process got which event. The program
// compares the journals of the two processes.
const journalSchema = `
	CREATE TABLE IF NOT EXISTS journal (
		handler     TEXT NOT NULL,
		event       TEXT NOT NULL,
		correlation TEXT NOT NULL,
		causation   TEXT NOT NULL,
		order_id    TEXT NOT NULL,
		UNIQUE (handler, event)
	);`

// journal is the middleware of all handlers of a process.
func journal(db *sql.DB) tidings.Middleware {
	return func(next tidings.HandlerFunc) tidings.HandlerFunc {
		return func(ctx context.Context, d tidings.Delivery) error {
			err := tidings.InTx(ctx, db, nil, func(ctx context.Context, tx *sql.Tx) error {
				e := d.Event()
				_, err := tx.ExecContext(ctx, "INSERT INTO journal VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
					d.Handler(), e.EventID(), e.CorrelationID(), e.CausationID(), orderOf(e))
				return err
			})
			if err != nil {
				return fmt.Errorf("journal: %w", err)
			}
			return next(ctx, d)
		}
	}
}

// orderOf returns the ID of an event's order.
func orderOf(e tidings.Event) string {
	switch e := e.(type) {
	case events.PrescriptionRequestApproved:
		return e.OrderID
	case events.OrderReadyForFulfillment:
		return e.OrderID
	}
	return ""
}

// unbroken returns how many orders have the same event in both databases, with the
// same header, and with the approval as its cause.
func unbroken(ctx context.Context, monolith, fulfilment string) (orders int, err error) {
	db, err := openDatabase(ctx, monolith, "")
	if err != nil {
		return 0, err
	}
	defer db.Close()
	conn, err := db.Conn(ctx) // ATTACH is about one connection
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, "ATTACH ? AS fulfilment", fulfilment); err != nil {
		return 0, err
	}
	err = conn.QueryRowContext(ctx, `
		SELECT count(DISTINCT sent.order_id)
		FROM main.journal AS sent
		JOIN main.journal AS approval
		  ON (approval.handler, approval.event, approval.correlation) = ('orders.approveItem', sent.causation, sent.correlation)
		JOIN fulfilment.journal AS picked USING (event, correlation, causation, order_id)
		JOIN fulfilment.journal AS shipped USING (event, correlation, causation, order_id)
		WHERE sent.handler LIKE 'relay.forward.%' AND picked.handler = 'fulfilment.pick' AND shipped.handler = 'fulfilment.ship'`).
		Scan(&orders)
	return orders, err
}
