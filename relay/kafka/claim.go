package kafka

import (
	"fmt"
	"time"

	"github.com/IBM/sarama"
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
// until the member must give the partition away. The partitions of the member
// take turns.
func (m *member) ConsumeClaim(session sarama.ConsumerGroupSession, from sarama.ConsumerGroupClaim) error {
	c := &claim{member: m, session: session, ended: m.endOf(session, from), topic: m.topics.generation(m.name)}
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
		case <-c.topic.over: // the member joins again
			return nil
		case <-session.Context().Done():
			return nil
		}
	}
}

// startsOver reports whether the committed offset of the group belongs to
// another topic of this name, which was deleted. Then the group begins with the
// oldest message when the member has joined again: otherwise it would skip
// messages of the new topic before this offset.
func (c *claim) startsOver(from sarama.ConsumerGroupClaim) bool {
	if c.topic.id == "" {
		return false // the cluster does not say
	}
	offsets, err := c.topics.admin.ListConsumerGroupOffsets(c.group.Name, map[string][]int32{from.Topic(): {from.Partition()}})
	if err != nil {
		c.warn("reading the offset of a partition failed", err)
		return false
	}
	block := offsets.GetBlock(from.Topic(), from.Partition())
	if block == nil || block.Metadata == "" || block.Metadata == c.topic.id {
		return false
	}
	c.warn("starting again with the oldest message", fmt.Errorf("the topic was deleted and created again since offset %d of partition %d was committed", block.Offset, from.Partition()))
	c.session.ResetOffset(from.Topic(), from.Partition(), 0, c.topic.id)
	c.session.Commit()
	return true
}

// endOf returns a channel that is closed when the partition must be given away.
// Messages also signals that, but only after its remaining messages, and the
// context of the session only if the member loses all partitions; so this
// channel tells it while no worker takes a message. A claim is a
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
	topic   *generation // its id is committed with each offset
}

// pass has a message handled until it is done, and reports whether it was. It
// waits for the handler even when the partition must be given away, since the
// message would be redelivered otherwise.
func (c *claim) pass(r *sarama.ConsumerMessage) bool {
	for !c.over() {
		select {
		case c.turn <- struct{}{}:
		case <-c.ended:
			return false
		case <-c.ctx.Done():
			return false
		}
		verdict := make(chan bool, 1)
		go func() {
			done := c.handle(unmarshal(r))
			<-c.turn
			verdict <- done
		}()
		done, inTime := c.await(verdict)
		if !inTime {
			return false
		}
		if done {
			c.session.MarkMessage(r, c.topic.id)
			return true
		}
		c.pause(resendAfter)
	}
	return false
}

// resendAfter prevents a tight loop for a message that is rejected at once.
const resendAfter = 100 * time.Millisecond

// await returns the verdict on a message. If that takes too long, the member
// must leave the group.
func (c *claim) await(verdict <-chan bool) (done, inTime bool) {
	timer := time.NewTimer(c.group.AckWait)
	defer timer.Stop()
	select {
	case done := <-verdict:
		return done, true
	case <-timer.C:
	}
	c.warn("leaving the group until a handler ends", fmt.Errorf("a message was not acknowledged within %v", c.group.AckWait))
	select {
	case c.silent <- verdict:
	default: // there already is one
	}
	return false, false
}

// over reports whether the partition must be given away.
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
