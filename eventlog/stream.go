package eventlog

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog/internal/backend"
	"github.com/tidings-go/tidings/internal/sqlstate"
)

// ErrConflict is wrapped by the error of [Log.AppendTo] for a stream that is
// not at the expected version. Load again and decide again.
var ErrConflict = errors.New("the stream has changed")

// Values for the expected version of [Log.AppendTo], beside the version of the
// stream's last event.
const (
	NoStream   int64 = 0  // the stream has no events yet
	AnyVersion int64 = -1 // any version
)

// Stream selects the events of a stream.
func Stream(name string) Filter {
	return filterFunc(func(s *selection) {
		if !storable(name) {
			s.where("1 = 0")
			return
		}
		s.where("stream = ?", name)
	})
}

// FromVersion selects the events of streams whose stream version is at least
// version.
func FromVersion(version int64) Filter {
	return filterFunc(func(s *selection) { s.where("stream_version >= ?", version) })
}

// AppendTo appends events to a stream, as its versions expectedVersion+1 and
// on, all of them or none: in the transaction of ctx, or in one of its own. It
// stamps events that have no header, see [tidings.Stamp]. It returns the events
// as stored in the log; it does not publish them. To publish them in the same
// transaction, publish the returned events: a log that is attached to the bus
// does not append them again.
//
// The error wraps [ErrConflict] if the stream is not at expectedVersion, or a
// concurrent transaction was faster; it names the stream and both versions.
// With [AnyVersion] this happens only on Postgres, inside a transaction that
// began before the last event of the stream was written: positions in the log
// follow the transactions, and positions in a stream follow its versions, so
// only a new transaction can append to it.
//
// It is also an error if no event is given, if an event is nil, not registered
// or cannot be encoded, or if the log already has an event with that ID. After
// any error the transaction of ctx is as it was before, and may go on. With the
// isolation level REPEATABLE READ or SERIALIZABLE that does not help after
// ErrConflict, since the transaction cannot see what has changed.
func (l *Log) AppendTo(ctx context.Context, stream string, expectedVersion int64, events ...tidings.Event) ([]Recorded, error) {
	fail := func(err error) ([]Recorded, error) {
		return nil, fmt.Errorf("eventlog: appending to stream %q: %w", stream, err)
	}
	switch {
	case expectedVersion < AnyVersion:
		return fail(fmt.Errorf("expected version %d: use the version of its last event, NoStream or AnyVersion", expectedVersion))
	case len(events) == 0:
		return fail(errors.New("no events are given"))
	}
	if err := checkStream(stream); err != nil {
		return nil, err
	}
	records, err := l.prepare(ctx, events)
	if err != nil {
		return fail(err)
	}
	return records, l.appendTo(ctx, stream, expectedVersion, records)
}

// checkStream returns an error for a name that not every database accepts.
func checkStream(stream string) error {
	if stream == "" {
		return errors.New("eventlog: a stream with an empty name")
	}
	if !storable(stream) {
		return fmt.Errorf("eventlog: stream %q: a name is UTF-8 without NUL", stream)
	}
	return nil
}

// prepare stamps and encodes events.
func (l *Log) prepare(ctx context.Context, events []tidings.Event) ([]Recorded, error) {
	records := make([]Recorded, len(events))
	for i, event := range events {
		if _, ok := l.registry.NameOf(event); ok { // else Stamp may panic, and Wrap says why
			event = tidings.Stamp(ctx, event)
		}
		envelope, err := l.registry.Wrap(event)
		if err != nil {
			return nil, err
		}
		records[i] = Recorded{Event: event, Envelope: envelope}
	}
	return records, nil
}

// appendTo appends and completes records from prepare. It returns the errors of
// AppendTo.
func (l *Log) appendTo(ctx context.Context, stream string, expected int64, records []Recorded) error {
	for tried := int64(-1); ; {
		h, err := l.appendWith(ctx, stream, expected, records, nil)
		if err == nil {
			return nil
		}
		if expected == AnyVersion && errors.Is(err, ErrConflict) && h.version > tried && !h.later {
			tried = h.version // others were faster, but one of them succeeds in each round, so this ends
			continue
		}
		return fmt.Errorf("eventlog: appending to stream %q: %w", stream, err)
	}
}

// appendWith tries to append records and, in the same transaction, calls then
// if it is not nil. It returns the head of the stream, and ErrConflict if that
// is not the expected version.
func (l *Log) appendWith(ctx context.Context, stream string, expected int64, records []Recorded, then func(context.Context, backend.Querier) error) (h head, err error) {
	overtaken := false
	err = l.db.InTx(ctx, func(ctx context.Context, tx backend.Querier) (err error) {
		if h, err = l.head(ctx, tx, stream, true); err != nil {
			return err
		}
		if h.later {
			return fmt.Errorf("%w: its version %d was written by a transaction that began after this one, so what this one appends would come before it: begin again", ErrConflict, h.version)
		}
		if expected == AnyVersion {
			expected = h.version
		}
		if h.version != expected {
			return conflictAt(expected, h)
		}
		appended, err := l.insertInto(ctx, tx, stream, expected, records)
		switch {
		case err != nil:
			return err
		case appended < len(records):
			overtaken = true
			return ErrConflict // rolls back the events that were appended
		case then == nil:
			return nil
		}
		return then(ctx, tx)
	})
	if err == nil {
		l.wakeOnCommit(ctx)
		return h, nil
	}
	if overtaken {
		// Its own events are gone now: look how far the others are.
		if q, qErr := l.querier(ctx); qErr == nil {
			if again, qErr := l.head(ctx, q, stream, false); qErr == nil {
				h, err = again, conflictAt(expected, again)
			}
		}
	}
	return h, asConflict(err)
}

