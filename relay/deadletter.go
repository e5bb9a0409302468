package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"

	"github.com/tidings-go/tidings"
)

// A DeadLetter is a message that a handler has given up.
type DeadLetter struct {
	Handler  string // the handler's name
	Reason   string // the last error, on one line
	Attempts int    // how often the handler was called
	Origin   string // the topic that the message was on
	FailedAt time.Time
	ID       string // of the message: the event's ID, if it is one
	Body     []byte // the CloudEvent, or whatever it is
}

// Type returns the registered name of the event, "" if the message is no event.
func (d DeadLetter) Type() string {
	var e tidings.Envelope
	if err := e.UnmarshalJSON(d.Body); err != nil {
		return ""
	}
	return e.Type
}

// A Verdict is what becomes of a dead letter.
type Verdict int

const (
	Redeliver Verdict = iota // the handler gets it again, with all its attempts
	Keep                     // it stays a dead letter
	Discard                  // it is deleted
)

// String returns the name of the constant.
func (v Verdict) String() string {
	switch v {
	case Redeliver:
		return "Redeliver"
	case Keep:
		return "Keep"
	case Discard:
		return "Discard"
	}
	return fmt.Sprintf("Verdict(%d)", int(v))
}

// Redrive goes through the dead letters of a handler once and puts those back
// that decide says Redeliver of: that handler gets them again, and no other one.
// decide may look and Keep all; nil is Redeliver for all. It returns how many
// were put back.
//
// A broker does not say when there are no more, so Redrive ends after some
// seconds in which none has arrived. It works from any process that has the
// same broker, [Prefix] and rule for topics, also without Start; two at once
// share the letters. If it fails, or ctx ends, the letters that it has not yet
// decided about are where they were; one that it was about to move may be in
// both places.
func (r *Relay) Redrive(ctx context.Context, handler string, decide func(DeadLetter) Verdict) (redelivered int, err error) {
	if handler == "" {
		return 0, errors.New("relay: Redrive without the name of a handler")
	}
	if r.closed.Load() {
		return 0, fmt.Errorf("relay: Redrive of %q: %w", handler, ErrClosed)
	}
	if decide == nil {
		decide = func(DeadLetter) Verdict { return Redeliver }
	}
	d := &redrive{relay: r, handler: handler, decide: decide, run: uuid.NewString()}
	if err := d.through(ctx); err != nil {
		return d.redelivered, fmt.Errorf("relay: Redrive of %q: %w", handler, err)
	}
	return d.redelivered, nil
}

// A redrive is a call of Redrive.
type redrive struct {
	relay       *Relay
	handler     string
	decide      func(DeadLetter) Verdict
	run         string // marks the letters that it has decided about
	redelivered int
}

// Until the first letter arrives it can take a consumer of Kafka some seconds to
// join its group.
const (
	firstLetterWithin = 10 * time.Second
	nextLetterWithin  = 3 * time.Second
)

func (d *redrive) through(ctx context.Context) (err error) {
	topic := d.relay.deadTopic(d.handler)
	c := newConsumer(d.relay, d.handler, newSettings(nil), nil, nil) // which fetches no events
	retry, err := c.subscriber(ctx, retryQueue, d.relay.retryTopic(d.handler))
	if err != nil {
		return err
	}
	if err := retry.Close(); err != nil {
		return err
	}
	dead, err := c.subscriber(ctx, deadQueue, topic)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dead.Close()) }()
	letters, err := dead.Subscribe(context.WithoutCancel(ctx), topic)
	if err != nil {
		return err
	}
	var decided []*message.Message
	defer func() {
		for _, m := range decided {
			m.Nack()
		}
	}()
	idle := time.NewTimer(d.relay.firstLetterWithin)
	defer idle.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-idle.C:
			return nil
		case m, ok := <-letters:
			if !ok {
				return errors.New("the broker ended the subscription")
			}
			if m.Metadata.Get(redriveKey) == d.run {
				// Kept, or failed again meanwhile. Where the broker keeps the
				// order there are no others behind it, and where it has
				// partitions there may still be some in another one.
				decided = append(decided, m)
				continue
			}
			if err := ctx.Err(); err != nil { // select chooses at random
				m.Nack()
				return err
			}
			if err := d.move(ctx, c, m); err != nil {
				m.Nack()
				return err
			}
			m.Ack()
			idle.Reset(d.relay.nextLetterWithin)
		}
	}
}

// move puts a letter where it belongs by the verdict.
func (d *redrive) move(ctx context.Context, c *consumer, m *message.Message) error {
	a := attemptOf(m)
	letter := DeadLetter{
		Handler: d.handler, Reason: a.reason, Attempts: a.number, Origin: a.origin, FailedAt: a.failedAt,
		ID: m.UUID, Body: m.Payload,
	}
	switch v := d.decide(letter); v {
	case Discard:
		return nil
	case Keep:
		next := a.addTo(m)
		next.Metadata[redriveKey] = d.run
		next.SetContext(ctx)
		return d.relay.enqueue(c.queue(deadQueue), next)
	case Redeliver:
		a.number, a.failedAt = 0, time.Time{}
		next := a.addTo(m)
		next.Metadata[redriveKey] = d.run // if it fails again at once, it is not moved again
		next.SetContext(ctx)
		if err := d.relay.enqueue(c.queue(retryQueue), next); err != nil {
			return err
		}
		d.redelivered++
		return nil
	default:
		return fmt.Errorf("%v is no verdict", v)
	}
}
