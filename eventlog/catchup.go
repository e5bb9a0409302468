package eventlog

import (
	"bytes"
	"context"
	"fmt"
	"sync"

	"github.com/google/uuid"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog/internal/backend"
)

// CatchUp returns an option for a handler that begins with the history:
//
//	tidings.Subscribe(bus, build, tidings.Named("reports.build"), log.CatchUp())
//	...
//	report, err := log.Backfill(ctx, bus, "reports.build", eventlog.Resume("reports.build"))
//
// Until [Log.Backfill] has caught up, the handler is not called for events that
// are published: they are in the log, and Backfill will reach them. Then the
// handler goes live: it is called for exactly the events that Backfill has not
// handled, after the ones that Backfill has handled.
//
// From then on the handler has the guarantees of its phase or transport. The
// next process reads from the cursor that [Resume] keeps that the handler is
// live. Without Resume it begins again with the first event.
//
// The log must be attached to the bus, for all events of the handler, and these
// must be committed before the handler is called, as in [tidings.AfterCommit]
// or with a transport: until Backfill has completed, an event that is not in
// the log is an error.
//
// This holds for one process. Where several processes run the same handler, add
// [Log.Inbox] after CatchUp. Handlers on several buses with one log need
// different names.
//
// The handler must be [tidings.Named], so that Backfill can find it: Subscribe
// panics otherwise. Call Backfill on the same *Log.
func (l *Log) CatchUp() tidings.SubscribeOption {
	return tidings.SubscribeOptions{tidings.RequireName("eventlog: CatchUp"), tidings.Middleware(l.catchUp)}
}

func (l *Log) catchUp(next tidings.HandlerFunc) tidings.HandlerFunc {
	return func(ctx context.Context, d tidings.Delivery) error {
		g, event := l.gate(d.Handler()), d.Event()
		if by, ok := replayOf(ctx, event.EventID(), d.Handler()); ok {
			if by != nil && by != g {
				return fmt.Errorf("eventlog: CatchUp of %q: its Backfill is that of another *Log, which cannot make the handler live: use one *Log for both", g.handler)
			}
			g.met()
			return next(ctx, d)
		}
		pass, err := g.admit(ctx, event)
		if err != nil || !pass {
			return err
		}
		return next(ctx, d)
	}
}

// gates holds, by name, the gates of handlers with CatchUp or a Backfill.
type gates struct {
	mu     sync.Mutex
	byName map[string]*gate
}

func (l *Log) gate(handler string) *gate {
	l.gates.mu.Lock()
	defer l.gates.mu.Unlock()
	g := l.gates.byName[handler]
	if g == nil {
		g = &gate{log: l, handler: handler}
		if l.gates.byName == nil {
			l.gates.byName = map[string]*gate{}
		}
		l.gates.byName[handler] = g
	}
	return g
}

type gateState int

const (
	unknown gateState = iota // the cursor has not been read yet
	closed                   // live events are dropped: a Backfill will read them
	holding                  // live events are kept: a Backfill is about to end
	open
)

// A gate decides whether live events reach one handler.
//
// Why no event is lost or doubled when a Backfill opens the gate:
//
//  0. An event that was published before the handler was subscribed, and so does
//     not arrive live, has been committed or rolled back before the Backfill
//     looks at the log; see publishers.
//  1. A live event is in the log before it reaches the gate; admit checks that.
//  2. The Backfill makes the gate hold, and after that takes the position of
//     the last event, the bound. So dropped events are not after the bound.
//  3. It waits until the bound is settled: the log no longer changes up to
//     there. It handles all events up to the bound.
//  4. Events that are held, and later ones, are handled live if and only if they
//     lie after the bound. Held events come first, until there are none.
type gate struct {
	log     *Log
	handler string

	mu       sync.Mutex // not held while code of others runs
	state    gateState
	busy     bool // with a Backfill
	used     bool // a CatchUp has asked
	anew     bool // closed by a Backfill that began with the first event
	bound    Position
	mark     uuid.UUID // see after
	held     []Recorded
	released map[uuid.UUID]struct{} // were held, and handled by a Backfill that has not completed yet
}

// opened is never published: its ID marks the moment of opening.
type opened struct{ tidings.DomainEvent }

// openLocked opens g: events up to bound were handled.
func (g *gate) openLocked(ctx context.Context, bound Position) {
	g.state, g.bound, g.mark = open, bound, tidings.Stamp(ctx, opened{}).EventID()
	g.held, g.released, g.anew = nil, nil, false
}

// after reports whether the event certainly lies after the bound. IDs made in
// one process increase. An ID newer than the mark was made after all events up
// to the bound had been appended.
func (g *gate) after(id uuid.UUID) bool {
	return id.Version() == 7 && bytes.Compare(id[:], g.mark[:]) > 0
}

// met records that the handler has a CatchUp.
func (g *gate) met() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.used = true
}

// admit reports whether the handler must be called for a live event.
func (g *gate) admit(ctx context.Context, event tidings.Event) (pass bool, err error) {
	id := event.EventID()
	if state, after := g.look(id); state == open && after {
		return true, nil
	} else if state == unknown {
		if err := g.restore(ctx); err != nil {
			return false, err
		}
	}
	at, found, err := g.log.positionOf(ctx, id)
	if err != nil {
		return false, fmt.Errorf("eventlog: CatchUp of %q: looking for event %s: %w", g.handler, id, err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.state == open {
		return !found || at.Compare(g.bound) > 0, nil
	}
	if !found {
		return false, fmt.Errorf("eventlog: CatchUp of %q: event %s is not in the log, so Backfill would miss it: Attach the log to the bus, and let the handler run after the commit", g.handler, id)
	}
	if g.state == holding {
		r := Recorded{Event: event, Position: at}
		r.Envelope.ID = id
		g.held = append(g.held, r)
	}
	return false, nil
}

func (g *gate) look(id uuid.UUID) (state gateState, after bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.used = true
	return g.state, g.after(id)
}

// restore reads from the cursor whether a Backfill in an earlier process has
// completed.
func (g *gate) restore(ctx context.Context) error {
	q, err := g.log.querier(ctx)
	if err != nil {
		return err
	}
	c, err := g.log.loadCursor(ctx, q, g.handler)
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.state != unknown: // another event or a Backfill was faster
	case c.finished:
		g.openLocked(ctx, c.at)
	default:
		g.state = closed
	}
	return nil
}

// positionOf returns the position of an event.
func (l *Log) positionOf(ctx context.Context, id uuid.UUID) (p Position, found bool, err error) {
	q, err := l.querier(ctx)
	if err != nil {
		return p, false, err
	}
	query := "SELECT 0, position FROM tidings_events WHERE id = ?"
	if l.dialect == backend.Postgres {
		query = "SELECT tx, position FROM tidings_events WHERE id = $1"
	}
	found, err = backend.One(ctx, q, query, []any{id.String()}, &p.tx, &p.seq)
	return p, found, err
}
