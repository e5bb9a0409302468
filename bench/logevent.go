package bench

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"github.com/tidings-go/tidings"
)

// Billed is the event of the cases about the log.
type Billed struct {
	tidings.DomainEvent
	Bill
}

// Bill is what the event says: 66 bytes of JSON.
type Bill struct {
	Order    int64  `json:"order"`
	Customer string `json:"customer"`
	Currency string `json:"currency"`
	Cents    int64  `json:"cents"`
}

const (
	billedName    = "bench.order_billed"
	billedVersion = 1
)

var bill = Bill{Order: 1234567, Customer: "c-4711-8015", Currency: "EUR", Cents: 421990}

func logRegistry() *tidings.Registry {
	r := &tidings.Registry{}
	tidings.Register[Billed](r, billedName, billedVersion)
	return r
}

// A billWriter makes the rows of hand-written code. Its IDs are UUIDv7 that
// count up, like those of tidings, but cost no clock and no random bits.
type billWriter struct {
	bill Bill
	more int64 // is added to the cents after each
	id   uuid.UUID
	data string // the JSON, if it is marshalled beforehand
}

func newBillWriter(marshalled bool) (*billWriter, error) {
	w := &billWriter{bill: bill, id: randomV7(time.Now())}
	if !marshalled {
		return w, nil
	}
	data, err := w.marshal()
	w.data = string(data)
	return w, err
}

func (w *billWriter) nextID() uuid.UUID {
	binary.BigEndian.PutUint64(w.id[8:], 1<<63|(binary.BigEndian.Uint64(w.id[8:])+1)<<2>>2)
	return w.id
}

// marshal returns the JSON of the next event.
func (w *billWriter) marshal() (string, error) {
	if w.data != "" {
		return w.data, nil
	}
	data, err := json.Marshal(&w.bill)
	w.bill.Cents += w.more
	return string(data), err
}

// publishBills publishes so many events.
func publishBills(ctx context.Context, bus *tidings.EventBus, events int) error {
	for range events {
		if err := tidings.Publish(ctx, bus, Billed{Bill: bill}); err != nil {
			return err
		}
	}
	return nil
}
