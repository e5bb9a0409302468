package relay

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"time"

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

	// The letters, by their own IDs, that were moved so late that the broker may
	// have redelivered them, and those that stay where they are.
	moved, left map[string]bool
}

// A Kafka consumer may need some seconds to join its group before the first
// letter arrives.
const (
	firstLetterWithin = 10 * time.Second
	nextLetterWithin  = 3 * time.Second
)

// decidedAgainAfter is how long a letter that was decided is held before it
// goes back: some brokers redeliver it at once.
const decidedAgainAfter = 50 * time.Millisecond

func (d *redrive) through(ctx context.Context) (err error) {
	// The subscription outlives ctx, until the last letter has its verdict.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	letters := make(chan *delivery)
	var ended <-chan error
	opened := make(chan struct{}) // closed when ended is set, or never will be
	err = await(ctx, func() (err error) {
		defer close(opened)
		group, topic := d.consumer.queue(deadQueue), d.consumer.deadTopic
		if err = d.relay.broker.Declare(life, group, topic); err == nil {
			ended, err = d.relay.consume(life, group, topic, letters)
		}
		if err != nil {
			return fmt.Errorf("the topic %q: %w", topic, err)
		}
		return nil
	})
	defer func() {
		end()
		late, cancel := limit(ctx, hardStop)
		defer cancel()
		err = errors.Join(err, await(late, func() error {
			if <-opened; ended == nil {
				return nil
			}
			return <-ended
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
		case err := <-ended:
			ended = nil
			return errors.Join(errors.New("the broker ended the subscription"), err)
		case m := <-letters:
			more, err := d.take(ctx, m)
			if err != nil {
				return err
			}
			if more {
				idle.Reset(d.relay.nextLetterWithin)
			}
		}
	}
}

// take gives a letter its verdict, and reports whether it was a new one. If it
// returns an error, or decide panics, the letter stays.
func (d *redrive) take(ctx context.Context, m *delivery) (isNew bool, err error) {
	defer m.Nack()
	if d.isDone(ctx, m) {
		return false, nil
	}
	if err := ctx.Err(); err != nil { // select chooses at random
		return false, err
	}
	return true, d.settle(ctx, m)
}

// isDone handles letters that this run has already decided.
func (d *redrive) isDone(ctx context.Context, m *delivery) bool {
	id := m.Metadata[letterKey]
	switch {
	case m.Metadata[redriveKey] == d.run, d.left[identity(m.Message)]:
		// Kept, or failed again meanwhile. If the broker keeps the order, there
		// are no others behind it; if it has partitions, another one may still
		// have some.
		pause(ctx, decidedAgainAfter)
		return true
	case d.moved[id]:
		m.Ack() // the same letter as before, not another one
		return true
	}
	return false
}

// identity returns the own ID of a letter. One that no relay has put into the
// queue has none, and is what it contains.
func identity(m *Message) string {
	if id := m.Metadata[letterKey]; id != "" {
		return id
	}
	sum := sha256.Sum256(m.Body)
	return m.ID + string(sum[:])
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// settle decides a letter, and puts it where it belongs.
func (d *redrive) settle(ctx context.Context, m *delivery) error {
	a := attemptOf(m.Message)
	verdict := d.decide(DeadLetter{
		Handler: d.handler, Reason: a.reason, Attempts: a.number, Origin: a.origin, FailedAt: a.failedAt,
		ID: m.ID, Body: m.Body, Size: max(a.size, len(m.Body)), eventType: a.typ,
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
	next := a.addTo(m.Message)
	err := await(ctx, func() error { return d.relay.enqueue(ctx, d.consumer.queue(queue), next) })
	if errors.Is(err, ErrTooLarge) {
		d.warn(ctx, m, "relay: a dead letter is kept, since the broker does not accept it again", slog.Any("error", err))
		d.left[identity(m.Message)] = true
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

func (d *redrive) warn(ctx context.Context, m *delivery, text string, more ...any) {
	d.relay.logger().With(more...).WarnContext(ctx, text, slog.String("handler", d.handler), slog.String("message_id", m.ID))
}

// done acknowledges a letter. If that is late, the broker may have redelivered
// it; isDone then recognises it by its ID.
func (d *redrive) done(m *delivery, id string) {
	if id != "" && time.Since(d.began) > d.relay.deadAckWait/2 {
		d.moved[id] = true
	}
	m.Ack()
}
