// Package clients is the module that manages clients, contracts and engagements.
// It handles ProposalAccepted, and publishes ClientCreated and ContractSigned.
package clients

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/proposals/clients/internal/store"
	"github.com/tidings-go/tidings/examples/proposals/events"
)

type module struct {
	bus *tidings.EventBus
	db  *sql.DB
}

// Register creates the module's tables in db and subscribes its handlers.
func Register(ctx context.Context, bus *tidings.EventBus, db *sql.DB) error {
	if _, err := db.ExecContext(ctx, store.Schema); err != nil {
		return fmt.Errorf("clients: create tables: %w", err)
	}
	m := &module{bus, db}
	tidings.Subscribe(bus, m.onboard, tidings.Named("clients.onboard"))
	return nil
}

// onboard runs after the commit of the acceptance, in a separate transaction. The
// unique proposal of a contract makes it idempotent: a second call for a proposal
// writes nothing and publishes nothing.
func (m *module) onboard(ctx context.Context, e events.ProposalAccepted) error {
	return tidings.InTx(ctx, m.db, nil, func(ctx context.Context, tx *sql.Tx) error {
		client, isNew, err := clientFor(ctx, tx, e)
		if err != nil {
			return fmt.Errorf("clients: %s of %s for %s: %w", e.Number, e.Firm, e.Company, err)
		}
		signed, ok, err := sign(ctx, tx, client, e)
		if err != nil {
			return fmt.Errorf("clients: contract for %s of %s: %w", e.Number, e.Firm, err)
		}
		if !ok {
			return nil
		}
		if isNew {
			err := tidings.Publish(ctx, m.bus, events.ClientCreated{
				ClientID: client, Firm: e.Firm, Company: e.Company, ContactEmail: e.ContactEmail, Portal: e.Portal,
			})
			if err != nil {
				return err
			}
		}
		return tidings.Publish(ctx, m.bus, signed)
	})
}

// clientFor returns the client of the proposal. It creates a prospective client
// only: an update or a renewal needs an existing contract.
func clientFor(ctx context.Context, tx *sql.Tx, e events.ProposalAccepted) (id int64, isNew bool, err error) {
	if e.Type == events.Prospective {
		return store.AddClient(ctx, tx, e.Firm, e.Company, e.ContactEmail)
	}
	id, err = store.FindClient(ctx, tx, e.Firm, e.Company)
	return id, false, err
}

// sign stores contract and engagement, and returns false if they are stored
// already.
func sign(ctx context.Context, tx *sql.Tx, client int64, e events.ProposalAccepted) (signed events.ContractSigned, ok bool, err error) {
	var follows int64
	if e.Type != events.Prospective {
		if follows, err = store.LatestContract(ctx, tx, client); err != nil {
			return signed, false, err
		}
	}
	contract, ok, err := store.AddContract(ctx, tx, store.Contract{
		Client: client, Proposal: e.ProposalID, Amount: e.Amount, StartsOn: e.StartsOn, Follows: follows,
	})
	if err != nil || !ok {
		return signed, false, err
	}
	if err := store.AddEngagement(ctx, tx, contract, e.Service); err != nil {
		return signed, false, err
	}
	return events.ContractSigned{
		ContractID: contract, ClientID: client, ProposalID: e.ProposalID,
		Firm: e.Firm, Company: e.Company, Service: e.Service,
		Amount: e.Amount, StartsOn: e.StartsOn, Follows: follows,
	}, true, nil
}
