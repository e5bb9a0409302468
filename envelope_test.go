package tidings_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
)

const (
	envelopeID    = "0195517d-6c40-7a1b-8c2d-0123456789ab"
	envelopeCorr  = "0195517d-6c40-7a1b-8c2d-0123456789ac"
	envelopeCause = "0195517d-6c40-7a1b-8c2d-0123456789ad"
	envelopeText  = `{"specversion":"1.0","id":"` + envelopeID + `","source":"/shop","type":"shop.parcel_int","time":"2026-03-01T09:30:00.123456Z",` +
		`"datacontenttype":"application/json","dataversion":1,"correlationid":"` + envelopeCorr + `","causationid":"` + envelopeCause + `","data":{"Value":7}}`
)

// envelopeOf is the Envelope that envelopeText stands for.
func envelopeOf() tidings.Envelope {
	return tidings.Envelope{
		ID: uuid.MustParse(envelopeID), Source: "/shop", Type: "shop.parcel_int", Version: 1,
		OccurredAt:    time.Date(2026, 3, 1, 9, 30, 0, 123456000, time.UTC),
		CorrelationID: uuid.MustParse(envelopeCorr), CausationID: uuid.MustParse(envelopeCause), Data: json.RawMessage(`{"Value":7}`),
	}
}

// without returns envelopeText without an attribute.
func without(attribute string) string { return with(attribute, "") }

// with returns envelopeText with the JSON value for an attribute, and
// without the attribute for "".
func with(attribute, value string) string {
	_, rest, ok := strings.Cut(envelopeText, `"`+attribute+`":`)
	if !ok {
		panic(attribute)
	}
	end := strings.Index(rest, `,"`)
	if end < 0 {
		end = len(rest) - 1
	}
	old := `"` + attribute + `":` + rest[:end]
	switch {
	case value != "":
		return strings.Replace(envelopeText, old, `"`+attribute+`":`+value, 1)
	case strings.Contains(envelopeText, old+","):
		return strings.Replace(envelopeText, old+",", "", 1)
	}
	return strings.Replace(envelopeText, ","+old, "", 1)
}

// plus returns envelopeText with further members.
func plus(members string) string { return strings.TrimSuffix(envelopeText, "}") + "," + members + "}" }

func TestAnEnvelopeIsACloudEvent(t *testing.T) {
	t.Parallel()
	var e tidings.Envelope
	require.NoError(t, json.Unmarshal([]byte(envelopeText), &e))
	require.Equal(t, envelopeOf(), e)
	data, err := json.Marshal(e)
	require.NoError(t, err)
	require.Equal(t, envelopeText, string(data))
	data, err = e.MarshalJSON()
	require.NoError(t, err)
	require.Equal(t, envelopeText, string(data))

	e.Source, e.CausationID = "/sh\"op\u2028<ü>\\", uuid.Nil
	e.OccurredAt = time.Date(2026, 3, 1, 10, 30, 0, 123456999, time.FixedZone("", 3600))
	data, err = e.MarshalJSON()
	require.NoError(t, err)
	var again tidings.Envelope
	require.NoError(t, again.UnmarshalJSON(data))
	e.OccurredAt = time.Date(2026, 3, 1, 9, 30, 0, 123456000, time.UTC)
	require.Equal(t, e, again)

	clear(data)
	require.JSONEq(t, `{"Value":7}`, string(again.Data), "an Envelope has memory of its own")
}

