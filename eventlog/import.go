package eventlog

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/tidings-go/tidings/eventlog/internal/backend"
)

// An ImportReport says what [Log.Import] did.
type ImportReport struct {
	Imported int64 // events that were appended
	Skipped  int64 // events that the log had already, by their ID
}

// A batch of an import ends at either of these.
const (
	importLines = 500
	importBytes = 4 << 20
)

// Import appends the events in r, one JSON CloudEvent per line, as [Log.Export]
// writes them: in the order of the lines, each with its stream and the time
// when it was first recorded. An event that the log has already, by its ID, is
// skipped, so an interrupted import can be run again. Lines may be as long as
// memory allows; empty ones are ignored.
//
// Lines of other producers are accepted under the rules of [tidings.Envelope];
// an event without a recordedat is recorded now. The source and unknown
// attributes are not kept. Events need not be registered: an event that cannot
// be decoded is appended as it is, see [Log.Audit].
//
// Every few hundred lines are a transaction, or a savepoint in the transaction
// of ctx. At a line that is not such an event, or has a stream version that
// another event has, Import ends with an error that names the line, or the
// lines of the transaction that failed. The lines before were appended, and are
// in the report; with a database error that is all but the lines that it names.
// To import all or nothing, call it in a transaction and roll that back.
//
// No handler is called, and nothing is published. Followers see the events.
func (l *Log) Import(ctx context.Context, r io.Reader) (ImportReport, error) {
	var (
		report ImportReport
		batch  []row
		size   int // of its lines
		first  int // the line that the batch begins with
		last   int
	)
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		inserted, err := l.appendImported(ctx, batch)
		if err != nil {
			return fmt.Errorf("eventlog: importing lines %d to %d: %w", first, last, err)
		}
		report.Imported += inserted
		report.Skipped += int64(len(batch)) - inserted
		batch, size = batch[:0], 0
		return nil
	}
	lines := bufio.NewReaderSize(r, 64<<10)
	for number := 1; ; number++ {
		if err := ctx.Err(); err != nil {
			return report, fmt.Errorf("eventlog: importing: %w", err)
		}
		text, readErr := lines.ReadBytes('\n')
		if readErr != nil && readErr != io.EOF {
			// The line may be incomplete.
			flushErr := flush()
			return report, errors.Join(fmt.Errorf("eventlog: importing: reading line %d: %w", number, readErr), flushErr)
		}
		switch imported, ok, err := parseLine(text); {
		case err != nil:
			flushErr := flush()
			return report, errors.Join(fmt.Errorf("eventlog: importing line %d: %w", number, err), flushErr)
		case ok:
			if len(batch) == 0 {
				first = number
			}
			last = number
			batch, size = append(batch, imported), size+len(text)
		}
		if readErr != nil || len(batch) >= importLines || size >= importBytes {
			if err := flush(); err != nil {
				return report, err
			}
		}
		if readErr != nil {
			return report, nil
		}
	}
}

// appendImported appends rows, and returns how many were new.
func (l *Log) appendImported(ctx context.Context, rows []row) (inserted int64, err error) {
	err = l.db.InTx(ctx, func(ctx context.Context, tx backend.Querier) error {
		inserted = 0
		return l.statements(rows, time.Now(), func(query string, args []any) error {
			n, err := tx.Exec(ctx, query+orSkip, args...)
			inserted += n
			return err
		})
	})
	if err == nil && inserted > 0 {
		l.wakeOnCommit(ctx)
	}
	return inserted, err
}

// parseLine reads a line, and reports whether it is not empty.
func parseLine(line []byte) (r row, ok bool, err error) {
	if line = bytes.TrimSpace(line); len(line) == 0 {
		return row{}, false, nil
	}
	if err := r.Envelope.UnmarshalJSON(line); err != nil {
		return row{}, false, err
	}
	if err := r.setExtensions(line); err != nil {
		return row{}, false, fmt.Errorf("event %s: %w", r.ID, err)
	}
	return r, true, nil
}

// setExtensions reads the attributes that an Envelope does not have, as
// strictly as an Envelope: none of them twice, and the names in lower case.
func (r *row) setExtensions(line []byte) error {
	found := map[string]json.RawMessage{}
	decoder := json.NewDecoder(bytes.NewReader(line))
	if _, err := decoder.Token(); err != nil { // the opening brace
		return err
	}
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return err
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return err
		}
		name, _ := token.(string)
		switch lower := strings.ToLower(name); {
		case lower != "recordedat" && lower != "stream" && lower != "streamversion":
		case name != lower:
			return fmt.Errorf("it has %q: the names of attributes are in lower case, %q", name, lower)
		case found[name] != nil:
			return fmt.Errorf("it has %q twice", name)
		default:
			found[name] = value
		}
	}
	recordedAt, err := textOf(found, "recordedat")
	if err == nil && recordedAt != "" {
		r.recordedAt, err = parseRecorded(recordedAt)
	}
	if err == nil {
		r.stream, err = textOf(found, "stream")
	}
	if err == nil {
		r.version, err = streamVersion(found["streamversion"])
	}
	switch {
	case err != nil:
		return err
	case (r.stream == "") != (r.version == 0):
		return errors.New("it has one of stream and streamversion, and not the other")
	case strings.ContainsRune(r.stream, 0) || strings.ContainsRune(r.Type, 0):
		return errors.New("its type or stream has a NUL, which a database does not take")
	}
	return nil
}

func textOf(found map[string]json.RawMessage, name string) (text string, err error) {
	value := found[name]
	if value == nil {
		return "", nil
	}
	if err := json.Unmarshal(value, &text); err != nil { // null is ""
		return "", fmt.Errorf("%s is %s: it has to be a string", name, value)
	}
	return text, nil
}

// streamVersion reads a number, or a number in a string; 0 if there is none.
func streamVersion(value json.RawMessage) (int64, error) {
	if value == nil || string(value) == "null" {
		return 0, nil
	}
	var text string
	if json.Unmarshal(value, &text) != nil {
		text = string(value)
	}
	version, err := strconv.ParseInt(text, 10, 64)
	if err != nil || version < 1 {
		return 0, fmt.Errorf("streamversion %s is not an integer >= 1", value)
	}
	return version, nil
}
