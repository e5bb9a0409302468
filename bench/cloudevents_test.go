package bench_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
)

type cloudOrder struct {
	tidings.DomainEvent
	Item   string `json:"item"`
	Copies int    `json:"copies"`
}

func cloudRegistry() *tidings.Registry {
	r := &tidings.Registry{Source: "https://shop.example/orders"}
	tidings.Register[cloudOrder](r, "orders.order_placed", 2)
	tidings.Upcast(r, "orders.order_placed", 1, func(old cloudOrder) (cloudOrder, error) { return old, nil })
	return r
}

// What tidings writes is a CloudEvent to the SDK of the CloudEvents project.
func TestCloudEventsSDKReadsWhatTidingsWrites(t *testing.T) {
	t.Parallel()
	r := cloudRegistry()
	order := tidings.Stamp(t.Context(), cloudOrder{Item: `"Middlemarch" <ü> ` + "\u2028", Copies: 2})
	wrapped, err := r.Wrap(order)
	require.NoError(t, err)
	wrapped.ID, wrapped.CausationID = uuid.New(), order.EventID()
	caused, err := r.Unwrap(wrapped)
	require.NoError(t, err)

	for _, order := range []cloudOrder{order, caused.(cloudOrder)} {
		data, err := r.Encode(order)
		require.NoError(t, err)
		var ce event.Event
		require.NoError(t, json.Unmarshal(data, &ce))
		require.NoError(t, ce.Validate())
		require.Equal(t, []string{"1.0", order.EventID().String(), "https://shop.example/orders", "orders.order_placed", "application/json"},
			[]string{ce.SpecVersion(), ce.ID(), ce.Source(), ce.Type(), ce.DataContentType()})
		require.True(t, order.OccurredAt().Equal(ce.Time()))
		version, err := types.ToInteger(ce.Extensions()["dataversion"])
		require.NoError(t, err)
		require.EqualValues(t, 2, version)
		require.Equal(t, order.CorrelationID().String(), ce.Extensions()["correlationid"])
		causation, has := ce.Extensions()["causationid"]
		require.Equal(t, order.CausationID() != uuid.Nil, has)
		if has {
			require.Equal(t, order.CausationID().String(), causation)
		}
		read := cloudOrder{DomainEvent: order.DomainEvent}
		require.NoError(t, ce.DataAs(&read))
		require.Equal(t, order, read)

		// There and back.
		again, err := json.Marshal(ce)
		require.NoError(t, err)
		decoded, err := r.Decode(again)
		require.NoError(t, err)
		require.True(t, decoded == tidings.Event(order), "%s", again)
	}
}

// An event that another program makes with the SDK is one for tidings, with
// and without the extension attributes.
func TestTidingsReadsWhatTheCloudEventsSDKWrites(t *testing.T) {
	t.Parallel()
	id, correlation, causation := uuid.New(), uuid.New(), uuid.New()
	at := time.Date(2026, 3, 1, 10, 30, 0, 123456789, time.FixedZone("CET", 3600))
	ce := event.New()
	ce.SetID(id.String())
	ce.SetSource("/another/program")
	ce.SetType("orders.order_placed")
	ce.SetTime(at)
	ce.SetSubject("order 7")
	require.NoError(t, ce.SetData(event.ApplicationJSON, map[string]any{"item": "Middlemarch", "copies": 2}))
	require.NoError(t, ce.Validate())

	for _, extensions := range []map[string]any{
		{},
		{"correlationid": correlation.String(), "causationid": causation.String(), "dataversion": 2, "traceparent": "00-…"},
		{"dataversion": "2"}, // as the SDK has it after a binary mode
	} {
		ce := ce.Clone()
		wantCorrelation, wantCausation := id, uuid.Nil
		for name, value := range extensions {
			ce.SetExtension(name, value)
		}
		if len(extensions) > 1 {
			wantCorrelation, wantCausation = correlation, causation
		}
		data, err := json.Marshal(ce)
		require.NoError(t, err)
		decoded, err := cloudRegistry().Decode(data)
		require.NoError(t, err, "%s", data)
		order := decoded.(cloudOrder)
		require.Equal(t, cloudOrder{order.DomainEvent, "Middlemarch", 2}, order)
		require.Equal(t, []uuid.UUID{id, wantCorrelation, wantCausation}, []uuid.UUID{order.EventID(), order.CorrelationID(), order.CausationID()})
		require.True(t, order.OccurredAt() == at.UTC().Truncate(time.Microsecond))
	}

	ce.SetDataContentType("application/xml")
	require.NoError(t, ce.SetData("application/xml", []byte("<order/>")))
	data, err := json.Marshal(ce)
	require.NoError(t, err)
	_, err = cloudRegistry().Decode(data)
	require.ErrorContains(t, err, "the data of an event is JSON")
}
