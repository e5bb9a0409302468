package eventlog

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"

	"github.com/tidings-go/tidings/internal/rfc3339"
)

// recordedFormat is the format of times in an [tidings.Envelope], and in arrays
// for Postgres.
const recordedFormat = "2006-01-02T15:04:05.999999Z07:00"

// exportBuffer is how many bytes are written at once.
const exportBuffer = 64 << 10

// Export writes the events that the filters select to w, in the order of their
// positions, as one JSON CloudEvent per line. It returns how many it wrote,
// also with an error. Each is an [tidings.Envelope] with these extra
// attributes:
//
//	"recordedat": "2026-03-01T09:30:00.123457Z",
//	"stream": "account-7",       // these two for events of streams
//	"streamversion": 3
//
// [Log.Import] reads them. Events are written as they are stored, in their
// original version, including those that the program cannot decode. The source
// is the source of the log's registry. Export writes the events that [Log.Read]
// reads; it holds no connection while it writes to w.
func (l *Log) Export(ctx context.Context, w io.Writer, filters ...Filter) (exported int64, err error) {
	s := l.selection(filters)
	s.raw = true
	var buffer []byte
	waiting := int64(0) // lines in buffer
	flush := func() error {
		if len(buffer) == 0 {
			return nil
		}
		if _, err := w.Write(buffer); err != nil {
			return fmt.Errorf("eventlog: exporting: %w", err)
		}
		exported, waiting, buffer = exported+waiting, 0, buffer[:0]
		return nil
	}
	for r, err := range l.read(ctx, s) {
		if err == nil {
			buffer, err = appendLine(buffer, r)
		}
		if err != nil {
			if ferr := flush(); ferr != nil {
				return exported, ferr
			}
			return exported, fmt.Errorf("eventlog: exporting: %w", err)
		}
		if waiting++; len(buffer) >= exportBuffer {
			if err := flush(); err != nil {
				return exported, err
			}
		}
	}
	err = flush()
	return exported, err
}

// appendLine appends r as a line to b.
func appendLine(b []byte, r Recorded) ([]byte, error) {
	// Not with json.Marshal, which would escape characters in the data that are
	// not escaped there.
	text, err := r.Envelope.MarshalJSON()
	if err != nil {
		return b, fmt.Errorf("at position %s, event %s: %w", r.Position, r.Envelope.ID, err)
	}
	begin := len(b)
	if bytes.IndexByte(text, '\n') >= 0 {
		// A newline between parts of the data: other programs may write rows.
		compact := bytes.NewBuffer(b)
		if err := json.Compact(compact, text); err != nil {
			return b[:begin], err
		}
		b = compact.Bytes()
	} else {
		b = append(b, text...)
	}
	b = append(b[:len(b)-1], `,"recordedat":"`...) // without the closing brace
	b = r.RecordedAt.UTC().AppendFormat(b, recordedFormat)
	b = append(b, '"')
	if r.Stream != "" {
		name, _ := json.Marshal(r.Stream) // a string never fails
		b = append(append(b, `,"stream":`...), name...)
		b = append(b, `,"streamversion":`...)
		if r.StreamVersion > math.MaxInt32 { // where the Integer of CloudEvents ends
			b = strconv.AppendQuote(b, strconv.FormatInt(r.StreamVersion, 10))
		} else {
			b = strconv.AppendInt(b, r.StreamVersion, 10)
		}
	}
	return append(b, '}', '\n'), nil
}

// parseRecorded reads a time of recordedFormat, or finer.
func parseRecorded(s string) (time.Time, error) {
	at, err := rfc3339.Parse(s)
	if err != nil {
		return time.Time{}, fmt.Errorf("recordedat %q is not an RFC 3339 time: %w", s, err)
	}
	return time.UnixMicro(at.UnixMicro()).UTC(), nil
}
