// Package crm publishes an event, and still calls the module clients.
package crm

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/guide/coupled/crm"
	"github.com/tidings-go/tidings/examples/guide/moving/events"
)

// A Service is the API of the module crm.
type Service struct {
	DB      *sql.DB
	Bus     *tidings.EventBus
	Clients crm.Onboarder
}

// Accept accepts a proposal, makes its company a client, and publishes
// ProposalAccepted.
func (s *Service) Accept(ctx context.Context, id int64) error {
	return tidings.InTx(ctx, s.DB, nil, func(ctx context.Context, tx *sql.Tx) error {
		p := crm.Proposal{ID: id}
		err := tx.QueryRowContext(ctx, "UPDATE proposals SET accepted = TRUE WHERE id = ? RETURNING company", id).Scan(&p.Company)
		if err != nil {
			return fmt.Errorf("crm: accept proposal %d: %w", id, err)
		}
		if err := s.Clients.Onboard(ctx, tx, p); err != nil {
			return fmt.Errorf("crm: accept proposal %d: %w", id, err)
		}
		return tidings.Publish(ctx, s.Bus, events.ProposalAccepted{ProposalID: id, Company: p.Company})
	})
}
