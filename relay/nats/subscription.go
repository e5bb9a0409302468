package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tidings-go/tidings/relay"
)

// A subscription serves one worker. It requests messages from the server,
// delivers them one by one, waits for the verdict on each, and requests more.
//
// It implements the protocol of pull consumers itself (ADR-13 of NATS): the
// client's iterator may ask twice after a reconnect, and drops one of two
// messages until AckWait ends if it has room for one; and it treats a message
// with the header "Status" and an empty body as a status of the server, so no
// worker would ever get that message.
type subscription struct {
	*broker
	ctx    context.Context
	group  relay.Group
	topic  string
	handle func(*relay.Message) bool
	next   string // subject for requests, from declare
	sub    *nats.Subscription
	input  chan *nats.Msg
	window window
	held   *nats.Msg   // the message that was being handled when ctx ended, and is not done
	due    int         // messages that the request may still bring
	stale  *time.Timer // while a message is handled: when to return those that wait
	look   *time.Timer // while there is none: when to check whether the server is there

	reconnects uint64    // of the connection, at the last request
	heard      time.Time // when the server was last heard
}

const (
	askFor     = 30 * time.Second // how long a request for one message is valid
	heartbeat  = 5 * time.Second  // how often the server confirms that it knows the request
	lookEvery  = time.Second
	troubleFor = 500 * time.Millisecond // pause after a refusal
	inputSize  = 4 * maxWindow          // more than ever arrives: the client drops messages that do not fit
)

// A request is the body of a request. If it asks for several messages it does
// not wait: none may arrive later, while a handler is busy.
type request struct {
	Batch     int           `json:"batch"`
	Expires   time.Duration `json:"expires,omitempty"`
	Heartbeat time.Duration `json:"idle_heartbeat,omitempty"`
	NoWait    bool          `json:"no_wait,omitempty"`
}

func requestFor(batch int) []byte {
	r := request{Batch: batch, NoWait: true}
	if batch == 1 {
		r = request{Batch: 1, Expires: askFor, Heartbeat: heartbeat}
	}
	body, err := json.Marshal(r)
	if err != nil {
		panic(err) // there is nothing in it that could fail
	}
	return body
}

func newSubscription(ctx context.Context, b *broker, group relay.Group, topic string, consumer *jetstream.ConsumerInfo, handle func(*relay.Message) bool) (*subscription, error) {
	n := &subscription{
		broker: b,
		ctx:    ctx,
		group:  group,
		topic:  topic,
		handle: handle,
		next:   nextOf(b.js, consumer),
		input:  make(chan *nats.Msg, inputSize),
		stale:  time.NewTimer(time.Hour),
		look:   time.NewTimer(time.Hour),
	}
	var err error
	n.sub, err = b.conn.ChanSubscribe(b.conn.NewInbox(), n.input)
	return n, err
}

// nextOf returns the subject for requests to a consumer.
func nextOf(js jetstream.JetStream, consumer *jetstream.ConsumerInfo) string {
	return fmt.Sprintf("%sCONSUMER.MSG.NEXT.%s.%s", apiPrefix(js), consumer.Stream, consumer.Name)
}

// apiPrefix returns the prefix of the subjects of the JetStream API.
func apiPrefix(js jetstream.JetStream) string {
	o := js.Options()
	prefix := o.APIPrefix
	if o.Domain != "" {
		prefix = "$JS." + o.Domain + ".API."
	}
	if prefix == "" {
		prefix = jetstream.DefaultAPIPrefix
	}
	return strings.TrimSuffix(prefix, ".") + "."
}

// run handles messages until ctx ends, or the connection is closed.
func (n *subscription) run() error {
	defer n.leave()
	defer n.stale.Stop()
	defer n.look.Stop()
	for raw := n.fetch(); raw != nil; raw = n.fetch() {
		n.pass(raw)
	}
	if n.ctx.Err() != nil {
		return nil
	}
	return nats.ErrConnectionClosed
}

// fetch returns the next message, or nil when the subscription has ended.
func (n *subscription) fetch() *nats.Msg {
	for n.ctx.Err() == nil {
		if len(n.input) == 0 && n.due == 0 && !n.ask() {
			return nil
		}
		raw, ok := n.answer()
		if raw != nil {
			n.window.add(raw)
		}
		if raw != nil || !ok {
			return raw
		}
		n.due = 0
	}
	return nil
}

// ask requests messages as soon as there is a connection.
func (n *subscription) ask() bool {
	for {
		if n.conn.IsConnected() {
			n.reconnects, n.heard = n.conn.Stats().Reconnects, time.Now()
			size := n.window.next()
			err := n.conn.PublishRequest(n.next, n.sub.Subject, requestFor(size))
			if err == nil {
				n.due = size
				return true
			}
			n.log().Warn("relay/nats: requesting a message failed", slog.Any("error", err))
		}
		if n.conn.IsClosed() || !pause(n.ctx, troubleFor) {
			return false
		}
	}
}