func conflictAt(expected int64, h head) error {
	return fmt.Errorf("%w: version %d was expected, but it is at %d", ErrConflict, expected, h.version)
}

// onConflict skips a version that a concurrent writer has already written.
// Without it, the caller's transaction would be lost on Postgres, and each
// driver would report a different error.
const onConflict = ` ON CONFLICT (stream, stream_version) WHERE stream IS NOT NULL DO NOTHING RETURNING stream_version, position, `

// insertInto inserts records after version at, completes them, and returns how
// many were not skipped.
func (l *Log) insertInto(ctx context.Context, tx backend.Querier, stream string, at int64, records []Recorded) (appended int, err error) {
	rows := make([]row, len(records))
	for i := range records {
		rows[i] = row{Envelope: records[i].Envelope, stream: stream, version: at + 1 + int64(i)}
	}
	returning := onConflict + "0"
	if l.dialect == backend.Postgres {
		returning = onConflict + "tx"
	}
	now := time.Now().UTC().Truncate(time.Microsecond) // as it will be read
	err = l.statements(rows, now, func(query string, args []any) error {
		return backend.Each(ctx, tx, query+returning, args, func(rows backend.Rows) error {
			var version int64
			var p Position
			if err := rows.Scan(&version, &p.seq, &p.tx); err != nil {
				return err
			}
			r := &records[version-at-1]
			r.Stream, r.StreamVersion, r.Position, r.RecordedAt = stream, version, p, now
			appended++
			return nil
		})
	})
	return appended, err
}

// asConflict returns err, as an ErrConflict if a Postgres transaction failed
// because of another one that it cannot see.
func asConflict(err error) error {
	if sqlstate.Of(err) == "40001" {
		return fmt.Errorf("%w: another transaction was faster: %w", ErrConflict, err)
	}
	return err
}

// A head is the end of a stream.
type head struct {
	version int64
	later   bool // its last event is from a transaction that began after this one
}

// The snapshot counts as well: the events that it replaces may have been
// deleted, and their versions must not be used again.
const headSQLite = `SELECT
	coalesce((SELECT max(stream_version) FROM tidings_events WHERE stream = ?1), 0),
	coalesce((SELECT stream_version FROM tidings_snapshots WHERE stream = ?1), 0), 0`

// headPostgres is formatted with the current transaction. It also returns
// whether the last event is from a later one.
const headPostgres = `SELECT coalesce(e.stream_version, 0), coalesce(s.stream_version, 0), CASE WHEN e.tx > %s THEN 1 ELSE 0 END
	FROM (SELECT) AS one
	LEFT JOIN LATERAL (SELECT stream_version, tx FROM tidings_events WHERE stream = $1 ORDER BY stream_version DESC LIMIT 1) AS e ON true
	LEFT JOIN tidings_snapshots AS s ON s.stream = $1`

var (
	headToRead   = fmt.Sprintf(headPostgres, "NULL")
	headToAppend = fmt.Sprintf(headPostgres, "tidings_tx(pg_current_xact_id())")
)

func (l *Log) head(ctx context.Context, q backend.Querier, stream string, toAppend bool) (head, error) {
	query := headSQLite
	if l.dialect == backend.Postgres {
		if query = headToRead; toAppend {
			query = headToAppend // assigns the transaction a number, if it has none
		}
	}
	var events, snapshot int64
	var later int
	_, err := backend.One(ctx, q, query, []any{stream}, &events, &snapshot, &later)
	return head{max(events, snapshot), later == 1}, err
}

// StreamVersion returns the version of the stream's last event, or [NoStream]
// if it has none.
func (l *Log) StreamVersion(ctx context.Context, stream string) (int64, error) {
	if err := checkStream(stream); err != nil {
		return 0, err
	}
	q, err := l.querier(ctx)
	if err != nil {
		return 0, err
	}
	h, err := l.head(ctx, q, stream, false)
	if err != nil {
		return 0, fmt.Errorf("eventlog: reading the version of stream %q: %w", stream, err)
	}
	return h.version, nil
}

// ReadStream returns the events of a stream that the filters select, in order,
// like [Log.Read]: committed events and those of ctx's transaction, in pages,
// and with a [*DecodeError] for an event that cannot be decoded. A stream that
// does not exist is empty.
func (l *Log) ReadStream(ctx context.Context, stream string, filters ...Filter) iter.Seq2[Recorded, error] {
	return func(yield func(Recorded, error) bool) {
		if err := checkStream(stream); err != nil {
			yield(Recorded{}, err)
			return
		}
		s := l.selection(append([]Filter{Stream(stream)}, filters...))
		// The order of positions is the same, but there is an index for this
		// one.
		l.pages(ctx, s, fmt.Sprintf("reading stream %q", stream), func(last Recorded) (string, []any) {
			where, args := s.sql(s.after, fmt.Sprintf("stream_version > %d", last.StreamVersion))
			return where + " ORDER BY stream_version", args
		})(yield)
	}
}
