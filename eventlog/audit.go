package eventlog

import (
	"context"
	"fmt"

	"github.com/tidings-go/tidings/eventlog/internal/backend"
)

// Undecodable describes events in the log that the program cannot read.
type Undecodable struct {
	Type    string // the registered name, as it was stored
	Version int
	Count   int64
	Err     error // why; wraps [tidings.ErrUnregistered]
}

// String returns one line about u.
func (u Undecodable) String() string {
	return fmt.Sprintf("%d × %q version %d: %v", u.Count, u.Type, u.Version, u.Err)
}

// Audit returns the names and versions that are in the log but not in the
// registry, in order; none if all is well. Call it at the start of a program,
// and in a CI test against a copy of the database: it finds an event type that
// was renamed without keeping its registered name, or changed without an
// [tidings.Upcast], before a reader fails on it.
//
// One query counts the events, so it takes as long as reading all of them once
// in the database. It does not look at the data: to know that every event
// decodes, read them.
func (l *Log) Audit(ctx context.Context) ([]Undecodable, error) {
	q, err := l.querier(ctx)
	if err != nil {
		return nil, err
	}
	var found []Undecodable
	const query = `SELECT type, version, count(*) FROM tidings_events GROUP BY type, version ORDER BY type, version`
	err = backend.Each(ctx, q, query, nil, func(rows backend.Rows) error {
		var u Undecodable
		if err := rows.Scan(&u.Type, &u.Version, &u.Count); err != nil {
			return err
		}
		if u.Err = l.registry.Decodable(u.Type, u.Version); u.Err != nil {
			found = append(found, u)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("eventlog: auditing: %w", err)
	}
	return found, nil
}
