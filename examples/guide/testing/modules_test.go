// Package testing_test holds the code of docs/testing.md.
package testing_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/tidings-go/tidings"
)

type ProposalAccepted struct {
	tidings.DomainEvent
	ProposalID int64
	Company    string
}

type ClientCreated struct {
	tidings.DomainEvent
	ClientID int64
	Company  string
}

// crm is the module that publishes ProposalAccepted.
type crm struct {
	bus *tidings.EventBus
	db  *sql.DB
}

var errUnknown = errors.New("no such proposal")

func (c *crm) accept(ctx context.Context, id int64) error {
	return tidings.InTx(ctx, c.db, nil, func(ctx context.Context, tx *sql.Tx) error {
		event := ProposalAccepted{ProposalID: id}
		err := tx.QueryRowContext(ctx, "UPDATE proposals SET accepted = TRUE WHERE id = ? RETURNING company", id).Scan(&event.Company)
		if errors.Is(err, sql.ErrNoRows) {
			return errUnknown
		}
		if err != nil {
			return err
		}
		return tidings.Publish(ctx, c.bus, event)
	})
}

// clients is the module that handles it.
type clients struct {
	bus *tidings.EventBus
	db  *sql.DB
}

func (c *clients) register() {
	tidings.Subscribe(c.bus, c.onboard, tidings.Named("clients.onboard"))
}

func (c *clients) onboard(ctx context.Context, e ProposalAccepted) error {
	return tidings.InTx(ctx, c.db, nil, func(ctx context.Context, tx *sql.Tx) error {
		created := ClientCreated{Company: e.Company}
		err := tx.QueryRowContext(ctx, `
			INSERT INTO clients (company) VALUES (?)
			ON CONFLICT (company) DO NOTHING RETURNING id`, e.Company).Scan(&created.ClientID)
		if errors.Is(err, sql.ErrNoRows) {
			return nil // a client already
		}
		if err != nil {
			return err
		}
		return tidings.Publish(ctx, c.bus, created)
	})
}

// openDB returns a database with the tables of both, and proposal 7 in it.
func openDB(t *testing.T) *sql.DB {
	db, err := sql.Open("sqlite", ":memory:")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	db.SetMaxOpenConns(1)
	_, err = db.Exec(`
		CREATE TABLE proposals (id INTEGER PRIMARY KEY, company TEXT NOT NULL, accepted BOOLEAN NOT NULL DEFAULT FALSE);
		CREATE TABLE clients (id INTEGER PRIMARY KEY, company TEXT NOT NULL UNIQUE);
		INSERT INTO proposals (id, company) VALUES (7, 'Quarry Stone');`)
	require.NoError(t, err)
	return db
}
