// Package ehr is the module that manages health records: requests for
// prescriptions, and prescriptions.
package ehr

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/pharmacy/events"
)

// Schema creates the tables of this module, unless they exist.
const Schema = `
	CREATE TABLE IF NOT EXISTS ehr_requests (
		id            INTEGER PRIMARY KEY,
		encounter_id  INTEGER NOT NULL,
		product       TEXT NOT NULL,
		order_id      TEXT NOT NULL,
		order_item_id TEXT NOT NULL,
		approved_by   TEXT
	);
	CREATE TABLE IF NOT EXISTS ehr_prescriptions (
		id         INTEGER PRIMARY KEY,
		request_id INTEGER NOT NULL UNIQUE REFERENCES ehr_requests (id),
		provider   TEXT NOT NULL,
		product    TEXT NOT NULL
	);`

// ErrDecided is the error of a request that is no longer pending.
var ErrDecided = errors.New("request is approved already")

// Records are the health records.
type Records struct {
	db  *sql.DB
	bus *tidings.EventBus
}

// New returns the records in db. They publish on bus.
func New(bus *tidings.EventBus, db *sql.DB) *Records { return &Records{db, bus} }

// A Request asks for a product that was ordered in an encounter.
type Request struct {
	EncounterID          int64
	Product              string
	OrderID, OrderItemID string
}

// Request stores a request, and returns its ID.
func (r *Records) Request(ctx context.Context, req Request) (id int64, err error) {
	err = tidings.InTx(ctx, r.db, nil, func(ctx context.Context, tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, `
			INSERT INTO ehr_requests (encounter_id, product, order_id, order_item_id) VALUES (?, ?, ?, ?) RETURNING id`,
			req.EncounterID, req.Product, req.OrderID, req.OrderItemID).Scan(&id)
	})
	return id, err
}

// Approve writes prescriptions for all requests, or for none if one is not
// pending.
func (r *Records) Approve(ctx context.Context, provider string, requestIDs ...int64) error {
	return tidings.InTx(ctx, r.db, nil, func(ctx context.Context, tx *sql.Tx) error {
		for _, id := range requestIDs {
			if err := r.approve(ctx, tx, provider, id); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r *Records) approve(ctx context.Context, tx *sql.Tx, provider string, requestID int64) error {
	approved := events.PrescriptionRequestApproved{RequestID: requestID}
	var product string
	err := tx.QueryRowContext(ctx, `
		UPDATE ehr_requests SET approved_by = ? WHERE id = ? AND approved_by IS NULL
		RETURNING product, encounter_id, order_id, order_item_id`, provider, requestID).
		Scan(&product, &approved.EncounterID, &approved.OrderID, &approved.OrderItemID)
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrDecided
	}
	if err != nil {
		return fmt.Errorf("approving request %d: %w", requestID, err)
	}
	err = tx.QueryRowContext(ctx, `
		INSERT INTO ehr_prescriptions (request_id, provider, product) VALUES (?, ?, ?) RETURNING id`,
		requestID, provider, product).Scan(&approved.PrescriptionID)
	if err != nil {
		return fmt.Errorf("prescribing for request %d: %w", requestID, err)
	}
	return tidings.Publish(ctx, r.bus, approved) // waits for the commit
}
