package tidings

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// An Envelope is an event as it is stored and sent: its header, its
// registered name and version, and its data, which nobody has to understand
// to pass it on. [Registry.Wrap] and [Registry.Unwrap] turn events into
// envelopes and back.
//
// Its JSON is that of a CloudEvent in structured mode, see
// https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md:
//
//	{
//	  "specversion": "1.0",
//	  "id": "0197…",                  // EventID
//	  "source": "/shop",              // Registry.Source
//	  "type": "crm.proposal_accepted",
//	  "time": "2026-03-01T09:30:00.123456Z",
//	  "datacontenttype": "application/json",
//	  "dataversion": 2,               // the extension attributes of tidings
//	  "correlationid": "0197…",
//	  "causationid": "0197…",         // absent where nothing caused the event
//	  "data": {"proposal_id": 7}      // the struct's own JSON
//	}
//
// From other producers it accepts: a missing dataversion, which is 1, or
// one written as a string; a missing correlationid, which is the id; other
// attributes, which are ignored; finer times, which are cut to microseconds.
type Envelope struct {
	ID            uuid.UUID
	Source        string
	Type          string
	Version       int
	OccurredAt    time.Time // in UTC, cut to microseconds
	CorrelationID uuid.UUID
	CausationID   uuid.UUID // uuid.Nil: none
	Data          json.RawMessage
}

// timeFormat is RFC 3339, with as many digits as microseconds need.
const timeFormat = "2006-01-02T15:04:05.999999Z07:00"

// MarshalJSON returns the envelope as a CloudEvent.
func (e Envelope) MarshalJSON() ([]byte, error) {
	if err := e.check(); err != nil {
		return nil, fmt.Errorf("tidings: encoding a CloudEvent: %w", err)
	}
	return e.appendJSON(make([]byte, 0, 320+len(e.Type)+len(e.Source)+len(e.Data))), nil
}

func (e Envelope) appendJSON(b []byte) []byte {
	b = append(b, `{"specversion":"1.0","id":"`...)
	b = appendUUID(b, e.ID)
	b = append(b, `","source":`...)
	b = appendString(b, e.Source)
	b = append(b, `,"type":`...)
	b = appendString(b, e.Type)
	b = append(b, `,"time":"`...)
	b = e.OccurredAt.UTC().AppendFormat(b, timeFormat)
	b = append(b, `","datacontenttype":"application/json","dataversion":`...)
	b = strconv.AppendInt(b, int64(e.Version), 10)
	b = append(b, `,"correlationid":"`...)
	b = appendUUID(b, e.CorrelationID)
	if e.CausationID != uuid.Nil {
		b = append(b, `","causationid":"`...)
		b = appendUUID(b, e.CausationID)
	}
	b = append(b, `","data":`...)
	b = append(b, e.Data...)
	return append(b, '}')
}

func appendUUID(b []byte, id uuid.UUID) []byte {
	b = append(hex.AppendEncode(b, id[:4]), '-')
	b = append(hex.AppendEncode(b, id[4:6]), '-')
	b = append(hex.AppendEncode(b, id[6:8]), '-')
	b = append(hex.AppendEncode(b, id[8:10]), '-')
	return hex.AppendEncode(b, id[10:])
}

// appendString appends s as JSON. Names and sources rarely need escaping.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, _ := json.Marshal(s) // a string never fails
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// check returns an error for what is no CloudEvent of this package.
func (e *Envelope) check() error {
	switch year := e.OccurredAt.UTC().Year(); {
	case e.ID == uuid.Nil:
		return errors.New("it has no id")
	case e.Source == "":
		return errors.New("it has no source")
	case e.Type == "":
		return errors.New("it has no type")
	case e.Version < 1:
		return fmt.Errorf("dataversion %d: versions begin at 1", e.Version)
	case e.OccurredAt.IsZero():
		return errors.New("it has no time")
	case year < 1 || year > 9999:
		return fmt.Errorf("time %s: RFC 3339 has years from 1 to 9999", e.OccurredAt.UTC())
	case e.CorrelationID == uuid.Nil:
		return errors.New("it has no correlationid")
	case len(e.Data) == 0:
		return errors.New("it has no data")
	case string(e.Data) == "null":
		return errors.New("its data is null")
	}
	return nil
}

// A wireEnvelope is a CloudEvent as it arrives.
type wireEnvelope struct {
	SpecVersion     string          `json:"specversion"`
	ID              string          `json:"id"`
	Source          string          `json:"source"`
	Type            string          `json:"type"`
	Time            string          `json:"time"`
	DataContentType string          `json:"datacontenttype"`
	DataVersion     json.RawMessage `json:"dataversion"`
	CorrelationID   string          `json:"correlationid"`
	CausationID     string          `json:"causationid"`
	Data            json.RawMessage `json:"data"`
	DataBase64      json.RawMessage `json:"data_base64"`
}

// UnmarshalJSON reads a CloudEvent.
func (e *Envelope) UnmarshalJSON(data []byte) error {
	var w wireEnvelope
	if err := json.Unmarshal(data, &w); err != nil {
		return fmt.Errorf("tidings: decoding a CloudEvent: %w", err)
	}
	env, err := w.envelope()
	if err == nil {
		err = env.check()
	}
	if err != nil {
		return fmt.Errorf("tidings: decoding the CloudEvent %q of type %q: %w", w.ID, w.Type, err)
	}
	*e = env
	return nil
}

func (w *wireEnvelope) envelope() (e Envelope, err error) {
	if w.SpecVersion != "1.0" {
		return e, fmt.Errorf("specversion %q: only 1.0 is understood", w.SpecVersion)
	}
	if w.DataBase64 != nil {
		return e, errors.New("it has data_base64: the data of an event is JSON")
	}
	if t := w.DataContentType; t != "" && !isJSON(t) {
		return e, fmt.Errorf("datacontenttype %q: the data of an event is JSON", t)
	}
	e = Envelope{Source: w.Source, Type: w.Type, Version: 1, Data: w.Data}
	if e.ID, err = uuid.Parse(w.ID); err != nil {
		return e, fmt.Errorf("id %q: %w", w.ID, err)
	}
	if w.Time != "" {
		at, err := time.Parse(time.RFC3339Nano, w.Time)
		if err != nil {
			return e, fmt.Errorf("time: %w", err)
		}
		e.OccurredAt = time.UnixMicro(at.UnixMicro()).UTC()
	}
	if w.DataVersion != nil {
		if e.Version, err = strconv.Atoi(strings.Trim(string(w.DataVersion), `"`)); err != nil {
			return e, fmt.Errorf("dataversion %s is no whole number", w.DataVersion)
		}
	}
	e.CorrelationID = e.ID
	if w.CorrelationID != "" {
		if e.CorrelationID, err = uuid.Parse(w.CorrelationID); err != nil {
			return e, fmt.Errorf("correlationid %q: %w", w.CorrelationID, err)
		}
	}
	if w.CausationID != "" {
		if e.CausationID, err = uuid.Parse(w.CausationID); err != nil {
			return e, fmt.Errorf("causationid %q: %w", w.CausationID, err)
		}
	}
	return e, nil
}

// isJSON reports whether a media type is JSON's: application/json, text/json
// or one that ends in +json, whatever its parameters.
func isJSON(mediaType string) bool {
	mediaType, _, _ = strings.Cut(strings.ToLower(mediaType), ";")
	mediaType = strings.TrimSpace(mediaType)
	return strings.HasSuffix(mediaType, "/json") || strings.HasSuffix(mediaType, "+json")
}
