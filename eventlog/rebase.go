package eventlog

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidings-go/tidings/eventlog/internal/backend"
)

// ErrForeign is wrapped by the error of [Open] for a log on Postgres that was
// restored on, or copied to, a server whose transaction numbers are lower than
// those in the log: new events would come before old ones, and [Log.Follow]
// would not see the old ones. Call [Rebase] to repair it.
var ErrForeign = errors.New("the log was written by a server whose transactions have higher numbers than those of this one")

// Rebase makes a log from another Postgres server usable on this one: new
// events come after all stored ones. No stored position changes, so readers
// continue where they were. It is quick however long the log is, waits for the
// transactions that write to the log, and needs the rights that [Migrate]
// needs. Where there is nothing to do, as always on SQLite, it does nothing.
func Rebase(ctx context.Context, db Database) error {
	if db == nil {
		return errors.New("eventlog: Rebase with a nil Database")
	}
	if db.Dialect() != backend.Postgres {
		return nil
	}
	err := db.InTx(ctx, func(ctx context.Context, tx backend.Querier) error {
		// No event is appended until the commit, and all appended events are
		// seen.
		if _, err := tx.Exec(ctx, `LOCK TABLE tidings_events IN EXCLUSIVE MODE`); err != nil {
			return err
		}
		foreign, err := isForeign(ctx, tx)
		if err != nil || !foreign {
			return err
		}
		var highest int64
		if _, err := backend.One(ctx, tx, `SELECT max(tx) FROM tidings_events`, nil, &highest); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, fmt.Sprintf(`CREATE OR REPLACE FUNCTION tidings_tx(xid8) RETURNS bigint LANGUAGE sql STABLE AS 'SELECT $1::text::bigint + %d'`, highest))
		return err
	})
	if err != nil {
		return fmt.Errorf("eventlog: Rebase: %w", err)
	}
	return nil
}

// checkForeign returns an error for a log that needs Rebase.
func checkForeign(ctx context.Context, db Database, q backend.Querier) error {
	if db.Dialect() != backend.Postgres {
		return nil
	}
	switch foreign, err := isForeign(ctx, q); {
	case err != nil:
		return fmt.Errorf("eventlog: comparing the log with the transactions of the server: %w", err)
	case foreign:
		return fmt.Errorf("eventlog: %w, as after a restore from a dump: call eventlog.Rebase once, while no process writes to the log", ErrForeign)
	}
	return nil
}

// isForeign reports whether there is an event that no transaction of this
// server can have written: an event that q sees is from a transaction that has
// ended, or from q's own.
func isForeign(ctx context.Context, q backend.Querier) (foreign bool, err error) {
	const query = `SELECT coalesce(max(tx) > greatest(
		tidings_tx(pg_snapshot_xmax(pg_current_snapshot())) - 1,
		tidings_tx(pg_current_xact_id_if_assigned())), false) FROM tidings_events`
	_, err = backend.One(ctx, q, query, nil, &foreign)
	return foreign, err
}