func TestEnvelopesOfOtherProducers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text   string
		change func(*tidings.Envelope)
		reason string
	}{
		{"\r\n\t " + envelopeText + "\n", func(*tidings.Envelope) {}, "white space around it"},
		{strings.NewReplacer(`,"`, " ,\n\t\"", `":`, `" : `).Replace(envelopeText), func(e *tidings.Envelope) { e.Data = json.RawMessage(`{"Value" : 7}`) }, "white space in it"},
		{`{"data":[{"a":"}\\\"]"},"]",{}],` + without("data")[1:], func(e *tidings.Envelope) { e.Data = json.RawMessage(`[{"a":"}\\\"]"},"]",{}]`) }, "in any order; brackets in strings"},
		{with("data", "7"), func(e *tidings.Envelope) { e.Data = json.RawMessage("7") }, "data is any JSON"},
		{with("data", `"x"`), func(e *tidings.Envelope) { e.Data = json.RawMessage(`"x"`) }, ""},
		{without("dataversion"), func(*tidings.Envelope) {}, "a missing version is 1"},
		{with("dataversion", "null"), func(*tidings.Envelope) {}, "null is missing"},
		{with("dataversion", `"3"`), func(e *tidings.Envelope) { e.Version = 3 }, "in the binary modes of CloudEvents integers are text"},
		{with("dataversion", `"\u0033"`), func(e *tidings.Envelope) { e.Version = 3 }, "escapes are undone"},
		{with("dataversion", "2147483647"), func(e *tidings.Envelope) { e.Version = 2147483647 }, "the largest Integer of CloudEvents"},
		{without("datacontenttype"), func(*tidings.Envelope) {}, "it is JSON then, says the spec"},
		{with("datacontenttype", `"text/json; charset=utf-8"`), func(*tidings.Envelope) {}, ""},
		{with("datacontenttype", `"APPLICATION/VND.SHOP+JSON"`), func(*tidings.Envelope) {}, ""},
		{without("correlationid"), func(e *tidings.Envelope) { e.CorrelationID = e.ID }, "it begins a workflow"},
		{with("correlationid", "null"), func(e *tidings.Envelope) { e.CorrelationID = e.ID }, ""},
		{without("causationid"), func(e *tidings.Envelope) { e.CausationID = uuid.Nil }, ""},
		{with("causationid", "null"), func(e *tidings.Envelope) { e.CausationID = uuid.Nil }, ""},
		{with("id", `"`+strings.ToUpper(envelopeID)+`"`), func(*tidings.Envelope) {}, "the value of a UUID does not depend on case"},
		{with("type", `"\u0073hop.parcel_int"`), func(*tidings.Envelope) {}, "escapes are undone"},
		{strings.Replace(envelopeText, `"type"`, `"t\u0079pe"`, 1), func(*tidings.Envelope) {}, "in names too"},
		{with("time", `"2026-03-01T10:30:00.123456789+01:00"`), func(*tidings.Envelope) {}, "time zones and nanoseconds"},
		{with("time", `"2026-03-01t09:30:00.123456z"`), func(*tidings.Envelope) {}, "RFC 3339 allows lower case"},
		{with("time", `"2016-12-31T23:59:60Z"`), func(e *tidings.Envelope) { e.OccurredAt = time.Date(2017, 1, 1, 0, 0, 0, 0, time.UTC) }, "and leap seconds, which time.Time has not"},
		{with("time", `"2026-03-01T09:30:00Z"`), func(e *tidings.Envelope) { e.OccurredAt = e.OccurredAt.Truncate(time.Second) }, ""},
		{plus(`"subject":"7","dataschema":"https://x","traceparent":"00-…","subject":"8","Subject":{}`), func(*tidings.Envelope) {}, "other attributes are ignored"},
		{plus(`"data_base64":null`), func(*tidings.Envelope) {}, "null is missing"},
	} {
		var e tidings.Envelope
		require.NoError(t, e.UnmarshalJSON([]byte(tt.text)), "%s %s", tt.reason, tt.text)
		want := envelopeOf()
		tt.change(&want)
		require.Equal(t, want, e, tt.reason)
	}
}

