package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tidings-go/tidings/relay"
)

// Declare creates the topic, even if it was deleted. Since a group begins with
// the oldest message, the topic alone keeps messages for it.
func (b *broker) Declare(ctx context.Context, group relay.Group, topic string) error {
	_, err := b.declare(ctx, group, topic)
	return err
}

func (b *broker) declare(ctx context.Context, group relay.Group, topic string) (*topics, error) {
	if group.Name == "" {
		return nil, errors.New("relay/kafka: a group without a name")
	}
	c, err := b.connect(ctx)
	if err != nil {
		return nil, err
	}
	return c.topics, c.topics.look(ctx, topic)
}

// Consume adds a member to the group, only for this topic. It retries if the
// cluster does not answer.
func (b *broker) Consume(ctx context.Context, group relay.Group, topic string, handle func(*relay.Message) bool) (<-chan error, error) {
	topics, err := b.declare(ctx, group, topic)
	if err != nil {
		return nil, err
	}
	if group.AckWait <= 0 {
		group.AckWait = time.Minute
	}
	m := &member{
		broker: b, topics: topics, group: group, name: topic, ctx: ctx, handle: handle,
		turn: make(chan struct{}, 1), silent: make(chan (<-chan bool), 1), start: b.gatherings.join(group, topic),
	}
	left := make(chan struct{})
	go func() {
		defer close(left)
		defer b.gatherings.leave(group, topic)
		m.run()
	}()
	ended := make(chan error, 1)
	go func() {
		<-ctx.Done()
		m.turn <- struct{}{} // no message is being handled any more
		ended <- m.await(left)
	}()
	return ended, nil
}

// closeWithin is how long to wait for a cluster that does not answer.
const closeWithin = 10 * time.Second

// await waits until the member has committed what is done, and has left the
// group.
func (m *member) await(left <-chan struct{}) error {
	timer := time.NewTimer(closeWithin)
	defer timer.Stop()
	select {
	case <-left:
		return nil
	case <-timer.C:
		return fmt.Errorf("relay/kafka: the group %q could not be left within %v: the cluster does not answer", m.group.Name, closeWithin)
	}
}
