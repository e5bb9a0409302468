package kafka

import (
	"context"
	"fmt"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill/message"
)

// Setup is called when the member has joined the group.
func (m *member) Setup(sarama.ConsumerGroupSession) error {
	if !m.arrived {
		m.arrived = true
		m.start.arrive()
	}
	return nil
}

func (m *member) Cleanup(sarama.ConsumerGroupSession) error { return nil }

// ConsumeClaim passes on the messages of a partition, one after the other,
// until the member has to give it away. All partitions of the member share the
// channel of the subscription.
func (m *member) ConsumeClaim(session sarama.ConsumerGroupSession, from sarama.ConsumerGroupClaim) error {
	c := &claim{member: m, session: session, ended: m.endOf(session, from), topic: m.subscriber.broker.topics.generation(m.name)}
	select {
	case <-m.start.over:
	case <-c.ended:
		return nil
	case <-m.ctx.Done():
		return nil
	}
	if c.startsOver(from) {
		return nil
	}
	for {
		select {
		case r, ok := <-from.Messages():
			if !ok || !c.pass(r) {
				return nil
			}
		case <-c.topic.over: // which has the member join again
			return nil
		case <-session.Context().Done():
			return nil
		}
	}
}

// startsOver reports whether the offset that the group has committed is one of
// another topic of this name, which somebody has deleted. The group begins with
// the oldest message then, when the member has joined again: what came to the new
// topic before this offset would be skipped.
func (c *claim) startsOver(from sarama.ConsumerGroupClaim) bool {
	if c.topic.id == "" {
		return false // the cluster does not say
	}
	admin := c.subscriber.broker.topics.admin
	offsets, err := admin.ListConsumerGroupOffsets(c.subscriber.group.Name, map[string][]int32{from.Topic(): {from.Partition()}})
	if err != nil {
		c.warn("the offset of a partition could not be looked at", err)
		return false
	}
	block := offsets.GetBlock(from.Topic(), from.Partition())
	if block == nil || block.Metadata == "" || block.Metadata == c.topic.id {
		return false
	}
	c.warn("beginning with the oldest message", fmt.Errorf("the topic is another one than that of offset %d of partition %d", block.Offset, from.Partition()))
	c.session.ResetOffset(from.Topic(), from.Partition(), 0, c.topic.id)
	c.session.Commit()
	return true
}

// endOf returns a channel that is closed when the partition is to be given
// away. Messages tells that as well, but only behind the messages that are in
// it, and the context of the session only if the member loses all partitions;
// so this is how to know it while nobody takes a message. A claim is a
// PartitionConsumer, whose Errors are closed together with its Messages.
func (m *member) endOf(session sarama.ConsumerGroupSession, from sarama.ConsumerGroupClaim) <-chan struct{} {
	consumer, ok := from.(interface {
		Errors() <-chan *sarama.ConsumerError
	})
	if !ok {
		return session.Context().Done()
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for err := range consumer.Errors() {
			m.warn("the client reports", err)
		}
	}()
	return ended
}

// A claim is a partition of a member.
type claim struct {
	*member
	session sarama.ConsumerGroupSession
	ended   <-chan struct{}
	topic   *generation // which is committed with each offset
}

// pass hands a message over until it is acknowledged, and reports whether it
// was. A message that somebody has is waited for also when the partition is to
// be given away, since it would come twice.
func (c *claim) pass(r *sarama.ConsumerMessage) bool {
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	for !c.over() {
		m := unmarshal(r)
		m.SetContext(ctx)
		select {
		case c.messages <- m:
		case <-c.ended:
			return false
		case <-c.ctx.Done():
			return false
		}
		if c.await(m) {
			c.session.MarkMessage(r, c.topic.id)
			return true
		}
		if isNacked(m) {
			c.pause(resendAfter)
			continue
		}
		return false
	}
	return false
}

// resendAfter keeps a message that is refused at once from spinning.
const resendAfter = 100 * time.Millisecond

// await reports whether a message was acknowledged. If nothing is heard of it
// for too long, the member has to leave the group.
func (c *claim) await(m *message.Message) bool {
	wait := c.subscriber.group.AckWait
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-m.Acked():
		return true
	case <-m.Nacked():
		return false
	case <-c.ctx.Done():
	case <-timer.C:
	}
	if isAcked(m) { // and select has chosen the other
		return true
	}
	if !isNacked(m) && c.ctx.Err() == nil {
		c.warn("leaving the group until a handler ends", fmt.Errorf("a message was not acknowledged within %v", wait))
		select {
		case c.silent <- m:
		default: // there is another one already
		}
	}
	return false
}

// over reports whether the partition is to be given away.
func (c *claim) over() bool {
	select {
	case <-c.ended:
		return true
	case <-c.ctx.Done():
		return true
	default:
		return false
	}
}

func (c *claim) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.ended:
	case <-c.ctx.Done():
	}
}

func isAcked(m *message.Message) bool { return isClosed(m.Acked()) }

func isNacked(m *message.Message) bool { return isClosed(m.Nacked()) }

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
