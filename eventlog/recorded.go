package eventlog

import (
	"database/sql"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog/internal/backend"
)

// Recorded is an event as stored in the log.
type Recorded struct {
	Event      tidings.Event    // nil where the error is a *DecodeError
	Envelope   tidings.Envelope // as it was stored, in its original version
	Position   Position
	RecordedAt time.Time // when it was appended, by the clock of the program, in UTC

	Stream        string // "": none
	StreamVersion int64  // from 1; 0 without a stream
}

// A DecodeError says that the program cannot read an event of the log: its name
// or version is not registered, for which Err wraps [tidings.ErrUnregistered],
// or its data does not fit. A reader gets it together with the [Recorded], and
// may go on.
type DecodeError struct {
	Recorded Recorded
	Err      error
}

func (e *DecodeError) Error() string {
	return fmt.Sprintf("eventlog: at position %s: %v", e.Recorded.Position, e.Err)
}

func (e *DecodeError) Unwrap() error { return e.Err }

const (
	selectSQLite   = `SELECT 0, position, id, type, version, data, occurred_at, recorded_at, correlation_id, causation_id, stream, stream_version FROM tidings_events`
	selectPostgres = `SELECT tx, position, id, type, version, data, occurred_at, recorded_at, correlation_id, causation_id, stream, stream_version FROM tidings_events`
)

func (l *Log) selectFrom() string {
	if l.dialect == backend.Postgres {
		return selectPostgres
	}
	return selectSQLite
}

// A scanner reads rows of selectFrom. One scanner reads many rows.
type scanner struct {
	source string
	sqlite bool
	row    Recorded
	// Columns that the database may return in another form.
	data               []byte
	occurred, recorded int64 // on SQLite
	causation          uuid.NullUUID
	stream             sql.NullString
	version            sql.NullInt64
	into               []any // pointers to the fields above
}

func (l *Log) newScanner() *scanner {
	s := &scanner{source: l.source(), sqlite: l.dialect == backend.SQLite}
	r, e := &s.row, &s.row.Envelope
	occurred, recorded := any(&e.OccurredAt), any(&r.RecordedAt)
	if s.sqlite {
		occurred, recorded = &s.occurred, &s.recorded
	}
	s.into = []any{&r.Position.tx, &r.Position.seq, &e.ID, &e.Type, &e.Version, &s.data,
		occurred, recorded, &e.CorrelationID, &s.causation, &s.stream, &s.version}
	return s
}

// next returns the current row, without decoding its event.
func (s *scanner) next(rows backend.Rows) (Recorded, error) {
	s.data = nil // drivers may reuse its memory
	if err := rows.Scan(s.into...); err != nil {
		return Recorded{}, err
	}
	r := s.row
	e := &r.Envelope
	if s.sqlite {
		e.OccurredAt, r.RecordedAt = time.UnixMicro(s.occurred), time.UnixMicro(s.recorded)
	}
	e.OccurredAt, r.RecordedAt = e.OccurredAt.UTC(), r.RecordedAt.UTC()
	e.Data, e.CausationID, e.Source = s.data, s.causation.UUID, s.source
	r.Stream, r.StreamVersion = s.stream.String, s.version.Int64
	return r, nil
}

func (l *Log) source() string {
	if l.registry.Source == "" {
		return "tidings"
	}
	return l.registry.Source
}

// decode sets the event.
func (l *Log) decode(r *Recorded) error {
	event, err := l.registry.Unwrap(r.Envelope)
	if err != nil {
		return &DecodeError{*r, err}
	}
	r.Event = event
	return nil
}
