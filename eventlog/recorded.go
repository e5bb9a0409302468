package eventlog

import (
	"database/sql"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog/internal/backend"
)

// Recorded is an event as the log holds it.
type Recorded struct {
	Event      tidings.Event    // nil where the error is a *DecodeError
	Envelope   tidings.Envelope // as it was stored, in the version of then
	Position   Position
	RecordedAt time.Time // when it was appended, by the clock of the program, in UTC

	Stream        string // "": none
	StreamVersion int64  // from 1; 0 without a stream
}

// A DecodeError says that an event is in the log that the program cannot
// read: its name or version is not registered, which Err wraps
// [tidings.ErrUnregistered] for, or its data does not fit. A reader gets it
// with the [Recorded] that it is about, and may go on.
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

// scan reads a row of selectFrom, without decoding its event.
func (l *Log) scan(rows backend.Rows) (r Recorded, err error) {
	var (
		occurred, recorded int64 // on SQLite
		occurredAt         any   = &occurred
		recordedAt         any   = &recorded
		causation          uuid.NullUUID
		stream             sql.NullString
		version            sql.NullInt64
		data               []byte
	)
	e := &r.Envelope
	if l.dialect == backend.Postgres {
		occurredAt, recordedAt = &e.OccurredAt, &r.RecordedAt
	}
	err = rows.Scan(&r.Position.tx, &r.Position.seq, &e.ID, &e.Type, &e.Version, &data,
		occurredAt, recordedAt, &e.CorrelationID, &causation, &stream, &version)
	if err != nil {
		return r, err
	}
	if l.dialect == backend.SQLite {
		e.OccurredAt, r.RecordedAt = time.UnixMicro(occurred), time.UnixMicro(recorded)
	}
	e.OccurredAt, r.RecordedAt = e.OccurredAt.UTC(), r.RecordedAt.UTC()
	e.Data, e.CausationID, e.Source = data, causation.UUID, l.source()
	r.Stream, r.StreamVersion = stream.String, version.Int64
	return r, nil
}

func (l *Log) source() string {
	if l.registry.Source == "" {
		return "tidings"
	}
	return l.registry.Source
}

// decode fills in the event.
func (l *Log) decode(r *Recorded) error {
	event, err := l.registry.Unwrap(r.Envelope)
	if err != nil {
		return &DecodeError{*r, err}
	}
	r.Event = event
	return nil
}
