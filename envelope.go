package tidings

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/tidings-go/tidings/internal/rfc3339"
)

// An Envelope is an event in the form in which it is stored and sent: its header, its
// registered name and version, and its data as JSON. A program can pass an Envelope
// on without knowing the event's type. [Registry.Wrap] converts an event to an
// Envelope, and [Registry.Unwrap] converts it back.
//
// An Envelope marshals as a CloudEvent in structured mode, see
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
//	  "causationid": "0197…",         // absent if no event caused this one
//	  "data": {"proposal_id": 7}      // the struct's own JSON
//	}
//
// UnmarshalJSON also accepts CloudEvents of other producers. A missing dataversion means
// 1, and it may be written as a string. A missing correlationid means the id. null
// counts as missing, and other attributes are ignored. time may be any RFC 3339 time,
// and is truncated to microseconds. The id must be a UUID in the form above.
//
// UnmarshalJSON refuses text that two readers could understand differently: one of
// these attributes twice or in capitals ("ID"), and text that is not UTF-8.
type Envelope struct {
	ID            uuid.UUID
	Source        string
	Type          string
	Version       int
	OccurredAt    time.Time // in UTC, truncated to microseconds
	CorrelationID uuid.UUID
	CausationID   uuid.UUID // uuid.Nil: none
	Data          json.RawMessage
}

// maxVersion is the largest Integer of CloudEvents.
const maxVersion = math.MaxInt32

// MarshalJSON returns the envelope as a CloudEvent.
func (e Envelope) MarshalJSON() ([]byte, error) {
	err := e.check()
	if err == nil && !json.Valid(e.Data) {
		err = errors.New("its data is not JSON")
	}
	if err != nil {
		return nil, fmt.Errorf("tidings: encoding a CloudEvent: %w", err)
	}
	return e.text(), nil
}

