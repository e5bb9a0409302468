package eventlog

import (
	"context"
	"fmt"
	"time"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog/internal/backend"
)

const insertHandled = `INSERT INTO tidings_inbox (handler, event_id, recorded_at) VALUES (?, ?, ?) ON CONFLICT (handler, event_id) DO NOTHING`

// Inbox returns an option that makes a handler take effect once for each event,
// however often the event arrives: from a transport with at-least-once
// delivery, from a replay, or by [tidings.EventBus.Deliver].
//
//	tidings.Subscribe(bus, onboard, tidings.Named("clients.onboard"), log.Inbox())
//
// The handler runs in a transaction of the log's database (a savepoint, if ctx
// is already in a transaction) that also records its name and the event's ID.
// What the handler writes through that transaction, which [tidings.TxFrom] and
// [tidings.InTx] find in ctx, commits together with this record or not at all,
// and the events it publishes wait for the commit. If it fails, panics or ends
// the goroutine, both roll back, and the event can be handled again. For an
// event that was handled before, the handler is not called. Of duplicates that
// arrive at once, one runs: the others wait, and run only if that one rolls
// back. On Postgres, in a publisher's transaction that is REPEATABLE READ or
// stricter, they fail instead.
//
// Inbox does not cover effects elsewhere: a call to another system happens
// twice if the process dies between the call and the commit. Pass the event's
// ID there as an idempotency key.
//
// The handler must be [tidings.Named], since the record contains that name:
// Subscribe panics otherwise. A renamed handler begins anew. On a pool with one
// connection, a handler that uses the pool instead of the transaction in its
// ctx deadlocks.
//
// Handlers of the phases InTransaction and BeforeCommit run in the publisher's
// transaction: when that rolls back, the event counts as not handled. Records
// are kept until [Log.ForgetHandledBefore].
func (l *Log) Inbox() tidings.SubscribeOption {
	return tidings.SubscribeOptions{tidings.RequireName("eventlog: Inbox"), tidings.Middleware(l.inbox)}
}

func (l *Log) inbox(next tidings.HandlerFunc) tidings.HandlerFunc {
	return func(ctx context.Context, d tidings.Delivery) error {
		return l.db.InTx(ctx, func(ctx context.Context, tx backend.Querier) error {
			first, err := tx.Exec(ctx, bind(l.dialect, insertHandled), d.Handler(), d.Event().EventID().String(), dbTime(l.dialect, time.Now()))
			if err != nil {
				return fmt.Errorf("eventlog: Inbox: recording the event for the handler %q: %w", d.Handler(), err)
			}
			if first == 0 {
				return nil
			}
			return next(ctx, d)
		})
	}
}
