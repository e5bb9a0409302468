package kafka

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/IBM/sarama"

	"github.com/tidings-go/tidings/relay"
)

// A member is one of the consumers in a group, for one topic. It has its own
// connection: on a shared one, a JoinGroup that waits for other members would
// delay the heartbeats.
type member struct {
	broker  *broker
	topics  *topics
	group   relay.Group
	name    string // of the topic
	ctx     context.Context
	handle  func(*relay.Message) bool
	turn    chan struct{} // full while handle runs
	start   *gathering
	arrived bool // at the start

	// silent has the verdict of a handler that takes too long. Until it is
	// there, the member is not in the group: it would get the same partition
	// again.
	silent chan (<-chan bool)
}

// rejoinAfter is how long to wait before a retry.
const rejoinAfter = time.Second

// run keeps the member in the group until ctx ends.
func (m *member) run() {
	for m.ctx.Err() == nil {
		if err := m.join(); err != nil {
			m.warn("joining the group failed", err)
			pause(m.ctx, rejoinAfter)
		}
		select {
		case verdict := <-m.silent:
			<-verdict
		default:
		}
	}
}

// join keeps the member in the group until ctx ends, or a message is kept too
// long.
func (m *member) join() (err error) {
	group, err := sarama.NewConsumerGroup(m.broker.config.Addrs, m.group.Name, consuming(m.broker.config.Client, m.group.AckWait))
	if err != nil {
		return err
	}
	logged := make(chan struct{})
	go func() {
		defer close(logged)
		for err := range group.Errors() {
			m.warn("the client reports", err)
		}
	}()
	defer func() {
		if err := group.Close(); err != nil {
			m.warn("leaving the group failed", err)
		}
		<-logged
	}()
	for m.ctx.Err() == nil && len(m.silent) == 0 {
		if err := group.Consume(m.ctx, []string{m.name}, m); err != nil && m.ctx.Err() == nil {
			if errors.Is(err, sarama.ErrClosedConsumerGroup) {
				return err
			}
			m.warn("consuming failed", err)
			pause(m.ctx, rejoinAfter)
		}
	}
	return nil
}

func (m *member) warn(what string, err error) {
	if m.ctx.Err() != nil {
		return // the errors of a member that is being closed
	}
	m.broker.config.Logger.Warn("relay/kafka: "+what, slog.Any("error", err), slog.String("group", m.group.Name), slog.String("topic", m.name))
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
