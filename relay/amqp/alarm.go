package amqp

import (
	"context"
	"fmt"
	"sync"

	"github.com/rabbitmq/amqp091-go"
)

// An alarm tracks whether a server reads from a publishing connection. It does
// not while it is short of memory or disk.
type alarm struct {
	mu     sync.Mutex
	reason string
	over   chan struct{} // closed when the alarm is over; nil: there is no alarm
}

// watch follows the server's notifications for a connection, until that ends.
func (a *alarm) watch(changes <-chan amqp091.Blocking) {
	for c := range changes {
		a.set(c)
	}
	a.set(amqp091.Blocking{})
}

func (a *alarm) set(b amqp091.Blocking) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case b.Active:
		a.reason = b.Reason
		if a.over == nil {
			a.over = make(chan struct{})
		}
	case a.over != nil:
		close(a.over)
		a.over = nil
	}
}

// err returns the reason of an alarm, or nil if there is none.
func (a *alarm) err() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over == nil {
		return nil
	}
	return fmt.Errorf("the server has blocked all publishers (%s), and accepts no messages until that is over", a.reason)
}

// wait waits until the server takes messages. A message written before would be
// stored later, when the publisher has given it up.
func (a *alarm) wait(ctx context.Context) error {
	a.mu.Lock()
	over := a.over
	a.mu.Unlock()
	if over == nil {
		return nil
	}
	select {
	case <-over:
		return nil
	case <-ctx.Done():
		return unanswered(context.Cause(ctx), a)
	}
}

// unanswered returns why a wait has ended. If the wait has lasted answerWithin,
// an alarm is the reason if there is one.
func unanswered(cause error, a *alarm) error {
	if cause == errUnanswered {
		if err := a.err(); err != nil {
			return err
		}
	}
	return cause
}
