package relaytest

import (
	"context"
	"errors"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/relay"
)

// The retry queue is deleted while a consumer runs. Events that fail from then
// on are retried nonetheless.
func checkRetryQueueRemoved(r *rig) {
	const last = 40
	p, tried, done := r.open(), r.tally(), r.tally()
	p.handle("moody", func(ctx context.Context, e counted) error {
		if tried.add(e.Number) == 1 {
			return errors.New("not yet")
		}
		return done.handle(ctx, e)
	}, tidings.Attempts(20))
	p.start()
	p.send(1, 1)
	done.await(1, 1)
	p.removeQueue("moody.retry")
	for n := int64(2); n <= last; n++ {
		p.send(n, n)
		time.Sleep(20 * time.Millisecond) // also past the time when the subscription is found to be gone
	}
	done.awaitFor(r.Redelivery+2*r.Features.Patience, 1, last)
}

// The queue of dead letters is deleted while a consumer runs. Events that are
// given up from then on become dead letters nonetheless.
func checkDeadQueueRemoved(r *rig) {
	p := r.open()
	p.handle("hopeless", func(context.Context, counted) error { return errors.New("no") }, tidings.Attempts(1))
	p.start()
	p.send(1, 1)
	p.awaitDead(1)
	p.removeQueue("hopeless.dead")
	p.send(2, 4)
	p.awaitDead(4)
	ids := map[string]bool{}
	for _, letter := range p.letters("hopeless", 3) {
		ids[letter.ID] = true
	}
	require.Len(r, ids, 3, "those that were given up after the queue was deleted")
}

// The queue of a handler on a topic is deleted while a consumer runs. After
// some time the handler gets the events that are sent from then on.
func checkQueueRemoved(r *rig) {
	p, got := r.open(), r.tally()
	p.handle("steady", got.handle)
	p.start()
	p.send(1, 1)
	got.await(1, 1)
	r.RemoveQueue(r.T, relay.Group{Name: r.prefix + "steady"}, p.topic(countedName))
	p.untilHandled(got, 2)
}

// A topic is deleted while processes send and receive. Events accepted from
// then on are handled, and after some time all events are accepted.
func checkTopicRemoved(r *rig) {
	sender, p, got := r.open(), r.open(), r.tally()
	sender.forward()
	p.handle("steady", got.handle)
	p.start()
	sender.send(1, 1)
	got.await(1, 1)
	r.RemoveTopic(r.T, p.topic(countedName))
	got.wantAccepted(sender.untilHandled(got, 2))
}

// The server forgets everything while processes send and receive. Events that
// it accepts from then on are handled or dead letters, and after some time all
// are accepted.
func checkWiped(r *rig) {
	url, wipe := r.Wiped(r.T)
	r.URL = url
	sender, p, got := r.open(), r.open(), r.tally()
	sender.forward()
	p.handle("moody", func(ctx context.Context, e counted) error {
		if e.Number%5 == 0 {
			return errors.New("no")
		}
		return got.handle(ctx, e)
	}, tidings.Attempts(2))
	p.start()
	sender.send(1, 20)
	for n := int64(1); n < 20; n += 5 {
		got.await(n, n+3)
	}
	p.awaitDead(4)
	wipe()
	accepted := sender.untilHandled(got, 21)
	var handled, failed []int64
	for _, n := range accepted {
		if n%5 == 0 {
			failed = append(failed, n)
		} else {
			handled = append(handled, n)
		}
	}
	got.wantAccepted(handled)
	p.awaitDead(4 + len(failed))
	ids := map[string]bool{}
	for _, letter := range p.letters("moody", len(failed)) {
		ids[letter.ID] = true
	}
	require.GreaterOrEqual(r, len(ids), len(failed), "dead letters of what was accepted after the server had forgotten everything")
}

// removeQueue deletes one of a handler's own queues.
func (p *process) removeQueue(name string) {
	p.rig.RemoveQueue(p.rig.T, relay.Group{Name: p.rig.prefix + name, Queue: true}, p.topic(name))
}

// untilHandled sends numbers from first until 20 consecutive ones are accepted
// and handled (except those that the handler does not take). It returns the
// accepted numbers.
func (p *process) untilHandled(got *tally, first int64) (accepted []int64) {
	p.rig.Helper()
	soon := time.Second
	for deadline, in := time.Now().Add(p.rig.Redelivery+4*p.rig.Features.Patience), 0; in < 20; first++ {
		require.True(p.rig, time.Now().Before(deadline), "it does not work again: %d events were accepted, handled are %v", len(accepted), got.numbers())
		n := first
		if err := tidings.Publish(within(p.rig.T, p.rig.Features.Patience), p.bus, counted{Number: n}); err != nil {
			p.rig.Logf("%d is not accepted: %v", n, err)
			in = 0
		} else {
			accepted = append(accepted, n)
			if in++; in > 1 && n%5 != 0 && !got.hasWithin(soon, n) {
				in = 0
				soon += time.Second / 5 // it was lost, or the machine is slow
			}
		}
		time.Sleep(20 * time.Millisecond) // a publisher that is not in a hurry
	}
	return accepted
}

// hasWithin reports whether the number is handled within d.
func (c *tally) hasWithin(d time.Duration, number int64) bool {
	for deadline := time.Now().Add(d); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		c.mu.Lock()
		has := c.has(number, number)
		c.mu.Unlock()
		if has {
			return true
		}
	}
	return false
}

// wantAccepted waits until these are handled.
func (c *tally) wantAccepted(accepted []int64) {
	c.rig.Helper()
	for _, n := range accepted {
		c.awaitFor(c.rig.Redelivery+c.rig.Features.Patience, n, n)
	}
}
