package transporttest_test

import (
	"context"
	"database/sql"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/txtest/fakedb"
	"github.com/tidings-go/tidings/tidingstest/transporttest"
)

// An outbox is a transport that writes to the publisher's *sql.Tx. What the
// database has committed goes to a post.
type outbox struct {
	*post
	phase tidings.Phase
	db    *sql.DB
	log   *fakedb.Log

	mu      sync.Mutex
	rows    []tidings.Outgoing // by what is in the database
	relayed int                // of the committed statements
}

func newOutbox(t *testing.T, phase tidings.Phase) *outbox {
	o := &outbox{post: newPost(t, tidings.AfterCommit, true, ""), phase: phase}
	o.db, o.log = fakedb.Open(t)
	return o
}

func (o *outbox) subject() transporttest.Subject {
	return transporttest.Subject{
		Via: tidings.Via(o),
		InTx: func(ctx context.Context, fn func(context.Context) error) error {
			err := tidings.InTx(ctx, o.db, nil, func(ctx context.Context, _ *sql.Tx) error { return fn(ctx) })
			if rerr := o.relay(); rerr != nil {
				return rerr
			}
			return err
		},
	}
}

func (o *outbox) Phase() tidings.Phase { return o.phase }

func (o *outbox) Send(ctx context.Context, deliveries []tidings.Outgoing) error {
	tx, ok := tidings.TxFrom[*sql.Tx](ctx, o.db)
	if !ok {
		return errNoTx
	}
	for _, d := range deliveries {
		o.mu.Lock()
		row := len(o.rows)
		o.rows = append(o.rows, d)
		o.mu.Unlock()
		if _, err := tx.ExecContext(ctx, "INSERT INTO outbox VALUES (?)", row); err != nil {
			return err
		}
	}
	return nil
}

func (o *outbox) relay() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	committed := o.log.Committed()
	for ; o.relayed < len(committed); o.relayed++ {
		row, err := strconv.Atoi(strings.TrimPrefix(committed[o.relayed], "INSERT INTO outbox VALUES (?) "))
		if err != nil {
			return err
		}
		if err := o.post.Send(context.Background(), []tidings.Outgoing{o.rows[row]}); err != nil {
			return err
		}
	}
	return nil
}
