package bench_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
)

// stampedID and stampedAt keep what the contenders make, so that it is made.
var (
	stampedID uuid.UUID
	stampedAt int64
)

// BenchmarkStamp makes an ID and a time. The IDs of the bare contenders are in no
// order within a millisecond, but for those of uuid.NewV7.
func BenchmarkStamp(b *testing.B) {
	ctx := context.Background()
	for _, c := range []struct {
		name  string
		stamp func() (uuid.UUID, int64)
	}{
		{"bare", func() (uuid.UUID, int64) {
			now := time.Now()
			return randomV7(now), now.UnixMicro()
		}},
		{"bare-clock-twice", func() (uuid.UUID, int64) { return randomV7(time.Now()), time.Now().UnixMicro() }},
		{"uuid.NewV7", func() (uuid.UUID, int64) { return uuid.Must(uuid.NewV7()), time.Now().UnixMicro() }},
		{"tidings", func() (uuid.UUID, int64) {
			e := tidings.Stamp(ctx, orderPlaced{OrderID: 1})
			return e.EventID(), e.OrderID
		}},
	} {
		b.Run("contender="+c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				stampedID, stampedAt = c.stamp()
			}
		})
	}
}

// randomV7 is a UUIDv7 (RFC 9562, section 5.7) as short as it can be.
func randomV7(now time.Time) (id uuid.UUID) {
	binary.BigEndian.PutUint64(id[:8], uint64(now.UnixMilli())<<16|7<<12|rand.Uint64()>>52)
	binary.BigEndian.PutUint64(id[8:], 1<<63|rand.Uint64()>>2)
	return id
}

// billed is the event of all that is stored or sent.
type billed struct {
	tidings.DomainEvent
	bill
}

// bill is 66 bytes of JSON.
type bill struct {
	Order    int64  `json:"order"`
	Customer string `json:"customer"`
	Currency string `json:"currency"`
	Cents    int64  `json:"cents"`
}

const billedName, billedVersion = "bench.order_billed", 1

var aBill = bill{Order: 1234567, Customer: "c-4711-8015", Currency: "EUR", Cents: 421990}

func newRegistry() *tidings.Registry {
	r := &tidings.Registry{}
	tidings.Register[billed](r, billedName, billedVersion)
	return r
}

// publishBills publishes so many events.
func publishBills(ctx context.Context, events *tidings.EventBus, n int) error {
	for range n {
		if err := tidings.Publish(ctx, events, billed{bill: aBill}); err != nil {
			return err
		}
	}
	return nil
}

// cloudEvent is a CloudEvent as a struct for encoding/json.
type cloudEvent struct {
	SpecVersion     string    `json:"specversion"`
	ID              uuid.UUID `json:"id"`
	Source          string    `json:"source"`
	Type            string    `json:"type"`
	Time            time.Time `json:"time"`
	DataContentType string    `json:"datacontenttype"`
	DataVersion     int       `json:"dataversion"`
	CorrelationID   uuid.UUID `json:"correlationid"`
	CausationID     uuid.UUID `json:"causationid,omitzero"`
	Data            bill      `json:"data"`
}

func newCloudEvent(id uuid.UUID, data bill) cloudEvent {
	return cloudEvent{
		SpecVersion: "1.0", ID: id, Source: "tidings", Type: billedName, Time: time.Now().UTC().Truncate(time.Microsecond),
		DataContentType: "application/json", DataVersion: billedVersion, CorrelationID: id, Data: data,
	}
}

// BenchmarkEncode writes the CloudEvent of an event, by hand from a struct with
// the same fields.
func BenchmarkEncode(b *testing.B) {
	r := newRegistry()
	plain, event, text := aCloudEvent(r)
	codec(b, "bare", text, func() ([]byte, error) { return json.Marshal(&plain) })
	codec(b, "tidings", text, func() ([]byte, error) { return r.Encode(event) })
}

// BenchmarkDecode reads what BenchmarkEncode writes.
func BenchmarkDecode(b *testing.B) {
	r := newRegistry()
	plain, event, text := aCloudEvent(r)
	codec(b, "bare", plain, func() (e cloudEvent, err error) {
		err = json.Unmarshal(text, &e)
		return e, err
	})
	codec(b, "tidings", event, func() (tidings.Event, error) { return r.Decode(text) })
}

func codec[T any](b *testing.B, contender string, want T, do func() (T, error)) {
	b.Run("contender="+contender, func(b *testing.B) {
		var got T
		repeat(b, func(context.Context) (err error) {
			got, err = do()
			return err
		})
		require.Equal(b, want, got)
	})
}

// aCloudEvent returns one event in all its forms.
func aCloudEvent(r *tidings.Registry) (plain cloudEvent, event tidings.Event, text []byte) {
	plain = newCloudEvent(randomV7(time.Now()), aBill)
	plain.CausationID = randomV7(time.Now())
	text = must(json.Marshal(&plain))
	return plain, must(r.Decode(text)), text
}

// repeat does something over and over, which has to succeed.
func repeat(b *testing.B, do func(context.Context) error) {
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if err := do(ctx); err != nil {
			b.Fatal(err)
		}
	}
}
