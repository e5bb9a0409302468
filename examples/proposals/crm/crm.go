// Package crm is the module that manages proposals. It publishes ProposalAccepted,
// and does not depend on the modules that handle it.
package crm

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/proposals/crm/internal/proposal"
	"github.com/tidings-go/tidings/examples/proposals/events"
)

// A Service is the API of the module crm.
type Service struct {
	bus *tidings.EventBus
	db  *sql.DB
}

// Register creates the module's tables in db and subscribes its handlers.
func Register(ctx context.Context, bus *tidings.EventBus, db *sql.DB) (*Service, error) {
	if _, err := db.ExecContext(ctx, proposal.Schema); err != nil {
		return nil, fmt.Errorf("crm: create tables: %w", err)
	}
	s := &Service{bus, db}
	tidings.Subscribe(bus, s.noteContract, tidings.Named("crm.note_contract"))
	return s, nil
}

// An Import is the result of importing a sheet of proposals.
type Import struct {
	Lines     int // without the header
	Proposals []Proposal
	Rejected  []Rejection
}

// A Proposal is a proposal that an import found.
type Proposal struct {
	ID      int64
	Firm    string
	Number  string
	Type    events.ProposalType
	Company string
	Amount  events.Money
	New     bool // not in the database before
}

// A Rejection is a line without a valid proposal.
type Rejection struct {
	Line int // in the file, from 1
	Err  error
}

// Import stores the proposals of a CSV sheet, and rejects each invalid line. It
// does not change a proposal that is stored already; a line with other values for
// it is rejected.
func (s *Service) Import(ctx context.Context, sheet io.Reader) (Import, error) {
	lines, err := proposal.ReadSheet(sheet)
	if err != nil {
		return Import{}, fmt.Errorf("crm: read proposals: %w", err)
	}
	done := Import{Lines: len(lines)}
	err = tidings.InTx(ctx, s.db, nil, func(ctx context.Context, tx *sql.Tx) error {
		for _, line := range lines {
			p, err := store(ctx, tx, line)
			switch {
			case err == nil:
				done.Proposals = append(done.Proposals, p)
			case line.Err != nil, errors.Is(err, proposal.ErrDiffers):
				done.Rejected = append(done.Rejected, Rejection{line.Number, err})
			default:
				return fmt.Errorf("crm: store %s: %w", line.Proposal.Number, err)
			}
		}
		return nil
	})
	return done, err
}

func store(ctx context.Context, tx *sql.Tx, line proposal.Line) (Proposal, error) {
	if line.Err != nil {
		return Proposal{}, line.Err
	}
	p := line.Proposal
	id, added, err := proposal.Insert(ctx, tx, p)
	return Proposal{ID: id, Firm: p.Firm, Number: p.Number, Type: p.Type, Company: p.Company, Amount: p.Amount, New: added}, err
}

// Accept accepts a proposal and publishes ProposalAccepted in one transaction. It
// returns false if the proposal was accepted before. A handler that runs inside
// the transaction can refuse it.
func (s *Service) Accept(ctx context.Context, id int64) (accepted bool, err error) {
	err = tidings.InTx(ctx, s.db, nil, func(ctx context.Context, tx *sql.Tx) error {
		p, err := proposal.Get(ctx, tx, id)
		if err != nil {
			return err
		}
		// Stamped before it is published, so that row and event have the same time.
		event := tidings.Stamp(ctx, events.ProposalAccepted{
			ProposalID: id, Firm: p.Firm, Number: p.Number, Type: p.Type,
			Company: p.Company, ContactEmail: p.ContactEmail,
			Service: p.Service, Amount: p.Amount, StartsOn: p.StartsOn, Portal: p.Portal,
		})
		accepted, err = proposal.Accept(ctx, tx, id, event.OccurredAt())
		if err != nil || !accepted {
			return err
		}
		return tidings.Publish(ctx, s.bus, event)
	})
	if err != nil {
		return false, fmt.Errorf("crm: accept proposal %d: %w", id, err)
	}
	return accepted, nil
}

// noteContract stores the contract beside the proposal. So crm and clients handle
// each other's events, without an import in either direction.
func (s *Service) noteContract(ctx context.Context, e events.ContractSigned) error {
	return proposal.NoteContract(ctx, s.db, e.ProposalID, e.ContractID)
}
