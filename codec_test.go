package tidings_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
)

type (
	parcelBase struct {
		tidings.DomainEvent
		Tenant string
	}
	parcelLine struct {
		SKU    string
		Copies int
	}
	parcelSent struct {
		parcelBase
		ID     int64 `json:"id"` // not the event's
		Lines  tidings.List[parcelLine]
		Codes  tidings.List[byte]
		Due    time.Time
		Weight float64
		From   netip.Addr
		Note   string `json:"note,omitempty"`
	}
	parcelCloned struct { // has a slice, and so a Clone
		tidings.DomainEvent
		Tags []string
	}
	parcelGeneric[T any] struct {
		tidings.DomainEvent
		Value T
	}
	parcelCustom struct { // marshals itself, with methods of the pointer
		tidings.DomainEvent
		cents int64
	}
	parcelBig struct {
		tidings.DomainEvent
		Amount big.Int // marshals itself only behind a pointer
	}
)

func (e parcelCloned) Clone() parcelCloned {
	e.Tags = append([]string(nil), e.Tags...)
	return e
}

func (e parcelBig) Clone() parcelBig { return e } // enough for a test that changes nothing

func (e *parcelCustom) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, `"%d.%02d"`, e.cents/100, e.cents%100), nil
}

func (e *parcelCustom) UnmarshalJSON(data []byte) error {
	var euros, cents int64
	_, err := fmt.Sscanf(string(data), `"%d.%02d"`, &euros, &cents)
	e.cents = euros*100 + cents
	return err
}

func parcelRegistry() *tidings.Registry {
	r := &tidings.Registry{Source: "/shop"}
	tidings.Register[parcelSent](r, "shop.parcel_sent", 1)
	tidings.Register[parcelCloned](r, "shop.parcel_cloned", 4)
	tidings.Register[parcelGeneric[int]](r, "shop.parcel_int", 1)
	tidings.Register[parcelGeneric[string]](r, "shop.parcel_string", 1)
	tidings.Register[parcelGeneric[float64]](r, "shop.parcel_float", 1)
	tidings.Register[parcelGeneric[any]](r, "shop.parcel_any", 1)
	tidings.Register[parcelGeneric[panics]](r, "shop.parcel_panics", 1)
	tidings.Register[parcelGeneric[json.RawMessage]](r, "shop.parcel_raw", 1)
	tidings.Register[parcelCustom](r, "shop.parcel_custom", 1)
	tidings.Register[parcelBig](r, "shop.parcel_big", 1)
	return r
}

// panics is a value that cannot be marshalled or unmarshalled quietly.
type panics struct{}

func (panics) MarshalJSON() ([]byte, error) { panic("no JSON today") }
func (*panics) UnmarshalJSON([]byte) error  { panic("no JSON today") }

// header returns what the accessors say, to compare two events by.
func header(e tidings.Event) [4]any {
	return [4]any{e.EventID(), e.OccurredAt(), e.CorrelationID(), e.CausationID()}
}

func TestDecodeRestoresWhatEncodeWrote(t *testing.T) {
	t.Parallel()
	r := parcelRegistry()
	at := time.Date(2026, 3, 1, 9, 30, 0, 123456789, time.FixedZone("CET", 3600))
	for _, event := range []tidings.Event{
		stamped(t, at, parcelSent{
			parcelBase: parcelBase{Tenant: "north"}, ID: 7, Lines: tidings.ListOf(parcelLine{"A", 1}, parcelLine{"B", 2}),
			Codes: tidings.ListOf[byte](0, 255), Due: at.Round(0).UTC(), Weight: 0.1, From: netip.MustParseAddr("2001:db8::1"),
			Note: "quote \" back\\slash <&> \u2028 \ufffd \\ufffd \x00 ü €",
		}),
		stamped(t, at, parcelGeneric[int]{Value: math.MinInt}),
		stamped(t, at, parcelGeneric[string]{Value: strings.Repeat("ü", 100_000)}),
		stamped(t, at, parcelGeneric[float64]{Value: math.MaxFloat64}),
		stamped(t, at, parcelCustom{cents: 12345}),
	} {
		data, err := r.Encode(event)
		require.NoError(t, err)
		require.True(t, json.Valid(data))
		decoded, err := r.Decode(data)
		require.NoError(t, err)
		require.Equal(t, header(event), header(decoded))
		if reflect.TypeOf(event) != reflect.TypeFor[parcelSent]() {
			require.True(t, event == decoded, "%#v != %#v", event, decoded)
		}
		require.Equal(t, event, decoded)
	}
}

