package relay_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/relay"
)

// OrderPlaced is the event of the examples.
type OrderPlaced struct {
	tidings.DomainEvent
	Item   string
	Copies int
}

func newShopRegistry() *tidings.Registry {
	var registry tidings.Registry
	tidings.Register[OrderPlaced](&registry, "orders.order_placed", 1)
	return &registry
}

// One program publishes, and another one handles. What they share is the URL of
// the broker, and the registered events.
func Example() {
	ctx := context.Background()
	url := "memory://example" // or nats://localhost:4222, with the import of relay/nats

	// The shipping department.
	shipping, err := relay.Open(ctx, url, newShopRegistry())
	if err != nil {
		log.Fatal(err)
	}
	defer shipping.Close(ctx)
	packed := make(chan string)
	bus := tidings.New()
	tidings.Subscribe(bus, func(_ context.Context, e OrderPlaced) error {
		packed <- fmt.Sprintf("%d of %q", e.Copies, e.Item)
		return nil
	}, tidings.Named("shipping.pack"), tidings.Via(shipping))
	if err := shipping.Start(ctx); err != nil {
		log.Fatal(err)
	}

	// The shop.
	shop, err := relay.Open(ctx, url, newShopRegistry())
	if err != nil {
		log.Fatal(err)
	}
	defer shop.Close(ctx)
	shopBus := tidings.New()
	relay.Forward[OrderPlaced](shopBus, shop)
	if err := tidings.Publish(ctx, shopBus, OrderPlaced{Item: "Middlemarch", Copies: 2}); err != nil {
		log.Fatal(err)
	}
	fmt.Println("packed:", <-packed)
	// Output:
	// packed: 2 of "Middlemarch"
}

// letters returns the dead letters of a handler, and keeps them in the queue.
func letters(ctx context.Context, r *relay.Relay, handler string) ([]relay.DeadLetter, error) {
	var all []relay.DeadLetter
	_, err := r.Redrive(ctx, handler, func(letter relay.DeadLetter) relay.Verdict {
		all = append(all, letter)
		return relay.Keep
	})
	return all, err
}

// redriveOutage redelivers the dead letters of an outage to a handler, and discards
// messages that are not events.
func redriveOutage(ctx context.Context, r *relay.Relay, handler string, began, ended time.Time) error {
	n, err := r.Redrive(ctx, handler, func(letter relay.DeadLetter) relay.Verdict {
		switch {
		case letter.Type() == "":
			return relay.Discard
		case letter.FailedAt.After(began) && letter.FailedAt.Before(ended):
			return relay.Redeliver
		}
		return relay.Keep
	})
	slog.InfoContext(ctx, "dead letters", "handler", handler, "redelivered", n)
	return err
}

func TestDeadLettersOfAnOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		r, err := relay.Open(ctx, newURL(), newShopRegistry(), relay.WithLogger(slog.New(slog.DiscardHandler)))
		require.NoError(t, err)
		defer func() { require.NoError(t, r.Close(context.WithoutCancel(ctx))) }()

		up, packed := false, 0
		bus := tidings.New()
		tidings.Subscribe(bus, func(context.Context, OrderPlaced) error {
			if !up {
				return errors.New("the shelf is locked")
			}
			packed++
			return nil
		}, tidings.Named("shipping.pack"), tidings.Via(r))
		require.NoError(t, r.Start(ctx))

		began := time.Now()
		for range 3 {
			require.NoError(t, tidings.Publish(ctx, bus, OrderPlaced{Item: "Middlemarch", Copies: 1}))
		}
		time.Sleep(10 * time.Minute) // of the bubble, in which it takes no time
		dead, err := letters(ctx, r, "shipping.pack")
		require.NoError(t, err)
		require.Len(t, dead, 3)
		for _, letter := range dead {
			require.Equal(t, "orders.order_placed", letter.Type())
			require.Equal(t, 5, letter.Attempts)
			require.Contains(t, letter.Reason, "the shelf is locked")
		}

		up = true
		require.NoError(t, redriveOutage(ctx, r, "shipping.pack", began, time.Now()))
		synctest.Wait()
		require.Equal(t, 3, packed)
		dead, err = letters(ctx, r, "shipping.pack")
		require.NoError(t, err)
		require.Empty(t, dead)
	})
}

// A test has a broker of its own, and in a bubble of synctest a retry takes no time.
func TestPackIsTriedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, err := relay.Open(t.Context(), "memory://"+uuid.NewString(), newShopRegistry())
		require.NoError(t, err)
		defer r.Close(context.WithoutCancel(t.Context()))
		attempts := 0
		bus := tidings.New()
		tidings.Subscribe(bus, func(context.Context, OrderPlaced) error {
			if attempts++; attempts < 3 {
				return errors.New("the shelf is locked")
			}
			return nil
		}, tidings.Named("shipping.pack"), tidings.Via(r))
		require.NoError(t, r.Start(t.Context()))

		require.NoError(t, tidings.Publish(t.Context(), bus, OrderPlaced{Item: "Middlemarch", Copies: 2}))
		time.Sleep(5 * time.Second) // 1 s and 4 s, which synctest skips
		synctest.Wait()
		require.Equal(t, 3, attempts)
	})
}
