package transactions_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tidings-go/tidings"
)

// A mailer sends a mail for every accepted proposal, even if the process dies
// after the commit. The table mails is its outbox.
type mailer struct {
	db   *sql.DB
	send func(ctx context.Context, key string, e ProposalAccepted) error
}

func (m *mailer) register(bus *tidings.EventBus) {
	tidings.Subscribe(bus, m.enqueue, tidings.BeforeCommit, tidings.Named("mail.enqueue"))
	tidings.Subscribe(bus, m.wake, tidings.Async(), tidings.Named("mail.wake"))
}

// enqueue stores the mail to send, in the transaction of the publisher.
func (m *mailer) enqueue(ctx context.Context, e ProposalAccepted) error {
	tx, ok := tidings.TxFrom[*sql.Tx](ctx, m.db)
	if !ok {
		return errors.New("mail: a proposal was accepted outside a transaction")
	}
	payload, err := json.Marshal(e) // the fields, without the header
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO mails (event_id, payload) VALUES (?, ?)", e.EventID().String(), payload)
	return err
}

// wake drains at once after a commit. If it does not run, the next drain sends
// the mail.
func (m *mailer) wake(ctx context.Context, _ ProposalAccepted) error { return m.drain(ctx) }

// drain sends all stored mails. Call it when the program starts, and
// periodically.
func (m *mailer) drain(ctx context.Context) error {
	for {
		found, err := m.sendOne(ctx)
		if err != nil || !found {
			return err
		}
	}
}

// sendOne deletes a row and sends its mail, in one transaction: if it does not
// commit, the row stays, and the mail is sent again.
func (m *mailer) sendOne(ctx context.Context) (found bool, err error) {
	err = tidings.InTx(ctx, m.db, nil, func(ctx context.Context, tx *sql.Tx) error {
		var key string
		var payload []byte
		err := tx.QueryRowContext(ctx, `
			DELETE FROM mails WHERE event_id = (SELECT min(event_id) FROM mails)
			RETURNING event_id, payload`).Scan(&key, &payload)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		found = true
		var e ProposalAccepted
		if err := json.Unmarshal(payload, &e); err != nil {
			return fmt.Errorf("mail: %s: %w", key, err)
		}
		return m.send(ctx, key, e)
	})
	return found, err
}

func Example_outbox() {
	db := openDB()
	defer db.Close()
	bus := tidings.New()
	m := &mailer{db: db, send: func(ctx context.Context, _ string, e ProposalAccepted) error {
		return sendWelcome(ctx, e)
	}}
	m.register(bus)

	fmt.Println("accept 8:", accept(context.Background(), db, bus, 8))
	fmt.Println("accept 7:", accept(context.Background(), db, bus, 7))
	fmt.Println("close:", bus.Close(context.Background()))
	// Unordered output:
	// accept 8: credit limit exceeded
	// accept 7: <nil>
	// mail: welcome, proposal 7 is accepted
	// close: <nil>
}
