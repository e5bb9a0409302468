package relaytest

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/relay"
)

// A process ends in the middle of many events, and another one continues.
func checkRestart(r *rig) {
	const events = 300
	sender, first, got := r.open(), r.open(), r.tally()
	sender.forward()
	middle := newSignal()
	first.handle("steady", func(ctx context.Context, e counted) error {
		if e.Number == events/3 {
			middle.give()
		}
		return got.handle(ctx, e)
	})
	first.start()
	sender.send(1, events/2)
	middle.await(r, "a third of the events")
	first.close()
	before := len(got.numbers())
	sender.send(events/2+1, events) // while no process handles them
	require.Len(r, got.numbers(), before, "a closed relay handles events")
	second := r.open()
	second.handle("steady", got.handle)
	second.start()
	got.awaitFor(r.Redelivery+2*r.Features.Patience, 1, events)
	got.wantEach(1, events)
	first.wantNoFailures()
	second.wantNoFailures()
}

// Close waits for the running handler, and others handle the remaining events.
func checkCloseWaits(r *rig) {
	p, got := r.open(), r.tally()
	running, release := newSignal(), newSignal()
	var returned atomic.Bool
	p.handle("slow", func(ctx context.Context, e counted) error {
		running.give()
		<-release.c
		err := ctx.Err()
		got.add(e.Number)
		returned.Store(true)
		return err
	})
	p.start()
	p.send(1, 5)
	running.await(r, "a call of the handler")
	closed := make(chan bool, 1)
	go func() {
		defer close(closed)
		_ = p.Close(within(r.T, closeWithin)) // again at the end, where its error counts
		closed <- returned.Load()
	}()
	select {
	case <-closed:
		r.Fatal("Close has not waited for the handler")
	case <-time.After(200 * time.Millisecond):
	}
	release.give()
	require.True(r, <-closed, "Close has not waited for the handler")
	require.Len(r, got.numbers(), 1)

	next := r.open()
	next.handle("slow", got.handle)
	next.start()
	got.awaitFor(r.Redelivery+r.Features.Patience, 1, 5)
	got.wantEach(1, 5)
	p.wantNoFailures()
	next.wantNoFailures()
}

// Close with an ended ctx interrupts the handler, and its event is not lost.
func checkCloseInAHurry(r *rig) {
	p, got := r.open(), r.tally()
	running := newSignal()
	p.handle("endless", func(ctx context.Context, _ counted) error {
		running.give()
		<-ctx.Done()
		return ctx.Err()
	})
	p.start()
	p.send(1, 3)
	running.await(r, "a call of the handler")
	ctx, cancel := context.WithCancel(r.Context())
	cancel()
	require.NoError(r, p.Close(ctx))
	require.ErrorIs(r, p.Start(r.Context()), relay.ErrClosed)

	next := r.open()
	next.handle("endless", got.handle)
	next.start()
	got.awaitFor(r.Redelivery+r.Features.Patience, 1, 3)
	got.wantEach(1, 3)
	p.wantNoFailures() // an interruption is not a failure
}

// The messages of a consumer that has ended go to another one of its group.
func checkConsumerDies(r *rig) {
	p := r.open()
	group := relay.Group{Name: r.prefix + "mortal", AckWait: 2 * time.Second, Workers: 1}
	topic := p.topic("mortal")
	// consume returns the messages of a consumer, and what ends it. It keeps
	// each message until done says whether it is.
	consume := func(done func(context.Context) bool) (messages chan *relay.Message, end func() error) {
		r.Helper()
		require.NoError(r, p.broker().Declare(r.Context(), group, topic))
		ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
		messages = make(chan *relay.Message)
		ended, err := p.broker().Consume(ctx, group, topic, func(m *relay.Message) bool {
			select {
			case messages <- m:
				return done(ctx)
			case <-ctx.Done():
				return false
			}
		})
		require.NoError(r, err)
		return messages, func() error {
			cancel()
			select {
			case err := <-ended:
				return err
			case <-time.After(r.Features.Patience):
				r.Fatal("a consumer does not end")
				return nil
			}
		}
	}
	messages, end := consume(func(ctx context.Context) bool { <-ctx.Done(); return false })
	want := map[string]bool{"one": true, "two": true, "three": true}
	for _, body := range []string{"one", "two", "three"} {
		require.NoError(r, p.broker().Publish(r.Context(), topic, &relay.Message{ID: body, Body: []byte(body)}))
	}
	select {
	case m := <-messages:
		require.True(r, want[string(m.Body)])
	case <-time.After(r.Features.Patience):
		r.Fatal("no message has arrived")
	}
	require.NoError(r, end())
	messages, end = consume(func(context.Context) bool { return true })
	deadline := time.After(r.Redelivery + r.Features.Patience)
	for len(want) > 0 {
		select {
		case m := <-messages:
			delete(want, string(m.Body))
		case <-deadline:
			r.Fatalf("not delivered again: %v", want)
		}
	}
	require.NoError(r, end())
}
