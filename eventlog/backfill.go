package eventlog

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/tidings-go/tidings"
)

// Backfill calls one handler on bus, found by the name given with
// [tidings.Named], for the events that are in the log when Backfill begins, in
// the order of their positions. So a handler that is newer than the events gets
// them. Its middleware runs; other handlers are not called.
//
// A handler that was subscribed with [Log.CatchUp] also gets from Backfill, in
// the same order, the events that arrive while Backfill runs, and is live when
// Backfill returns nil. The filters, except [Limit], apply only to the events
// that are there at the start. If Backfill fails, or a Limit ends it, the
// handler is not live: call Backfill again. Backfill ends when it has caught
// up, so only if the handler is faster than the publishers. For a handler that
// is already live, Backfill makes live events wait again.
//
// A handler without CatchUp is also called live, for events that are published
// meanwhile; it gets an event twice that is published between Subscribe and
// Backfill.
//
// Backfill begins once the transactions of this process that published
// something before the call have ended, so do not call it in a handler of an
// event that goes to the log.
//
// Otherwise it works like [Replay]. The name given to [Resume] is the handler's
// name. After a Backfill has completed, live events have taken over, so with
// Resume a later one does nothing. A Backfill that failed and is resumed
// applies its filters again, so with [UpTo] or [Before] it leaves out events
// that were published in between. A handler can have one Backfill running at a
// time.
func (l *Log) Backfill(ctx context.Context, bus *tidings.EventBus, handler string, opts ...ReplayOption) (ReplayReport, error) {
	if bus == nil {
		return ReplayReport{}, errors.New("eventlog: Backfill on a nil *EventBus")
	}
	r, err := l.newReplay("Backfill", opts)
	if err != nil {
		return ReplayReport{}, err
	}
	if r.settings.resumes && r.settings.resume != handler {
		return ReplayReport{}, fmt.Errorf("eventlog: Backfill of %q with Resume(%q): the cursor has the name of the handler, for CatchUp to find it", handler, r.settings.resume)
	}
	infos := bus.Subscriptions()
	i := slices.IndexFunc(infos, func(s tidings.SubscriptionInfo) bool { return s.Handler == handler })
	if i < 0 {
		return ReplayReport{}, fmt.Errorf("eventlog: Backfill: there is no handler named %q: Subscribe one with tidings.Named(%[1]q) first", handler)
	}
	if err := r.only(infos[i].EventType); err != nil {
		return ReplayReport{}, err
	}
	if other := attachedTo(infos); other != nil && other != l {
		return ReplayReport{}, fmt.Errorf("eventlog: Backfill of %q: the log that is attached to the bus is another *Log, whose transactions this one does not know: call Backfill on that one", handler)
	}
	r.handler = handler
	r.deliver = func(ctx context.Context, event tidings.Event) error { return bus.Deliver(ctx, handler, event) }
	if r.settings.dry {
		return r.all(ctx)
	}
	r.gate = l.gate(handler)
	err = (&backfill{r}).run(ctx)
	return r.report, err
}

// A backfill is a replay that may continue until live events take over.
type backfill struct{ *replay }

func (b *backfill) run(ctx context.Context) error {
	if err := b.gate.enter(); err != nil {
		return err
	}
	defer b.gate.leave()
	if err := b.begin(ctx); err != nil {
		return err
	}
	if bound, live, err := b.gate.close(ctx, b.cursor); err != nil {
		return err
	} else if live {
		return b.finish(ctx, bound)
	}
	b.skips = b.gate.releasedBefore()
	// An event published before the handler was subscribed does not arrive
	// live, so it has to be in the log by now.
	if err := b.log.publishers.wait(ctx); err != nil {
		return err
	}
	bound, limited, err := b.history(ctx)
	if err != nil || limited {
		return err
	}
	if !b.gate.openUnused(ctx, bound) {
		if bound, err = b.handOver(ctx, bound); err != nil {
			return err
		}
	}
	return b.finish(ctx, bound)
}

// history replays the events that are there at the start.
func (b *backfill) history(ctx context.Context) (bound Position, limited bool, err error) {
	if bound, err = b.log.settledLast(ctx); err != nil {
		return bound, false, err
	}
	limited, err = b.round(ctx, b.settings.filters, bound)
	return bound, limited, err
}

