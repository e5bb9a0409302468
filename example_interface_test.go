package tidings_test

import (
	"context"
	"fmt"

	"github.com/tidings-go/tidings"
)

// Billable is a family of events: all events that have this method.
type Billable interface {
	tidings.Event
	Cents() int64
}

type ConsultationHeld struct {
	tidings.DomainEvent
	Minutes int64
}

func (e ConsultationHeld) Cents() int64 { return 200 * e.Minutes }

type ReportDelivered struct {
	tidings.DomainEvent
	Pages int64
}

func (e ReportDelivered) Cents() int64 { return 1500 * e.Pages }

type MeetingCancelled struct{ tidings.DomainEvent }

// A handler of an interface receives every event that implements the interface. A
// handler of Event receives all events.
func ExampleSubscribe_interface() {
	bus := tidings.New()
	var total int64
	tidings.Subscribe(bus, func(ctx context.Context, e Billable) error {
		total += e.Cents()
		return nil
	})
	tidings.Subscribe(bus, func(ctx context.Context, e tidings.Event) error {
		fmt.Printf("log: %T\n", e)
		return nil
	})

	ctx := context.Background()
	for _, e := range []tidings.Event{ConsultationHeld{Minutes: 45}, MeetingCancelled{}, ReportDelivered{Pages: 12}} {
		if err := tidings.Publish(ctx, bus, e); err != nil { // routed by its dynamic type
			fmt.Println(err)
		}
	}
	fmt.Println("to be billed:", total)
	// Output:
	// log: tidings_test.ConsultationHeld
	// log: tidings_test.MeetingCancelled
	// log: tidings_test.ReportDelivered
	// to be billed: 27000
}
