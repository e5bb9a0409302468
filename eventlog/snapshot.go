package eventlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/tidings-go/tidings/eventlog/internal/backend"
)

// A snapshot is the state of an aggregate at a version of its stream, so that
// only later events must be read. For a stream without one, version is 0.
type snapshot struct {
	version int64
	schema  int
	data    []byte
}

func (l *Log) snapshot(ctx context.Context, stream string) (s snapshot, err error) {
	q, err := l.querier(ctx)
	if err != nil {
		return s, err
	}
	query := bind(l.dialect, `SELECT stream_version, schema_version, data FROM tidings_snapshots WHERE stream = ?`)
	if _, err := backend.One(ctx, q, query, []any{stream}, &s.version, &s.schema, &s.data); err != nil {
		return s, fmt.Errorf("reading its snapshot: %w", err)
	}
	return s, nil
}

// putSnapshot stores s and replaces an older one: the caller has just appended
// to the stream, so it has loaded all of it. The older one may have another
// schema.
func (l *Log) putSnapshot(ctx context.Context, tx backend.Querier, stream string, s snapshot) error {
	query := bind(l.dialect, `INSERT INTO tidings_snapshots (stream, stream_version, schema_version, data, recorded_at) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (stream) DO UPDATE SET stream_version = excluded.stream_version, schema_version = excluded.schema_version,
			data = excluded.data, recorded_at = excluded.recorded_at`)
	_, err := tx.Exec(ctx, query, stream, s.version, s.schema, string(s.data), dbTime(l.dialect, time.Now()))
	if err != nil {
		return fmt.Errorf("writing its snapshot: %w", err)
	}
	return nil
}

// encodeState returns state as JSON, after checking that it will be read as the
// same state: a field that gets lost would cause a wrong decision many events
// later.
func encodeState[S any](state S) (data []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			data, err = nil, fmt.Errorf("it panics: %v", r)
		}
	}()
	if data, err = json.Marshal(&state); err != nil {
		return nil, err
	}
	if again, ok := decodeState[S](data); !ok || !same(reflect.ValueOf(&state).Elem(), reflect.ValueOf(&again).Elem()) {
		return nil, errors.New("it is not equal after it was encoded as JSON and decoded: export its fields, give a type with its own JSON a method Equal, or leave out WithSnapshotEvery")
	}
	return data, nil
}

// decodeState decodes a state and reports whether data fits it.
func decodeState[S any](data []byte) (state S, ok bool) {
	defer func() {
		if recover() != nil { // in an UnmarshalJSON
			var zero S
			state, ok = zero, false
		}
	}()
	if err := json.Unmarshal(data, &state); err != nil {
		var zero S
		return zero, false
	}
	return state, true
}
