package tidings_test

import (
	"context"
	"fmt"
	"time"

	"github.com/tidings-go/tidings"
)

type PhotoUploaded struct {
	tidings.DomainEvent
	File string
}

// Async handlers run on background workers of this process. Each handler gets one
// event at a time, in the order of publishing, and the publisher does not wait. Close
// waits until the queues are empty.
func ExampleAsync() {
	bus := tidings.New(tidings.WithWorkers(2), tidings.WithErrorHandler(func(ctx context.Context, err error) {
		fmt.Println(err) // no caller gets it
	}))
	published := make(chan struct{})
	tidings.Subscribe(bus, func(ctx context.Context, e PhotoUploaded) error {
		<-published // a slow handler
		if e.File == "b.gif" {
			return fmt.Errorf("%s: unknown format", e.File)
		}
		fmt.Println("thumbnail of", e.File)
		return nil
	}, tidings.Async(), tidings.Named("thumbnails"))

	ctx := context.Background()
	for _, file := range []string{"a.jpg", "b.gif", "c.jpg"} {
		if err := tidings.Publish(ctx, bus, PhotoUploaded{File: file}); err != nil {
			fmt.Println(err)
		}
	}
	fmt.Println("all are published")
	close(published)

	ctx, cancel := context.WithTimeout(ctx, time.Minute) // at shutdown
	defer cancel()
	if err := bus.Close(ctx); err != nil {
		fmt.Println(err)
	}
	// Output:
	// all are published
	// thumbnail of a.jpg
	// tidings: thumbnails handling tidings_test.PhotoUploaded: b.gif: unknown format
	// thumbnail of c.jpg
}