// answer waits for the result of a request: a message, or nil at the end of the
// request. ok is false at the end of the subscription.
func (n *subscription) answer() (raw *nats.Msg, ok bool) {
	for {
		if len(n.input) == 0 {
			n.look.Reset(lookEvery)
		}
		select {
		case <-n.ctx.Done():
			return nil, false
		case raw := <-n.input:
			n.heard = time.Now()
			if isDelivery(raw) {
				n.due = max(0, n.due-1)
				return raw, true
			}
			switch raw.Header.Get("Status") {
			case "100": // a heartbeat
			case "404", "408": // there is nothing, or no more
				return nil, true
			default:
				return nil, n.amend(raw)
			}
		case <-n.look.C:
			if n.isForgotten() {
				n.declareAgain()
				return nil, true
			}
		}
	}
}

// isDelivery distinguishes messages from status messages, which need no answer.
func isDelivery(raw *nats.Msg) bool { return raw.Reply != "" }

// isForgotten reports whether the server may no longer know the request.
func (n *subscription) isForgotten() bool {
	if !n.conn.IsConnected() {
		return n.conn.IsClosed()
	}
	return n.conn.Stats().Reconnects != n.reconnects || time.Since(n.heard) > 2*heartbeat+lookEvery
}

// amend handles a refusal: the consumer was deleted or has a new leader, or the
// server starts or stops.
func (n *subscription) amend(raw *nats.Msg) bool {
	n.log().Debug("relay/nats: the server has no message",
		slog.String("status", raw.Header.Get("Status")), slog.String("description", raw.Header.Get("Description")))
	if !pause(n.ctx, troubleFor) {
		return false
	}
	n.declareAgain()
	return true
}

// declareAgain creates the consumer again, if it is missing.
func (n *subscription) declareAgain() {
	consumer, err := n.declare(n.ctx, n.group, n.topic, answerWithin)
	if err != nil {
		n.log().Warn("relay/nats: declaring a consumer again failed", slog.Any("error", err))
		return
	}
	n.next = nextOf(n.js, consumer)
}

// pass handles a message. If that takes long, those that wait behind it go
// back.
func (n *subscription) pass(raw *nats.Msg) {
	done := make(chan bool, 1)
	go func() { done <- n.handle(unmarshal(raw)) }()
	for {
		n.stale.Reset(n.hold())
		select {
		case done := <-done:
			if !done && n.ctx.Err() != nil {
				n.held = raw
			} else {
				n.answerTo(raw, verdictOf(done))
			}
			return
		case <-n.stale.C:
			n.giveBack()
		}
	}
}

// hold is how long messages wait behind one that is being handled before they
// go back. Their AckWait runs meanwhile.
func (n *subscription) hold() time.Duration { return min(time.Second, n.group.AckWait/4) }

// giveBack returns the waiting messages, in order.
func (n *subscription) giveBack() {
	for _, raw := range n.waiting() {
		n.answerTo(raw, nak)
	}
}

// waiting takes the waiting messages.
func (n *subscription) waiting() (all []*nats.Msg) {
	for {
		select {
		case raw := <-n.input:
			if isDelivery(raw) {
				n.due = max(0, n.due-1)
				all = append(all, raw)
			} else {
				n.due = 0
			}
		default:
			return all
		}
	}
}

// The verdicts on a message.
const (
	ack = "+ACK"
	nak = "-NAK"
)

func verdictOf(done bool) string {
	if done {
		return ack
	}
	return nak
}

// answerTo sends a verdict as soon as there is a connection, and does not wait
// until the server has it: if the verdict is lost, the message is redelivered.
func (n *subscription) answerTo(raw *nats.Msg, verdict string) {
	for {
		err := n.conn.Publish(raw.Reply, []byte(verdict))
		if errors.Is(err, nats.ErrReconnectBufExceeded) && pause(n.ctx, publishPause) {
			continue
		}
		if err != nil {
			n.log().Warn("relay/nats: acknowledging a message failed", slog.Any("error", err))
		}
		return
	}
}

// leave ends the subscription. Messages that were not acknowledged go back:
// otherwise they would wait for AckWait. Once the server has answered the
// flush, no more messages arrive. Its answer to the last return means that it
// has all of them, so that later messages do not overtake them.
func (n *subscription) leave() {
	if err := n.sub.Drain(); err != nil {
		n.log().Debug("relay/nats: unsubscribing failed", slog.Any("error", err))
	}
	reached := n.flush()
	back := n.waiting()
	if n.held != nil {
		back = slices.Insert(back, 0, n.held)
	}
	for i, raw := range back {
		if i < len(back)-1 || !reached {
			n.answerTo(raw, nak)
		} else if _, err := n.conn.Request(raw.Reply, []byte(nak), flushWithin); err != nil {
			n.log().Warn("relay/nats: returning a message failed", slog.Any("error", err))
		}
	}
}

func (n *subscription) log() *slog.Logger {
	return n.logger.With(slog.String("topic", n.topic), slog.String("group", n.group.Name))
}