func TestMalformedEnvelopes(t *testing.T) {
	t.Parallel()
	const about = `tidings: decoding the CloudEvent with id "` + envelopeID + `" of type "shop.parcel_int": `
	const noJSON = "tidings: decoding a CloudEvent: it is not JSON: " // and what encoding/json says
	_, notATime := time.Parse(time.RFC3339, "yesterday")
	for _, tt := range []struct {
		text, want, reason string
	}{
		{"", noJSON, ""},
		{envelopeText + "}", noJSON, "garbage after it"},
		{envelopeText + envelopeText, noJSON, "one at a time"},
		{envelopeText + "\x00", noJSON, ""},
		{"\ufeff" + envelopeText, noJSON, "a byte order mark"},
		{with("data", strings.Repeat("[", 10_001)+strings.Repeat("]", 10_001)), noJSON, "no stack overflow"},
		{"null", "tidings: decoding a CloudEvent: it is not a JSON object", ""},
		{"[" + envelopeText + "]", "tidings: decoding a CloudEvent: it is not a JSON object", "the batch format"},
		{`"x"`, "tidings: decoding a CloudEvent: it is not a JSON object", ""},
		{with("source", "\"caf\xe9\""), "tidings: decoding a CloudEvent: it is not UTF-8", ""},
		{with("data", "\"caf\xe9\""), "tidings: decoding a CloudEvent: it is not UTF-8", "encoding/json would replace it"},

		{plus(`"id":"` + envelopeCorr + `"`), `tidings: decoding a CloudEvent: it has "id" twice`, "which of them would others read?"},
		{plus(`"id":null`), `tidings: decoding a CloudEvent: it has "id" twice`, ""},
		{plus(`"\u0069d":"x"`), `tidings: decoding a CloudEvent: it has "id" twice`, "an escape does not hide it"},
		{plus(`"data":{}`), `tidings: decoding a CloudEvent: it has "data" twice`, ""},
		{plus(`"ID":"` + envelopeCorr + `"`), `tidings: decoding a CloudEvent: it has "ID": the names of attributes are in lower case, "id"`, "encoding/json would take it for the id"},
		{plus(`"\u017fource":"x"`), `tidings: decoding a CloudEvent: it has "ſource": the names of attributes are in lower case, "source"`, "and this for the source"},
		{strings.Replace(envelopeText, "correlationid", "correlationId", 1), `tidings: decoding a CloudEvent: it has "correlationId": the names of attributes are in lower case, "correlationid"`, "not silently lost"},

		{`{}`, `tidings: decoding the CloudEvent with id (none) of type (none): specversion "": only 1.0 is understood`, ""},
		{without("specversion"), about + `specversion "": only 1.0 is understood`, ""},
		{with("specversion", `"0.3"`), about + `specversion "0.3": only 1.0 is understood`, ""},
		{with("specversion", `1.0`), about + `specversion is 1.0: it has to be a string`, ""},
		{plus(`"data_base64":"e30="`), about + "it has data_base64: the data of an event is JSON", ""},
		{with("datacontenttype", `"text/plain"`), about + `datacontenttype "text/plain": the data of an event is JSON`, ""},
		{with("datacontenttype", `"application/jsonlines"`), about + `datacontenttype "application/jsonlines": the data of an event is JSON`, ""},
		{without("id"), `tidings: decoding the CloudEvent with id (none) of type "shop.parcel_int": it has no id`, ""},
		{with("id", "null"), `tidings: decoding the CloudEvent with id (none) of type "shop.parcel_int": it has no id`, ""},
		{with("id", `7`), `tidings: decoding the CloudEvent with id 7 of type "shop.parcel_int": id is 7: it has to be a string`, ""},
		{with("id", `"order-7"`), `tidings: decoding the CloudEvent with id "order-7" of type "shop.parcel_int": id "order-7" is not a UUID`, ""},
		{with("correlationid", `"{`+envelopeID+`}"`), about + `correlationid "{` + envelopeID + `}" is not a UUID`, "IDs have one spelling"},
		{with("correlationid", `"urn:uuid:`+envelopeID+`"`), about + `correlationid "urn:uuid:` + envelopeID + `" is not a UUID`, ""},
		{with("causationid", `"`+strings.ReplaceAll(envelopeID, "-", "")+`"`), about + `causationid "` + strings.ReplaceAll(envelopeID, "-", "") + `" is not a UUID`, ""},
		{with("correlationid", `"00000000-0000-0000-0000-000000000000"`), about + "it has no correlationid", ""},
		{without("source"), about + "it has no source", ""},
		{with("source", `""`), about + "it has no source", ""},
		{without("type"), `tidings: decoding the CloudEvent with id "` + envelopeID + `" of type (none): it has no type`, ""},
		{without("time"), about + "it has no time", "optional in CloudEvents, but part of the header"},
		{with("time", `"yesterday"`), about + `time "yesterday" is not an RFC 3339 time: ` + notATime.Error(), ""},
		{with("time", `"0000-01-01T00:00:00Z"`), about + "time 0000-01-01 00:00:00 +0000 UTC: RFC 3339 has years from 1 to 9999", "it could not be written again"},
		{with("time", `"9999-12-31T23:59:59-01:00"`), about + "time 10000-01-01 00:59:59 +0000 UTC: RFC 3339 has years from 1 to 9999", ""},
		{with("time", `1772357400`), about + "time is 1772357400: it has to be a string", ""},
		{without("data"), about + "it has no data", ""},
		{with("data", "null"), about + "its data is null", ""},
		{with("dataversion", "0"), about + "dataversion 0: versions are 1 to 2147483647", ""},
		{with("dataversion", "-1"), about + "dataversion -1 is not an integer from 1 to 2147483647", ""},
		{with("dataversion", "2.5"), about + "dataversion 2.5 is not an integer from 1 to 2147483647", ""},
		{with("dataversion", "2.0"), about + "dataversion 2.0 is not an integer from 1 to 2147483647", ""},
		{with("dataversion", "1e0"), about + "dataversion 1e0 is not an integer from 1 to 2147483647", ""},
		{with("dataversion", "2147483648"), about + "dataversion 2147483648 is not an integer from 1 to 2147483647", ""},
		{with("dataversion", strings.Repeat("9", 50)), about + "dataversion " + strings.Repeat("9", 50) + " is not an integer from 1 to 2147483647", ""},
		{with("dataversion", `"v2"`), about + `dataversion "v2" is not an integer from 1 to 2147483647`, ""},
		{with("dataversion", `""`), about + `dataversion "" is not an integer from 1 to 2147483647`, ""},
		{with("dataversion", `"+2"`), about + `dataversion "+2" is not an integer from 1 to 2147483647`, ""},
		{with("dataversion", `[2]`), about + `dataversion [2] is not an integer from 1 to 2147483647`, ""},
		{with("dataversion", `true`), about + `dataversion true is not an integer from 1 to 2147483647`, ""},
	} {
		if tt.want == noJSON {
			tt.want += notInto[any](tt.text)
		}
		e := tidings.Envelope{Type: "before"}
		err := e.UnmarshalJSON([]byte(tt.text))
		require.EqualError(t, err, tt.want, tt.reason)
		require.Equal(t, tidings.Envelope{Type: "before"}, e, "an error changes nothing")
		event, err := parcelRegistry().Decode([]byte(tt.text))
		require.EqualError(t, err, tt.want, tt.reason)
		require.Nil(t, event)
	}
}

