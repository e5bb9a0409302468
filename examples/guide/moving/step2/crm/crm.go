// Package crm publishes an event, and calls no other module.
package crm

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/guide/moving/events"
)

// A Service is the API of the module crm.
type Service struct {
	DB  *sql.DB
	Bus *tidings.EventBus
}

// Accept accepts a proposal. A handler inside the transaction can refuse it.
func (s *Service) Accept(ctx context.Context, id int64) error {
	return tidings.InTx(ctx, s.DB, nil, func(ctx context.Context, tx *sql.Tx) error {
		accepted := events.ProposalAccepted{ProposalID: id}
		err := tx.QueryRowContext(ctx, "UPDATE proposals SET accepted = TRUE WHERE id = ? RETURNING company", id).Scan(&accepted.Company)
		if err != nil {
			return fmt.Errorf("crm: accept proposal %d: %w", id, err)
		}
		if err := tidings.Publish(ctx, s.Bus, accepted); err != nil {
			return fmt.Errorf("crm: accept proposal %d: %w", id, err)
		}
		return nil
	})
}
