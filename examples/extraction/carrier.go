package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/tidings-go/tidings"
)

// The table is in the same file for convenience. Nobody's transaction but the
// carrier's own writes it.
const carrierSchema = `
	CREATE TABLE IF NOT EXISTS carrier_parcels (
		order_id TEXT PRIMARY KEY,
		calls    INTEGER NOT NULL
	);`

// pace is how long the carrier takes for an answer, so that there is time to
// kill those who wait for it.
const pace = 50 * time.Millisecond

// A carrier stands for another company's system. It knows an order that it has
// seen before, so that asking twice does no harm.
type carrier struct {
	db      *sql.DB
	pace    time.Duration
	refuses string // the ID of an order, until somebody repairs that
}

func (c *carrier) Ship(ctx context.Context, orderID string, products []string) (string, error) {
	if orderID == c.refuses {
		// The same order will be refused again: it needs somebody to look at it.
		return "", tidings.Permanent(errors.New("the carrier does not know the address"))
	}
	_, err := c.db.ExecContext(ctx, `
		INSERT INTO carrier_parcels VALUES (?, 1)
		ON CONFLICT (order_id) DO UPDATE SET calls = calls + 1`, orderID)
	if err != nil {
		return "", err
	}
	select { // a process that dies here does not hear the answer
	case <-time.After(c.pace):
	case <-ctx.Done():
		return "", ctx.Err()
	}
	return fmt.Sprintf("%s-%dPCS", orderID, len(products)), nil
}
