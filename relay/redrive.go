package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"

	"github.com/tidings-go/tidings"
)

// Redrive goes through the dead letters of a handler once and redelivers those
// for which decide returns Redeliver; only that handler receives them. decide
// may Keep all to list them; nil means Redeliver for all. Redrive returns how
// many were redelivered. For a letter whose body is incomplete, see
// [DeadLetter], Redeliver counts as Keep, with a warning.
//
// A broker does not report the last letter, so Redrive ends when none has
// arrived for some seconds. It works in any process that has the same broker,
// [WithPrefix] and rule for topics, even without Start; two calls at once share the
// letters. decide may take its time, and is called once for each letter. But a
// letter that is not decided within fifteen minutes may also be shown to
// another Redrive, and it may take as long until the letters of a dead process
// are shown again. If Redrive fails, or ctx ends, the letters that it has not
// yet decided stay where they were; a letter that it was about to move may be
// in both places.
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
	c, err := newConsumer(r, tidings.Handler{Name: handler}) // fetches no events
	if err != nil {
		return 0, err
	}
	d := &redrive{
		relay: r, handler: handler, decide: decide, run: uuid.NewString(), began: time.Now(),
		moved: map[string]bool{}, left: map[string]bool{},
		consumer: c,
	}
	if err := d.through(ctx); err != nil {
		return d.redelivered, &wrapped{fmt.Sprintf("Redrive of %q", handler), err}
	}
	return d.redelivered, nil
}

// deadAckWait is the time to decide a letter, together with all that the broker
// has delivered before it. Not every broker can be told to wait longer.
const deadAckWait = 15 * time.Minute

// A redrive is a call of Redrive.
type redrive struct {
	relay       *Relay
	handler     string
	decide      func(DeadLetter) Verdict
	consumer    *consumer
	run         string // marks the letters that this run has decided
	began       time.Time
	redelivered int

	// The letters, by their own IDs, that were moved so late that the broker
	// may have redelivered them, and those that stay where they are.
	moved, left map[string]bool

	decided []*message.Message // held until the end
}

// A Kafka consumer may need some seconds to join its group before the first
// letter arrives.
const (
	firstLetterWithin = 10 * time.Second
	nextLetterWithin  = 3 * time.Second
)

func (d *redrive) through(ctx context.Context) (err error) {
	var dead message.Subscriber
	var letters <-chan *message.Message
	opened := make(chan struct{}) // closed when there will be no more to close
	err = await(ctx, func() (err error) {
		defer close(opened)
		dead, letters, err = d.subscribe(ctx)
		return err
	})
	defer func() {
		for _, m := range d.decided {
			m.Nack()
		}
		late, cancel := limit(ctx, hardStop)
		defer cancel()
		err = errors.Join(err, await(late, func() error {
			if <-opened; dead == nil {
				return nil
			}
			return dead.Close()
		}))
	}()
	if err != nil {
		return err
	}
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
			if d.isDone(m) {
				continue
			}
			if err := ctx.Err(); err != nil { // select chooses at random
				m.Nack()
				return err
			}
			if err := d.settle(ctx, m); err != nil {
				m.Nack()
				return err
			}
			idle.Reset(d.relay.nextLetterWithin)
		}
	}
}

// subscribe returns the letters and their subscriber. The subscriber may be set
// even if there is an error.
func (d *redrive) subscribe(ctx context.Context) (message.Subscriber, <-chan *message.Message, error) {
	dead, err := d.relay.broker.Subscriber(ctx, d.consumer.queue(deadQueue))
	if err != nil {
		return nil, nil, err
	}
	topic := d.consumer.deadTopic
	if err := initialize(dead, topic); err != nil {
		return dead, nil, err
	}
	letters, err := dead.Subscribe(context.WithoutCancel(ctx), topic)
	return dead, letters, err
}

// isDone handles letters that this run has already decided.
func (d *redrive) isDone(m *message.Message) bool {
	id := m.Metadata.Get(letterKey)
	switch {
	case m.Metadata.Get(redriveKey) == d.run, id != "" && d.left[id]:
		// Kept, or failed again meanwhile. If the broker keeps the order, there
		// are no others behind it; if it has partitions, another one may still
		// have some.
		d.decided = append(d.decided, m)
		return true
	case d.moved[id]:
		m.Ack() // the same letter as before, not another one
		return true
	}
	return false
}

// settle decides a letter, and puts it where it belongs.
func (d *redrive) settle(ctx context.Context, m *message.Message) error {
	a := attemptOf(m)
	verdict := d.decide(DeadLetter{
		Handler: d.handler, Reason: a.reason, Attempts: a.number, Origin: a.origin, FailedAt: a.failedAt,
		ID: m.UUID, Body: m.Payload, Size: max(a.size, len(m.Payload)), eventType: a.typ,
	})
	id, queue := a.letter, deadQueue
	a.letter = uuid.NewString() // a kept letter is a new letter
	switch {
	case verdict == Discard:
		d.done(m, id)
		return nil
	case verdict == Redeliver && a.size > 0:
		d.warn(ctx, m, "relay: a dead letter is kept, since its body is incomplete: publish the event again, and discard the letter")
	case verdict == Redeliver:
		queue = retryQueue
		a.number, a.strange, a.failedAt, a.letter = 0, 0, time.Time{}, ""
	case verdict != Keep:
		return fmt.Errorf("%v is not a valid Verdict", verdict)
	}
	a.redrive = d.run // if it fails again at once, it is not moved again
	next := a.addTo(m)
	next.SetContext(ctx)
	err := await(ctx, func() error { return d.relay.enqueue(d.consumer.queue(queue), next) })
	if errors.Is(err, ErrTooLarge) {
		d.warn(ctx, m, "relay: a dead letter is kept, since the broker does not accept it again", slog.Any("error", err))
		d.left[id] = true
		d.decided = append(d.decided, m)
		return nil
	}
	if err != nil {
		return err
	}
	if queue == retryQueue {
		d.redelivered++
	}
	d.done(m, id)
	return nil
}

func (d *redrive) warn(ctx context.Context, m *message.Message, text string, more ...any) {
	d.relay.logger().With(more...).WarnContext(ctx, text, slog.String("handler", d.handler), slog.String("message_id", m.UUID))
}

// done acknowledges a letter. If that is late, the broker may have redelivered
// it; isDone then recognises it by its ID.
func (d *redrive) done(m *message.Message, id string) {
	if id != "" && time.Since(d.began) > d.relay.deadAckWait/2 {
		d.moved[id] = true
	}
	m.Ack()
}
