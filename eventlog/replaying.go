package eventlog

import (
	"context"

	"github.com/google/uuid"
)

// Replaying reports whether ctx is that of a handler that is called for an
// event of the past, by [Replay], [Log.Backfill] or [Log.ReplayTo]: a handler
// that also sends mail, say, leaves that out then. It is true as well in the
// handlers of what such a handler publishes, as long as they run in this
// process.
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

// replayOf reports whether ctx is that of a replay of this event to this
// handler, and not one of what is published in the course of it, and returns
// the gate that is to be opened afterwards, if there is one.
func replayOf(ctx context.Context, id uuid.UUID, handler string) (*gate, bool) {
	r, ok := ctx.Value(replayingKey{}).(*replaying)
	if !ok || r.id != id || r.handler != "" && r.handler != handler {
		return nil, false
	}
	return r.gate, true
}
