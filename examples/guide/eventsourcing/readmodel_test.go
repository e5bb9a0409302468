// Package eventsourcing holds the code of docs/event-sourcing.md that is not in
// examples/ledger.
package eventsourcing

import (
	"context"
	"database/sql"
	"net/url"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
)

type PointsEarned struct {
	tidings.DomainEvent
	Customer string `json:"customer"`
	Points   int64  `json:"points"`
}

type Card struct{ Points int64 }

func apply(c Card, event tidings.Event) (Card, error) {
	c.Points += event.(PointsEarned).Points
	return c, nil
}

// newCards returns the aggregate of the cards. A handler maintains a table, in
// which the customer with the most points can be queried.
func newCards(db *sql.DB, log *eventlog.Log, bus *tidings.EventBus) *eventlog.Aggregate[Card] {
	tidings.Subscribe(bus, func(ctx context.Context, e PointsEarned) error {
		tx, _ := tidings.TxFrom[*sql.Tx](ctx, db)
		_, err := tx.ExecContext(ctx, `INSERT INTO points VALUES (?, ?)
			ON CONFLICT (customer) DO UPDATE SET points = points + excluded.points`, e.Customer, e.Points)
		return err
	}, tidings.Named("cards.points"), tidings.InTransaction)
	return eventlog.NewAggregate(log, "card", apply, eventlog.WithBus(bus), eventlog.WithRetryOnConflict(3))
}

func TestReadModel(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	path := url.URL{Path: filepath.ToSlash(filepath.Join(t.TempDir(), "cards.db"))}
	db, err := sql.Open("sqlite", "file:"+path.EscapedPath()+"?_txlock=immediate&_pragma=busy_timeout(5000)")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	_, err = db.ExecContext(ctx, `CREATE TABLE points (customer TEXT PRIMARY KEY, points INTEGER NOT NULL CHECK (points < 100))`)
	require.NoError(t, err)
	var registry tidings.Registry
	tidings.Register[PointsEarned](&registry, "cards.points_earned", 1)
	log, err := eventlog.Open(ctx, eventlog.SQLite(db), &registry)
	require.NoError(t, err)
	cards := newCards(db, log, tidings.New())

	earn := func(customer string, points int64) error {
		_, err := cards.Update(ctx, customer, func(context.Context, Card) ([]tidings.Event, error) {
			return []tidings.Event{PointsEarned{Customer: customer, Points: points}}, nil
		})
		return err
	}
	require.NoError(t, earn("ada", 30))
	require.NoError(t, earn("grace", 50))
	require.NoError(t, earn("ada", 40))
	require.Error(t, earn("grace", 60), "the table refuses, and the event goes with it")

	var most string
	require.NoError(t, db.QueryRowContext(ctx, `SELECT customer FROM points ORDER BY points DESC`).Scan(&most))
	require.Equal(t, "ada", most)
	grace, version, err := cards.Load(ctx, "grace")
	require.NoError(t, err)
	require.Equal(t, Card{50}, grace)
	require.EqualValues(t, 1, version)
}
