package handlers_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/tidings-go/tidings"
)

var errDeclined = errors.New("card declined")

func Example_errors() {
	bus := tidings.New()
	tidings.Subscribe(bus, func(context.Context, OrderPlaced) error {
		return errDeclined
	}, tidings.Named("billing.charge"))
	shelves := []string{"A1"}
	tidings.Subscribe(bus, func(_ context.Context, e OrderPlaced) error {
		fmt.Println("from shelf", shelves[e.OrderID])
		return nil
	}, tidings.Named("stock.take"))
	tidings.Subscribe(bus, func(context.Context, OrderPlaced) error {
		fmt.Println("mail sent")
		return nil
	}, tidings.Named("mail.confirm"))

	err := tidings.Publish(context.Background(), bus, OrderPlaced{OrderID: 1})
	fmt.Println(err)

	fmt.Println("declined:", errors.Is(err, errDeclined))
	var failed *tidings.HandlerError
	if errors.As(err, &failed) {
		fmt.Printf("first: %s, with %T\n", failed.Handler, failed.Event)
	}
	var panicked *tidings.PanicError
	if errors.As(err, &panicked) {
		fmt.Println("has a stack:", len(panicked.Stack) > 0)
	}
	// Output:
	// mail sent
	// tidings: billing.charge handling handlers_test.OrderPlaced: card declined
	// tidings: stock.take handling handlers_test.OrderPlaced: panic: runtime error: index out of range [1] with length 1
	// declined: true
	// first: billing.charge, with handlers_test.OrderPlaced
	// has a stack: true
}

func Example_cancelled() {
	bus := tidings.New()
	ctx, cancel := context.WithCancel(context.Background())
	tidings.Subscribe(bus, func(context.Context, OrderPlaced) error {
		cancel() // as when the client disconnects
		return nil
	})
	tidings.Subscribe(bus, func(context.Context, OrderPlaced) error {
		fmt.Println("not reached")
		return nil
	})

	fmt.Println(tidings.Publish(ctx, bus, OrderPlaced{OrderID: 1}))
	fmt.Println(tidings.Publish(ctx, bus, OrderPlaced{OrderID: 2}))
	// Output:
	// tidings: 1 of 2 handlers of handlers_test.OrderPlaced skipped: context canceled
	// context canceled
}

func Example_log() {
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			switch a.Key {
			case "time", "event_id", "correlation_id": // which differ each time
				return slog.Attr{}
			}
			return a
		},
	}))
	bus := tidings.New(tidings.WithLogger(logger))
	tidings.Subscribe(bus, func(context.Context, OrderPlaced) error {
		return errDeclined
	}, tidings.Async(), tidings.Named("billing.charge"))

	ctx := context.Background()
	fmt.Println("publish:", tidings.Publish(ctx, bus, OrderPlaced{OrderID: 1}))
	fmt.Println("close:", bus.Close(ctx))
	// Unordered output:
	// publish: <nil>
	// level=ERROR msg="event handler failed" error="tidings: billing.charge handling handlers_test.OrderPlaced: card declined" handler=billing.charge event_type=handlers_test.OrderPlaced
	// close: <nil>
}

func Example_depth() {
	bus := tidings.New(tidings.WithMaxDepth(3))
	tidings.Subscribe(bus, func(ctx context.Context, e OrderPlaced) error {
		return tidings.Publish(ctx, bus, OrderPaid{OrderID: e.OrderID})
	}, tidings.Named("billing"))
	tidings.Subscribe(bus, func(ctx context.Context, e OrderPaid) error {
		err := tidings.Publish(ctx, bus, OrderPlaced{OrderID: e.OrderID})
		if errors.Is(err, tidings.ErrMaxDepth) {
			fmt.Println(err)
			err = nil
		}
		return err
	}, tidings.Named("orders"))

	fmt.Println(tidings.Publish(context.Background(), bus, OrderPlaced{OrderID: 1}))
	// Output:
	// tidings: billing handling handlers_test.OrderPlaced: events nested too deeply (more than 3, see WithMaxDepth): handlers_test.OrderPlaced > handlers_test.OrderPaid > handlers_test.OrderPlaced > handlers_test.OrderPaid
	// <nil>
}
