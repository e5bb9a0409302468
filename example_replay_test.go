package tidings_test

import (
	"context"
	"fmt"

	"github.com/tidings-go/tidings"
)

type SeatBooked struct {
	tidings.DomainEvent
	Seat string
}

// Occupancy is a read model: its handlers record which seats are booked.
type Occupancy struct{ seats map[string]bool }

func (o *Occupancy) OnSeatBooked(ctx context.Context, e SeatBooked) error {
	o.seats[e.Seat] = true
	return nil
}

// Publish does not change the header of an event that has one already. So a handler
// that replays a stored event sees its original ID and time. Replay on a separate
// bus, so that no other handler gets the event again.
func ExamplePublish_replay() {
	// Some time ago, events were published and stored.
	ctx := context.Background()
	var stored []tidings.Event
	bus := tidings.New()
	tidings.Subscribe(bus, func(ctx context.Context, e tidings.Event) error {
		stored = append(stored, e)
		return nil
	})
	for _, seat := range []string{"12A", "12B", "7C"} {
		if err := tidings.Publish(ctx, bus, SeatBooked{Seat: seat}); err != nil {
			fmt.Println(err)
		}
	}

	// Today, the program builds a read model from them.
	occupancy := &Occupancy{seats: map[string]bool{}}
	replay := tidings.New()
	tidings.Subscribe(replay, occupancy.OnSeatBooked)
	tidings.Subscribe(replay, func(ctx context.Context, e SeatBooked) error {
		if e.EventID() == stored[0].EventID() {
			fmt.Println("the first seat was", e.Seat)
		}
		return nil
	})
	for _, e := range stored {
		if err := tidings.Publish(ctx, replay, e); err != nil {
			fmt.Println(err)
		}
	}
	fmt.Println(len(occupancy.seats), "seats are taken;", len(stored), "events are stored, as before")
	// Output:
	// the first seat was 12A
	// 3 seats are taken; 3 events are stored, as before
}