// handOver replays the events that have arrived since, until they are few, and
// then opens the gate; see gate for why this is right.
func (b *backfill) handOver(ctx context.Context, bound Position) (Position, error) {
	for last := false; ; {
		if last {
			b.gate.hold()
		}
		next, err := b.log.settledLast(ctx)
		if err != nil {
			return bound, err
		}
		before := b.done
		b.at = bound
		if _, err := b.round(ctx, nil, next); err != nil {
			return bound, err
		}
		bound = next
		if last {
			break
		}
		last = b.done-before < page
	}
	for {
		held := b.gate.take(ctx, bound)
		if held == nil {
			return bound, nil
		}
		for _, rec := range held {
			if err := b.release(ctx, rec); err != nil {
				return bound, err
			}
		}
	}
}

// release handles an event that was held. The cursor does not move: held events
// are not in the order of positions.
func (b *backfill) release(ctx context.Context, rec Recorded) error {
	if b.gate.wasReleased(rec.Envelope.ID) {
		return nil
	}
	free := *b.replay
	free.cursor = nil
	if err := free.handle(ctx, rec); err != nil {
		return b.stopped(rec, err)
	}
	b.gate.release(rec.Envelope.ID)
	b.report.Handled++
	b.done++
	if b.report.Position.Compare(rec.Position) < 0 {
		b.report.Position = rec.Position
	}
	if b.settings.progress != nil {
		b.settings.progress(ReplayProgress{Done: b.done, Total: max(b.total, b.done), Position: rec.Position})
	}
	return nil
}

// finish stores that the handler is live. If the process dies before that, the
// next one handles the events after the bound again.
func (b *backfill) finish(ctx context.Context, bound Position) error {
	if b.cursor == nil || b.cursor.finished {
		return nil
	}
	return b.saveCursor(context.WithoutCancel(ctx), bound, true)
}

// enter allows one Backfill at a time.
func (g *gate) enter() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.busy {
		return fmt.Errorf("eventlog: Backfill of %q: another one is running", g.handler)
	}
	g.busy = true
	return nil
}

// leave ends a Backfill. If it did not open the gate, the next Backfill handles
// the held events.
func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.busy, g.held = false, nil
	if g.state == holding {
		g.state = closed
	}
}

// close makes live events wait for a Backfill that continues from c; without c
// it begins with the first event. If there is nothing to do, since the handler
// is live, close opens the gate and returns the bound up to which events were
// handled.
func (g *gate) close(ctx context.Context, c *cursor) (bound Position, live bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case c == nil:
		g.anew, g.released = true, nil
	case g.state == open:
		return g.bound, true, nil
	case g.anew:
		return bound, false, fmt.Errorf("eventlog: Backfill of %q with Resume: an earlier one without Resume has not come to its end, so there is no place to go on from: call it without Resume again", g.handler)
	case c.finished && g.state == unknown:
		g.openLocked(ctx, c.at)
		return g.bound, true, nil
	}
	g.state = closed
	return bound, false, nil
}

// openUnused opens g if no CatchUp has ever asked: either the handler has none,
// and live events were handled live, or it has one, and no event has arrived
// yet.
func (g *gate) openUnused(ctx context.Context, bound Position) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.used {
		g.openLocked(ctx, bound)
	}
	return !g.used
}

func (g *gate) hold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.state = holding
}

// take returns held events that lie after the bound. When there are none, it
// opens g and returns nil.
func (g *gate) take(ctx context.Context, bound Position) []Recorded {
	g.mu.Lock()
	defer g.mu.Unlock()
	held := slices.DeleteFunc(g.held, func(r Recorded) bool { return r.Position.Compare(bound) <= 0 })
	g.held = nil
	if len(held) == 0 {
		g.openLocked(ctx, bound)
		return nil
	}
	return held
}

func (g *gate) release(id uuid.UUID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.released == nil {
		g.released = map[uuid.UUID]struct{}{}
	}
	g.released[id] = struct{}{}
}

func (g *gate) wasReleased(id uuid.UUID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, was := g.released[id]
	return was
}

// releasedBefore returns the events that an earlier Backfill has handled out of
// the order of positions.
func (g *gate) releasedBefore() map[uuid.UUID]struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	released := make(map[uuid.UUID]struct{}, len(g.released))
	for id := range g.released {
		released[id] = struct{}{}
	}
	return released
}
