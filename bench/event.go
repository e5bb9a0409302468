package bench

import (
	"context"
	"encoding/binary"

	"github.com/tidings-go/tidings"
)

// OrderPlaced is the event that every contender carries: the header of a
// tidings event and two numbers, by value.
type OrderPlaced struct {
	tidings.DomainEvent
	OrderID int64
	// Lane is the goroutine that publishes the event. Handlers count in the
	// lane's own counter, so that two publishers share no memory but the bus's.
	Lane int64
}

// Type is what kelindar/event routes by.
func (OrderPlaced) Type() uint32 { return 1 }

// orders holds one event for each lane, stamped beforehand: what stamping costs
// is a case of its own.
var orders = stampOrders()

func stampOrders() (events [Lanes]OrderPlaced) {
	for lane := range events {
		events[lane] = tidings.Stamp(context.Background(), OrderPlaced{OrderID: int64(lane) + 1, Lane: int64(lane)})
	}
	return events
}

// encodeOrder writes the event's 72 bytes of data: the payload of a bus that
// carries bytes. It is as cheap as an encoding can be, in favour of that bus.
func encodeOrder(e OrderPlaced) []byte {
	data := make([]byte, 0, 72)
	id, correlation, causation := e.EventID(), e.CorrelationID(), e.CausationID()
	data = append(data, id[:]...)
	data = append(data, correlation[:]...)
	data = append(data, causation[:]...)
	data = binary.BigEndian.AppendUint64(data, uint64(e.OccurredAt().UnixMicro()))
	data = binary.BigEndian.AppendUint64(data, uint64(e.OrderID))
	return binary.BigEndian.AppendUint64(data, uint64(e.Lane))
}

// handle is the handler that the synchronous contenders run.
func handle(_ context.Context, e OrderPlaced) error {
	counts[uint64(e.Lane)%Lanes].n++
	return nil
}

// handleOnly is handle for buses whose handlers return no error.
func handleOnly(_ context.Context, e OrderPlaced) {
	counts[uint64(e.Lane)%Lanes].n++
}
