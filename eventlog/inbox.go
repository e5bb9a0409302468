package eventlog

import (
	"context"
	"fmt"
	"time"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog/internal/backend"
)

const insertHandled = `INSERT INTO tidings_inbox (handler, event_id, recorded_at) VALUES (?, ?, ?) ON CONFLICT (handler, event_id) DO NOTHING`

// Inbox returns an option that lets a handler take effect once for each event,
// however often the event arrives: from a transport that delivers at least once,
// from a replay, or by [tidings.EventBus.Deliver].
//
//	tidings.Subscribe(bus, onboard, tidings.Named("clients.onboard"), log.Inbox())
//
// The handler runs in a transaction of the log's database, in a savepoint
// where ctx is in a transaction already, that also notes its name and the
// event's ID. What it writes through that transaction, which [tidings.TxFrom]
// and [tidings.InTx] find in ctx, commits with the note or not at all, and
// what it publishes waits for it. If it fails, panics or ends the goroutine,
// both roll back, and the event can be handled again. For an event that was
// handled before, the handler is not called. Duplicates that arrive at once run
// once: the others wait, and run only if that one rolls back. On Postgres, in a
// transaction of the publisher's that is REPEATABLE READ or stricter, they fail
// instead.
//
// It does not cover what the handler does elsewhere: a call to another system
// happens twice if the process dies between it and the commit. Hand the
// event's ID on as an idempotency key there.
//
// The handler must be [tidings.Named], since the note is about that name:
// Subscribe panics otherwise. A handler that is renamed begins anew. On a pool
// with one connection a handler that uses the pool and not the transaction of its
// ctx waits for itself.
//
// Handlers of the phases InTransaction and BeforeCommit are in the publisher's
// transaction, so when that rolls back the event counts as not handled. Notes
// are kept until [Log.ForgetHandledBefore].
func (l *Log) Inbox() tidings.SubscribeOption {
	return tidings.SubscribeOptions{tidings.RequireName("eventlog: Inbox"), tidings.Middleware(l.inbox)}
}

func (l *Log) inbox(next tidings.HandlerFunc) tidings.HandlerFunc {
	return func(ctx context.Context, d tidings.Delivery) error {
		return l.db.InTx(ctx, func(ctx context.Context, tx backend.Querier) error {
			first, err := tx.Exec(ctx, bind(l.dialect, insertHandled), d.Handler(), d.Event().EventID().String(), dbTime(l.dialect, time.Now()))
			if err != nil {
				return fmt.Errorf("eventlog: Inbox: noting the event for the handler %q: %w", d.Handler(), err)
			}
			if first == 0 {
				return nil
			}
			return next(ctx, d)
		})
	}
}
