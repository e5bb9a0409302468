package proposal

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

// Schema creates the tables of crm.
const Schema = `
CREATE TABLE IF NOT EXISTS crm_proposals (
	id            INTEGER PRIMARY KEY,
	firm          TEXT    NOT NULL,
	number        TEXT    NOT NULL,
	type          TEXT    NOT NULL,
	company       TEXT    NOT NULL,
	contact_email TEXT    NOT NULL,
	service       TEXT    NOT NULL,
	amount        INTEGER NOT NULL,
	starts_on     DATE    NOT NULL,
	portal        BOOLEAN NOT NULL,
	accepted_at   TIMESTAMP,
	contract_id   INTEGER, -- as the module clients told; no foreign key leads there
	UNIQUE (firm, number)
)`

// ErrDiffers means that a proposal of that number is stored with other values.
var ErrDiffers = errors.New("stored before with other values, which stay")

// Insert stores p and returns its ID. If it is stored already, nothing
// changes and its ID is returned.
func Insert(ctx context.Context, tx *sql.Tx, p Proposal) (id int64, added bool, err error) {
	err = tx.QueryRowContext(ctx, `
		INSERT INTO crm_proposals (firm, number, type, company, contact_email, service, amount, starts_on, portal)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (firm, number) DO NOTHING
		RETURNING id`,
		p.Firm, p.Number, p.Type, p.Company, p.ContactEmail, p.Service, p.Amount, p.StartsOn, p.Portal).Scan(&id)
	if !errors.Is(err, sql.ErrNoRows) {
		return id, err == nil, err
	}
	err = tx.QueryRowContext(ctx, `SELECT id FROM crm_proposals WHERE firm = ? AND number = ?`, p.Firm, p.Number).Scan(&id)
	if err != nil {
		return 0, false, err
	}
	stored, err := Get(ctx, tx, id)
	if err == nil && stored != p {
		err = ErrDiffers
	}
	return id, false, err
}

// Get returns a proposal, or sql.ErrNoRows.
func Get(ctx context.Context, tx *sql.Tx, id int64) (p Proposal, err error) {
	err = tx.QueryRowContext(ctx, `
		SELECT firm, number, type, company, contact_email, service, amount, starts_on, portal
		FROM crm_proposals WHERE id = ?`, id).
		Scan(&p.Firm, &p.Number, &p.Type, &p.Company, &p.ContactEmail, &p.Service, &p.Amount, &p.StartsOn, &p.Portal)
	p.StartsOn = p.StartsOn.UTC()
	return p, err
}

// Accept stores when the proposal was accepted, unless it was accepted before.
func Accept(ctx context.Context, tx *sql.Tx, id int64, at time.Time) (accepted bool, err error) {
	result, err := tx.ExecContext(ctx, `UPDATE crm_proposals SET accepted_at = ? WHERE id = ? AND accepted_at IS NULL`, at, id)
	if err != nil {
		return false, err
	}
	rows, err := result.RowsAffected()
	return rows > 0, err
}

// NoteContract stores the contract of the proposal, unless it has one.
func NoteContract(ctx context.Context, db *sql.DB, id, contract int64) error {
	_, err := db.ExecContext(ctx, `UPDATE crm_proposals SET contract_id = ? WHERE id = ? AND contract_id IS NULL`, contract, id)
	return err
}
