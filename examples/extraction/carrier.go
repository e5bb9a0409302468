package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/tidings-go/tidings"
)

// The table is in the same file for convenience. Only the carrier's own
// transactions write it.
const carrierSchema = `
	CREATE TABLE IF NOT EXISTS carrier_parcels (
		order_id TEXT PRIMARY KEY,
		calls    INTEGER NOT NULL
	);`

// pace is how long the carrier takes to answer, so that a process can be killed
// meanwhile.
const pace = 50 * time.Millisecond

// A carrier simulates another company's system. It recognises a repeated order, so
// that a call is idempotent.
type carrier struct {
	db      *sql.DB
	pace    time.Duration
	refuses string // the ID of an order
}

func (c *carrier) Ship(ctx context.Context, orderID string, products []string) (string, error) {
	if orderID == c.refuses {
		// A retry would be refused again.
		return "", tidings.Permanent(errors.New("the carrier does not know the address"))
	}
	_, err := c.db.ExecContext(ctx, `
		INSERT INTO carrier_parcels VALUES (?, 1)
		ON CONFLICT (order_id) DO UPDATE SET calls = calls + 1`, orderID)
	if err != nil {
		return "", err
	}
	select { // a process that dies here does not get the answer
	case <-time.After(c.pace):
	case <-ctx.Done():
		return "", ctx.Err()
	}
	return fmt.Sprintf("%s-%dPCS", orderID, len(products)), nil
}
