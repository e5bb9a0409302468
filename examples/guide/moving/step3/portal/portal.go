// Package portal opens accounts for new clients, after the commit.
package portal

import (
	"context"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/guide/moving/events"
)

// Register subscribes the module's handlers. The function open calls the other
// program.
func Register(bus *tidings.EventBus, open func(ctx context.Context, company string) error) {
	tidings.Subscribe(bus, func(ctx context.Context, e events.ClientCreated) error {
		return open(ctx, e.Company)
	}, tidings.Named("portal.open_account"))
}
