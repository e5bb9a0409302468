package relay

import "context"

// A delivery is a message for which the broker waits until it is acknowledged
// or rejected. Only the first verdict counts.
type delivery struct {
	*Message
	verdict chan bool // has room for one
}

func (d *delivery) Ack()  { d.settle(true) }
func (d *delivery) Nack() { d.settle(false) }

func (d *delivery) settle(done bool) {
	select {
	case d.verdict <- done:
	default:
	}
}

// consume is Consume of the broker, with the messages on a channel, so that no
// handler runs on a goroutine of the broker. Each must get a verdict, whatever
// happens, even after the end of ctx.
func (r *Relay) consume(ctx context.Context, group Group, topic string, to chan<- *delivery) (ended <-chan error, err error) {
	return r.broker.Consume(ctx, group, topic, func(m *Message) bool {
		d := &delivery{m, make(chan bool, 1)}
		select {
		case to <- d:
			return <-d.verdict
		case <-ctx.Done():
			return false
		}
	})
}
