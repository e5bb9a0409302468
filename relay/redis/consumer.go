package redis

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/google/uuid"

	"github.com/tidings-go/tidings/relay"
)

// A member is a group with a topic, as a call of Declare or Consume names them.
//
// It does not use the adapter of Watermill, which closes the client that it was
// given; ends the subscription at an entry that it does not understand; reads
// up to three entries ahead of a slow handler, which become overdue before it
// sees them; gives up when the group is gone after a restart of the server;
// loses an acknowledgement if it is closed at that moment; leaves the entries
// of a lost answer until they are overdue; and leaves a consumer behind each
// time.
type member struct {
	broker  *broker
	topic   string
	group   string
	ackWait time.Duration
	queue   bool // the stream is the group's own
}

func (b *broker) member(group relay.Group, topic string) (*member, error) {
	if group.Name == "" {
		return nil, errors.New("relay/redis: a group without a name")
	}
	if group.AckWait <= 0 {
		group.AckWait = time.Minute
	}
	return &member{b, topic, group.Name, group.AckWait, group.Queue}, nil
}

// Declare creates the stream and the group if they do not exist (any more).
func (b *broker) Declare(ctx context.Context, group relay.Group, topic string) error {
	m, err := b.member(group, topic)
	if err != nil {
		return err
	}
	return m.declare(ctx, publishTimeout)
}

// Consume begins to fetch messages.
func (b *broker) Consume(ctx context.Context, group relay.Group, topic string, handle func(*relay.Message) bool) (<-chan error, error) {
	m, err := b.member(group, topic)
	if err != nil {
		return nil, err
	}
	if err := m.declare(ctx, publishTimeout); err != nil {
		return nil, err
	}
	s := &subscription{
		member:    m,
		handle:    handle,
		consumer:  consumerName(),
		recovered: true, // the name is new
	}
	ended := make(chan error, 1)
	go func() { ended <- s.run(ctx) }()
	return ended, nil
}

// consumerName returns a new name: two subscriptions with the same one would
// take each other's entries.
func consumerName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "consumer"
	}
	return host + "-" + uuid.NewString()[:13]
}
