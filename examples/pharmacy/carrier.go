package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// The table is in the same file for convenience. Only the carrier's own
// transactions write it.
const carrierSchema = `
	CREATE TABLE IF NOT EXISTS carrier_parcels (
		order_id TEXT PRIMARY KEY,
		calls    INTEGER NOT NULL
	);`

// A carrier simulates another company's system. It recognises a repeated order, so
// that a call is idempotent.
type carrier struct {
	db    *sql.DB
	pace  time.Duration // how long an answer takes
	down  atomic.Int32  // how many of the next calls it does not answer
	heard func(format string, args ...any)
}

func (c *carrier) Ship(ctx context.Context, orderID string, products []string) (string, error) {
	if c.down.Add(-1) >= 0 {
		c.heard("  the carrier does not answer")
		return "", errors.New("the carrier does not answer")
	}
	_, err := c.db.ExecContext(ctx, `
		INSERT INTO carrier_parcels VALUES (?, 1)
		ON CONFLICT (order_id) DO UPDATE SET calls = calls + 1`, orderID)
	if err != nil {
		return "", err
	}
	select { // a worker that dies here does not get the answer
	case <-time.After(c.pace):
	case <-ctx.Done():
		return "", ctx.Err()
	}
	c.heard("  the carrier has the parcel")
	return fmt.Sprintf("%s-%dPCS", orderID, len(products)), nil
}