// text returns the CloudEvent. The caller has checked e.
func (e *Envelope) text() []byte {
	b := make([]byte, 0, 320+len(e.Type)+len(e.Source)+len(e.Data))
	b = append(b, `{"specversion":"1.0","id":"`...)
	b = appendUUID(b, e.ID)
	b = append(b, `","source":`...)
	b = appendString(b, e.Source)
	b = append(b, `,"type":`...)
	b = appendString(b, e.Type)
	b = append(b, `,"time":"`...)
	b = e.OccurredAt.UTC().Truncate(time.Microsecond).AppendFormat(b, time.RFC3339Nano)
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

// appendString appends s as a JSON string. Names and sources rarely need escaping.
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

// check returns an error unless the fields of e are valid. It does not parse the
// data.
func (e *Envelope) check() error {
	switch year := e.OccurredAt.UTC().Year(); {
	case e.ID == uuid.Nil:
		return errors.New("it has no id")
	case e.Source == "":
		return errors.New("it has no source")
	case e.Type == "":
		return errors.New("it has no type")
	case !utf8.ValidString(e.Source) || !utf8.ValidString(e.Type):
		return errors.New("its source or type is not UTF-8")
	case e.Version < 1 || e.Version > maxVersion:
		return fmt.Errorf("dataversion %d: versions are 1 to %d", e.Version, maxVersion)
	case e.OccurredAt.IsZero():
		return errors.New("it has no time")
	case year < 1 || year > 9999:
		return fmt.Errorf("time %s: RFC 3339 has years from 1 to 9999", e.OccurredAt.UTC())
	case e.CorrelationID == uuid.Nil:
		return errors.New("it has no correlationid")
	case len(e.Data) == 0:
		return errors.New("it has no data")
	case string(bytes.TrimSpace(e.Data)) == "null":
		return errors.New("its data is null")
	case !utf8.Valid(e.Data): // encoding/json would replace the invalid bytes
		return errors.New("its data is not UTF-8")
	}
	return nil
}

// UnmarshalJSON reads a CloudEvent.
func (e *Envelope) UnmarshalJSON(data []byte) error {
	env, err := parseEnvelope(data)
	if err != nil {
		return err
	}
	// Cloned, since parts of the text would keep all of it in memory.
	env.Type, env.Source = strings.Clone(env.Type), strings.Clone(env.Source)
	*e = env
	return nil
}

// parseEnvelope reads a CloudEvent. The strings of the Envelope may be parts of a
// copy of the text.
func parseEnvelope(text []byte) (Envelope, error) {
	w, err := parseWire(text)
	if err != nil {
		return Envelope{}, fmt.Errorf("tidings: decoding a CloudEvent: %w", err)
	}
	e, err := w.envelope()
	if err == nil {
		err = e.check()
	}
	if err != nil {
		return Envelope{}, fmt.Errorf("tidings: decoding the CloudEvent with id %s of type %s: %w", orNone(w[idAttr]), orNone(w[typeAttr]), err)
	}
	return e, nil
}

func orNone(value string) string {
	if value == "" {
		return "(none)"
	}
	return value
}

func (w *wireEnvelope) envelope() (e Envelope, err error) {
	var texts [len(attributes)]string
	for i := range texts {
		if i == versionAttr || i == dataAttr || i == base64Attr {
			continue
		}
		if texts[i], err = unquote(w[i]); err != nil {
			return e, fmt.Errorf("%s is %s: it has to be a string", attributes[i], w[i])
		}
	}
	if v := texts[specAttr]; v != "1.0" {
		return e, fmt.Errorf("specversion %q: only 1.0 is understood", v)
	}
	if w[base64Attr] != "" {
		return e, errors.New("it has data_base64: the data of an event is JSON")
	}
	if t := texts[contentAttr]; t != "" && !isJSON(t) {
		return e, fmt.Errorf("datacontenttype %q: the data of an event is JSON", t)
	}
	e = Envelope{Source: texts[sourceAttr], Type: texts[typeAttr], Version: 1, Data: json.RawMessage(w[dataAttr])}
	if e.OccurredAt, err = parseTime(texts[timeAttr]); err != nil {
		return e, err
	}
	if w[versionAttr] != "" {
		if e.Version, err = parseVersion(w[versionAttr]); err != nil {
			return e, err
		}
	}
	if e.ID, err = parseUUID(idAttr, texts[idAttr]); err != nil {
		return e, err
	}
	if e.CorrelationID, err = parseUUID(correlationAttr, texts[correlationAttr]); err != nil {
		return e, err
	}
	if e.CausationID, err = parseUUID(causationAttr, texts[causationAttr]); err != nil {
		return e, err
	}
	if texts[correlationAttr] == "" {
		e.CorrelationID = e.ID
	}
	return e, nil
}

// parseUUID accepts only the canonical form, so that each ID has one spelling.
func parseUUID(attr int, s string) (uuid.UUID, error) {
	if s == "" {
		return uuid.Nil, nil
	}
	id, err := uuid.Parse(s)
	if err != nil || len(s) != len("00000000-0000-0000-0000-000000000000") {
		return uuid.Nil, fmt.Errorf("%s %q is not a UUID", attributes[attr], s)
	}
	return id, nil
}

func parseTime(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	at, err := rfc3339.Parse(s)
	if err != nil {
		return time.Time{}, fmt.Errorf("time %q is not an RFC 3339 time: %w", s, err)
	}
	return time.UnixMicro(at.UnixMicro()).UTC(), nil
}

func parseVersion(value string) (int, error) {
	s := value
	if s[0] == '"' {
		s, _ = unquote(value) // a string never fails
	}
	version, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("dataversion %s is not an integer from 1 to %d", value, maxVersion)
	}
	return int(version), nil
}

// isJSON reports whether a media type is JSON: application/json, text/json or a type
// that ends in +json, with any parameters.
func isJSON(mediaType string) bool {
	mediaType, _, _ = strings.Cut(strings.ToLower(mediaType), ";")
	mediaType = strings.TrimSpace(mediaType)
	return strings.HasSuffix(mediaType, "/json") || strings.HasSuffix(mediaType, "+json")
}
