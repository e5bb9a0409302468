package eventlog

import (
	"context"

	"github.com/google/uuid"
)

// Replaying reports whether ctx belongs to a handler that [Replay],
// [Log.Backfill] or [Log.ReplayTo] calls for a past event. A handler that also
// sends mail, say, can then leave that out. It is also true in the handlers of
// events that such a handler publishes, as long as they run in this process.
func Replaying(ctx context.Context) bool {
	_, ok := ctx.Value(replayingKey{}).(*replaying)
	return ok
}

type replayingKey struct{}

// A replaying marks the context of one replayed event.
type replaying struct {
	id      uuid.UUID
	handler string // "": all handlers of a bus
	gate    *gate  // of a Backfill; else nil
}

func (r *replaying) in(ctx context.Context) context.Context {
	return context.WithValue(ctx, replayingKey{}, r)
}

// replayOf reports whether ctx belongs to a replay of this event to this
// handler, and not to an event published during it, and returns the gate to
// open afterwards, if any.
func replayOf(ctx context.Context, id uuid.UUID, handler string) (*gate, bool) {
	r, ok := ctx.Value(replayingKey{}).(*replaying)
	if !ok || r.id != id || r.handler != "" && r.handler != handler {
		return nil, false
	}
	return r.gate, true
}
