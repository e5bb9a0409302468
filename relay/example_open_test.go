package relay_test

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/tidings-go/tidings/relay"
)

// The broker is a matter of configuration. One that cannot be reached may be
// there later; other errors do not go away.
func ExampleOpen() {
	open := func(url string) {
		r, err := relay.Open(context.Background(), url, newShopRegistry(), relay.WithPrefix("staging."))
		unreachable := (*relay.UnreachableError)(nil)
		switch {
		case errors.As(err, &unreachable):
			fmt.Println("try again in", unreachable.RetryAfter)
		case err != nil:
			fmt.Println(err)
		default:
			defer r.Close(context.Background())
			fmt.Println("connected")
		}
	}
	os.Setenv("BROKER_URL", "memory://example-open")
	open(os.Getenv("BROKER_URL"))
	open("nats://localhost:4222") // without the import of relay/nats
	// Output:
	// connected
	// relay: Open: no driver for "nats" is linked into this program: import _ "github.com/tidings-go/tidings/relay/nats"
}