func TestTruncatedEventsAreErrors(t *testing.T) {
	t.Parallel()
	r := parcelRegistry()
	_, err := r.Decode([]byte(envelopeText))
	require.NoError(t, err)
	for i := range envelopeText {
		event, err := r.Decode([]byte(envelopeText[:i]))
		require.ErrorContains(t, err, "it is not JSON: "+notInto[any](envelopeText[:i]), "%d bytes", i)
		require.Nil(t, event)
	}
	for i := 1; i < len(envelopeText); i++ { // a beginning that is missing
		_, err := r.Decode([]byte(envelopeText[i:]))
		require.Error(t, err, "without %d bytes", i)
	}
}

func TestEnvelopesThatAreNotEncoded(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		change func(*tidings.Envelope)
		want   string
	}{
		{func(e *tidings.Envelope) { *e = tidings.Envelope{} }, "it has no id"},
		{func(e *tidings.Envelope) { e.Source = "" }, "it has no source"},
		{func(e *tidings.Envelope) { e.Type = "" }, "it has no type"},
		{func(e *tidings.Envelope) { e.Type = "\xff" }, "its source or type is not UTF-8"},
		{func(e *tidings.Envelope) { e.Source = "\xff" }, "its source or type is not UTF-8"},
		{func(e *tidings.Envelope) { e.Version = 0 }, "dataversion 0: versions are 1 to 2147483647"},
		{func(e *tidings.Envelope) { e.OccurredAt = time.Time{} }, "it has no time"},
		{func(e *tidings.Envelope) { e.OccurredAt = time.Date(-7, 1, 1, 0, 0, 0, 0, time.UTC) }, "time -0007-01-01 00:00:00 +0000 UTC: RFC 3339 has years from 1 to 9999"},
		{func(e *tidings.Envelope) { e.CorrelationID = uuid.Nil }, "it has no correlationid"},
		{func(e *tidings.Envelope) { e.Data = nil }, "it has no data"},
		{func(e *tidings.Envelope) { e.Data = json.RawMessage("null") }, "its data is null"},
		{func(e *tidings.Envelope) { e.Data = json.RawMessage(" null\n") }, "its data is null"},
		{func(e *tidings.Envelope) { e.Data = json.RawMessage(`{},"id":"x"`) }, "its data is not JSON"},
		{func(e *tidings.Envelope) { e.Data = json.RawMessage("\"caf\xe9\"") }, "its data is not UTF-8"},
	} {
		e := envelopeOf()
		tt.change(&e)
		data, err := e.MarshalJSON()
		require.EqualError(t, err, "tidings: encoding a CloudEvent: "+tt.want)
		require.Nil(t, data)
		if tt.want == "its data is not JSON" {
			continue // Unwrap parses it
		}
		_, err = parcelRegistry().Unwrap(e)
		require.EqualError(t, err, fmt.Sprintf("tidings: decoding %q: %s", e.Type, tt.want))
	}
}
