package amqp

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/rabbitmq/amqp091-go"
	"github.com/tidings-go/tidings/relay"
)

// A lane is a channel for publishing. The server closes it when a message is
// wrong, for instance if its exchange was deleted; then a new lane is opened.
type lane struct {
	link        *link
	channel     *amqp091.Channel
	headerLimit int
	exchanges   sync.Map // by topic: *shared[struct{}], those that this lane has declared

	mu       sync.Mutex
	underWay map[label]*fate

	ended chan struct{} // closed when the channel is closed
	cause error         // why; valid once ended is closed
}

// A laneError concerns a message that was in flight when its lane ended.
type laneError struct{ cause error }

func (e *laneError) Error() string {
	return fmt.Sprintf("the channel was closed before the server had confirmed the message: %v", e.cause)
}
func (e *laneError) Unwrap() error { return e.cause }

// headerRoom is the size of the headers' frame without the headers.
const headerRoom = 2 << 10

func openLane(link *link) (*lane, error) {
	channel, err := link.Channel()
	if err != nil {
		return nil, err
	}
	if err := channel.Confirm(false); err != nil {
		return nil, errors.Join(err, channel.Close())
	}
	l := &lane{link: link, channel: channel, underWay: map[label]*fate{}, ended: make(chan struct{})}
	l.headerLimit = max(0, link.Config.FrameSize-headerRoom)
	end := channel.NotifyClose(make(chan *amqp091.Error, 1))
	go func() {
		defer close(l.ended)
		l.cause = lost(<-end)
	}()
	// The client library sends a returned message to both channels before it
	// reads on. So it is noted before the confirmation arrives, which the
	// server sends after it.
	returns, noted := channel.NotifyReturn(make(chan amqp091.Return)), channel.NotifyReturn(make(chan amqp091.Return))
	go func() {
		for r := range returns {
			l.note(&r)
			<-noted
		}
	}()
	return l, nil
}

// A label identifies a message when the server returns it.
type label struct {
	address
	id string
}

// A fate is shared by the messages in flight with the same label. They cannot
// be told apart: if one is returned, all are.
type fate struct {
	messages int
	returned bool
}

// A sent message waits for the server to confirm it.
type sent struct {
	label        label
	fate         *fate
	confirmation *amqp091.DeferredConfirmation
}

// note records that the server has returned a message.
func (l *lane) note(r *amqp091.Return) {
	id, _ := r.Headers[uuidHeader].(string)
	l.mu.Lock()
	defer l.mu.Unlock()
	if f := l.underWay[label{address{r.Exchange, r.RoutingKey}, id}]; f != nil {
		f.returned = true
	}
}

func (l *lane) track(of label) *fate {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.underWay[of]
	if f == nil {
		f = &fate{}
		l.underWay[of] = f
	}
	f.messages++
	return f
}

// forget drops messages for which no publisher waits any more.
func (l *lane) forget(all []*sent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range all {
		if s.fate.messages--; s.fate.messages == 0 {
			delete(l.underWay, s.label)
		}
	}
}

// prepare calls declare for a topic, once for each lane: what was declared may
// be deleted when a lane has ended.
func (l *lane) prepare(ctx context.Context, topic string, declare func(*desk) error) error {
	s, ok := l.exchanges.Load(topic)
	if !ok {
		s, _ = l.exchanges.LoadOrStore(topic, &shared[struct{}]{
			alive: func(struct{}) bool { return true },
			create: func(context.Context) (none struct{}, err error) {
				d := &desk{open: l.link.Channel}
				return none, d.close(declare(d))
			},
		})
	}
	_, err := s.(*shared[struct{}]).get(ctx)
	return unanswered(err, &l.link.alarm)
}

// send writes a message. If the server does not read, the limit of a write ends
// it.
func (l *lane) send(ctx context.Context, to address, m *relay.Message) (*sent, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, unanswered(err, &l.link.alarm)
	}
	p, err := publishing(m, l.headerLimit)
	if err != nil {
		return nil, err
	}
	id, _ := p.Headers[uuidHeader].(string) // the metadata may also contain it
	s := &sent{label: label{to, id}}
	s.fate = l.track(s.label)
	s.confirmation, err = l.channel.PublishWithDeferredConfirm(to.exchange, to.key, true, false, p)
	if err != nil {
		l.forget([]*sent{s})
		if l.channel.IsClosed() {
			<-l.ended
			return nil, &laneError{l.cause}
		}
		return nil, err
	}
	return s, nil
}

// wait waits until the server has confirmed a message, and reports whether it
// was returned.
func (l *lane) wait(ctx context.Context, s *sent) (returned bool, err error) {
	select {
	case <-s.confirmation.Done():
	case <-l.ended:
	case <-ctx.Done():
	}
	if s.confirmation.Acked() { // even if it was at the last moment
		l.mu.Lock()
		defer l.mu.Unlock()
		return s.fate.returned, nil
	}
	if err := context.Cause(ctx); err != nil {
		return false, unanswered(err, &l.link.alarm)
	}
	if l.channel.IsClosed() {
		<-l.ended
		return false, &laneError{l.cause}
	}
	return false, errors.New("the server has refused the message (a full queue that rejects, or an error of its own)")
}
