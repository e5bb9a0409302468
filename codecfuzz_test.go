package tidings_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
)

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