func TestDecodeRestoresEventsThatClone(t *testing.T) {
	t.Parallel()
	r := parcelRegistry()
	event := stamped(t, time.Now(), parcelCloned{Tags: []string{"a", "b"}})
	data, err := r.Encode(event)
	require.NoError(t, err)
	decoded, err := r.Decode(data)
	require.NoError(t, err)
	require.Equal(t, event, decoded)

	clear(data) // what was read does not depend on the bytes that it was read from
	require.Equal(t, event, decoded)

	number := parcelBig{}
	number.Amount.SetString("123456789012345678901234567890", 10)
	number = stamped(t, time.Now(), number)
	data, err = r.Encode(number)
	require.NoError(t, err)
	decoded, err = r.Decode(data)
	require.NoError(t, err)
	amount := decoded.(parcelBig).Amount
	require.Zero(t, number.Amount.Cmp(&amount), "methods of pointers count when writing as they do when reading")
}

func TestTheHeaderIsRestoredExactly(t *testing.T) {
	t.Parallel()
	r := parcelRegistry()
	for _, at := range []time.Time{
		time.Now(),
		time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC),
		time.Date(2026, 3, 1, 9, 30, 0, 100_000_000, time.FixedZone("", -11*3600)),
		time.Date(2026, 3, 1, 9, 30, 0, 999_999_999, time.FixedZone("", 14*3600)),
		time.Date(1969, 12, 31, 23, 59, 59, 999_999_999, time.UTC), // before the epoch cutting is not towards it
		time.Unix(0, 0),
		time.Date(1, 1, 1, 0, 0, 0, 1000, time.UTC),
		time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC),
	} {
		for _, tt := range []struct {
			name  string
			event parcelGeneric[int]
		}{
			{"caused", stamped(t, at, parcelGeneric[int]{})},
			{"first", tidings.Stamp(t.Context(), parcelGeneric[int]{})},
		} {
			data, err := r.Encode(tt.event)
			require.NoError(t, err)
			decoded, err := r.Decode(data)
			require.NoError(t, err)
			require.True(t, tt.event == decoded.(parcelGeneric[int]), "%s: %v != %v", tt.name, header(tt.event), header(decoded))
			require.True(t, tt.event.OccurredAt() == decoded.OccurredAt(), "not only the same instant")
			require.Equal(t, tt.event.DomainEvent, decoded.(parcelGeneric[int]).DomainEvent)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	t.Parallel()
	r := parcelRegistry()
	now := time.Now()
	type stranger struct{ tidings.DomainEvent }
	for _, tt := range []struct {
		event  tidings.Event
		want   string
		reason string
	}{
		{nil, "tidings: encoding a nil event", ""},
		{stamped(t, now, stranger{}), `tidings: tidings_test.stranger is not registered: an event that is stored or sent needs a lasting name: tidings.Register[tidings_test.stranger](registry, "…", 1)`, ""},
		{&parcelCloned{}, "tidings: *tidings_test.parcelCloned is a pointer, which handlers would share: publish and subscribe to the struct tidings_test.parcelCloned itself", ""},
		{parcelCloned{}, "tidings: encoding tidings_test.parcelCloned: the event has no header: publish it, or use Stamp", ""},
		{stamped(t, now, parcelGeneric[string]{Value: "caf\xe9"}), "tidings: encoding tidings_test.parcelGeneric[string]: its field Value is not UTF-8", "encoding/json would replace the byte"},
		{stamped(t, now, parcelGeneric[string]{Value: `\` + "\xff"}), "tidings: encoding tidings_test.parcelGeneric[string]: its field Value is not UTF-8", "an escaped backslash before it"},
		{stamped(t, now, parcelGeneric[string]{Value: `\ufffd` + "\xff"}), "tidings: encoding tidings_test.parcelGeneric[string]: its field Value is not UTF-8", "the text of an escape before it"},
		{stamped(t, now, parcelGeneric[json.RawMessage]{Value: json.RawMessage("\"caf\xe9\"")}), fmt.Sprintf("tidings: encoding %T: its field Value is not UTF-8", parcelGeneric[json.RawMessage]{}), "it is written as it is, or replaced"},
		{stamped(t, now, parcelGeneric[float64]{Value: math.NaN()}), "tidings: encoding tidings_test.parcelGeneric[float64]: " + jsonError(math.NaN()), ""},
		{stamped(t, now, parcelGeneric[any]{Value: make(chan int)}), "tidings: encoding tidings_test.parcelGeneric[interface {}]: " + jsonError(parcelGeneric[any]{Value: make(chan int)}), ""},
		{stamped(t, now, parcelGeneric[panics]{}), "tidings: encoding tidings_test.parcelGeneric[github.com/tidings-go/tidings_test.panics]: panic: no JSON today", "a panic in MarshalJSON is an error"},
		{stamped(t, time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), parcelGeneric[int]{}), "tidings: encoding tidings_test.parcelGeneric[int]: time 10000-01-01 00:00:00 +0000 UTC: RFC 3339 has years from 1 to 9999", ""},
		{stamped(t, time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC), parcelGeneric[int]{}), "tidings: encoding tidings_test.parcelGeneric[int]: time -0001-01-01 00:00:00 +0000 UTC: RFC 3339 has years from 1 to 9999", ""},
		{stamped(t, time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), parcelGeneric[int]{}), "tidings: encoding tidings_test.parcelGeneric[int]: it has no time", "a broken clock's zero time"},
		{stamped(t, time.Date(9999, 12, 31, 23, 59, 59, 0, time.FixedZone("", -3600)), parcelGeneric[int]{}), "tidings: encoding tidings_test.parcelGeneric[int]: time 10000-01-01 00:59:59 +0000 UTC: RFC 3339 has years from 1 to 9999", "times are stored in UTC"},
	} {
		data, err := r.Encode(tt.event)
		require.EqualError(t, err, tt.want, tt.reason)
		require.Nil(t, data)
		require.Equal(t, strings.Contains(tt.want, "is not registered"), errors.Is(err, tidings.ErrUnregistered))
	}
	bad := &tidings.Registry{Source: "caf\xe9"}
	tidings.Register[parcelGeneric[int]](bad, "shop.parcel_int", 1)
	_, err := bad.Encode(stamped(t, now, parcelGeneric[int]{}))
	require.EqualError(t, err, "tidings: encoding tidings_test.parcelGeneric[int]: its source or type is not UTF-8")
}

// jsonError returns what encoding/json says of v, which is not ours.
func jsonError(v any) string {
	_, err := json.Marshal(v)
	return err.Error()
}

// notInto returns what encoding/json says when it reads data into a T.
func notInto[T any](data string) string { return json.Unmarshal([]byte(data), new(T)).Error() }

func TestEncodeWritesACloudEvent(t *testing.T) {
	t.Parallel()
	r := &tidings.Registry{}
	tidings.Register[parcelGeneric[string]](r, "shop.parcel_string", 3)
	event := stamped(t, time.Date(2026, 3, 1, 10, 30, 0, 120_000_999, time.FixedZone("", 3600)), parcelGeneric[string]{Value: "x"})
	data, err := r.Encode(event)
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf(`{"specversion":"1.0","id":"%s","source":"tidings","type":"shop.parcel_string","time":"2026-03-01T09:30:00.12Z",`+
		`"datacontenttype":"application/json","dataversion":3,"correlationid":"%s","causationid":"%s","data":{"Value":"x"}}`,
		event.EventID(), event.CorrelationID(), event.CausationID()), string(data))

	first := tidings.Stamp(t.Context(), parcelGeneric[string]{})
	data, err = r.Encode(first)
	require.NoError(t, err)
	require.NotContains(t, string(data), "causationid", "nothing caused it")
	require.Contains(t, string(data), fmt.Sprintf(`"correlationid":"%s"`, first.EventID()))
}

func TestWrapAndUnwrap(t *testing.T) {
	t.Parallel()
	r := parcelRegistry()
	event := stamped(t, time.Now(), parcelGeneric[int]{Value: 7})
	e, err := r.Wrap(event)
	require.NoError(t, err)
	require.Equal(t, tidings.Envelope{
		ID: event.EventID(), Source: "/shop", Type: "shop.parcel_int", Version: 1, OccurredAt: event.OccurredAt(),
		CorrelationID: event.CorrelationID(), CausationID: event.CausationID(), Data: json.RawMessage(`{"Value":7}`),
	}, e)
	unwrapped, err := r.Unwrap(e)
	require.NoError(t, err)
	require.Equal(t, tidings.Event(event), unwrapped)

	_, err = r.Wrap(parcelGeneric[int]{})
	require.EqualError(t, err, "tidings: encoding tidings_test.parcelGeneric[int]: the event has no header: publish it, or use Stamp")
	_, err = r.Unwrap(tidings.Envelope{Type: "shop.parcel_int"})
	require.EqualError(t, err, `tidings: decoding "shop.parcel_int": it has no id`)
}

func TestThePayloadIsReadAsEncodingJSONDoes(t *testing.T) {
	t.Parallel()
	r := &tidings.Registry{}
	tidings.Register[parcelLined](r, "shop.parcel_lined", 1)
	tidings.Register[parcelGeneric[panics]](r, "shop.parcel_panics", 1)
	for _, tt := range []struct {
		data, reason string
		fails        bool
		want         parcelLined
	}{
		{`{"SKU":"A","Copies":2}`, "", false, parcelLined{SKU: "A", Copies: 2}},
		{`{}`, "missing fields are zero", false, parcelLined{}},
		{`{"Copies":null}`, "null leaves the zero value", false, parcelLined{}},
		{`{"SKU":"A","Colour":"red","More":[{}]}`, "unknown fields are ignored", false, parcelLined{SKU: "A"}},
		{`{"sku":"A"}`, "names match in upper and lower case", false, parcelLined{SKU: "A"}},
		{`{"SKU":"A","SKU":"B"}`, "the last one counts", false, parcelLined{SKU: "B"}},
		{`{"DomainEvent":{"id":"x"},"id":"y","correlation":1}`, "data cannot change the header", false, parcelLined{}},
		{`{"SKU":7}`, "", true, parcelLined{}},
		{`{"Copies":1.5}`, "", true, parcelLined{}},
		{`{"Copies":99999999999999999999}`, "no silent overflow", true, parcelLined{}},
		{`[1]`, "", true, parcelLined{}},
		{`"text"`, "", true, parcelLined{}},
	} {
		id := uuid.New()
		event, err := r.Unwrap(tidings.Envelope{
			ID: id, Source: "s", Type: "shop.parcel_lined", Version: 1, OccurredAt: time.Now(), CorrelationID: id, Data: json.RawMessage(tt.data),
		})
		if tt.fails {
			require.EqualError(t, err, fmt.Sprintf(`tidings: decoding "shop.parcel_lined" version 1, event %s: %s`, id, notInto[parcelLined](tt.data)))
			require.Nil(t, event)
			continue
		}
		require.NoError(t, err, tt.reason)
		require.Equal(t, id, event.EventID())
		require.Equal(t, id, event.CorrelationID())
		tt.want.DomainEvent = event.(parcelLined).DomainEvent
		require.Equal(t, tidings.Event(tt.want), event, tt.reason)
	}
	id := uuid.New()
	_, err := r.Unwrap(tidings.Envelope{
		ID: id, Source: "s", Type: "shop.parcel_panics", Version: 1, OccurredAt: time.Now(), CorrelationID: id, Data: json.RawMessage(`{"Value":{}}`),
	})
	var panicked *tidings.PanicError
	require.ErrorAs(t, err, &panicked)
	require.ErrorContains(t, err, `tidings: decoding "shop.parcel_panics" version 1`)
}

// FuzzDecode reads any bytes as an event. Nothing may panic. What is read is
// written again and read again as the same event with the same header, and
// the attributes that were read are those that encoding/json finds.
func FuzzDecode(f *testing.F) {
	r := parcelRegistry()
	tidings.Register[priceSet](r, "shop.price_set", 4)
	tidings.Upcast(r, "shop.price_set", 1, priceV1to2)
	tidings.Upcast(r, "shop.price_set", 2, priceV2to3)
	tidings.Upcast(r, "shop.price_set", 3, priceV3to4)

	f.Add([]byte(envelopeText))
	for _, text := range []string{
		with("type", `"shop.parcel_string"`),
		with("type", `"shop.parcel_sent"`),
		with("type", `"shop.parcel_cloned"`),
		with("type", `"shop.parcel_custom"`),
		with("type", `"shop.price_set"`),
		with("data", `[{"a":"}\\\"]"},"]",{}]`),
		with("data", "null"),
		with("dataversion", `"3"`),
		with("time", `"2026-03-01T10:30:00.123456789+01:00"`),
		without("correlationid"),
		plus(`"i\u0064":1`),
		plus(`"data_base64":null`),
		" \n" + strings.ReplaceAll(envelopeText, `,"`, " ,\t\""),
		strings.Replace(with("type", `"shop.parcel_string"`), "7", `"caf\ud800\ufffd\u0000é"`, 1),
		strings.Replace(with("type", `"shop.parcel_custom"`), `{"Value":7}`, `"12.05"`, 1),
		strings.Replace(with("type", `"shop.price_set"`), `{"Value":7}`, `{"Euros":7}`, 1),
	} {
		f.Add([]byte(text))
	}

	f.Fuzz(func(t *testing.T, data []byte) {
		var e tidings.Envelope
		err := e.UnmarshalJSON(data)
		event, decodeErr := r.Decode(data)
		if err != nil {
			require.EqualError(t, decodeErr, err.Error())
			return
		}
		requireAttributes(t, data, e)
		text, err := e.MarshalJSON()
		require.NoError(t, err)
		var same tidings.Envelope
		require.NoError(t, same.UnmarshalJSON(text))
		require.Equal(t, e, same)

		if decodeErr != nil {
			return
		}
		require.Equal(t, [4]any{e.ID, e.OccurredAt, e.CorrelationID, e.CausationID}, header(event))
		text, err = r.Encode(event)
		require.NoError(t, err)
		again, err := r.Decode(text)
		require.NoError(t, err)
		require.Equal(t, header(event), header(again))
		rewritten, err := r.Encode(again)
		require.NoError(t, err)
		require.Equal(t, string(text), string(rewritten)) // not the events: an empty List may be nil or not
	})
}

// requireAttributes compares e with what encoding/json reads.
func requireAttributes(t *testing.T, data []byte, e tidings.Envelope) {
	t.Helper()
	var members map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(data, &members))
	for name, want := range map[string]string{"source": e.Source, "type": e.Type, "specversion": "1.0"} {
		var s string
		require.NoError(t, json.Unmarshal(members[name], &s))
		require.Equal(t, want, s)
	}
	require.Equal(t, string(members["data"]), string(e.Data))
}
