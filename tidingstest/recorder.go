package tidingstest

import (
	"context"
	"slices"
	"sync"

	"github.com/tidings-go/tidings"
)

// A Recorder keeps the events of a bus, see [Record]. It is safe for concurrent
// use.
type Recorder struct {
	mu         sync.Mutex
	delivered  Events
	rolledBack Events
}

// Record records every event that bus delivers from now on, and every one that
// is published but rolled back. It subscribes like any other handler: call
// Record before you subscribe the handlers under test, so that an event comes
// before those that its handlers publish. A bus may have several Recorders.
func Record(bus *tidings.EventBus) *Recorder {
	r := &Recorder{}
	tidings.Subscribe(bus, r.deliver, tidings.AfterCommit)
	tidings.Subscribe(bus, r.rollBack, tidings.AfterRollback)
	return r
}

func (r *Recorder) deliver(_ context.Context, event tidings.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.delivered = append(r.delivered, event)
	return nil
}

func (r *Recorder) rollBack(_ context.Context, event tidings.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rolledBack = append(r.rolledBack, event)
	return nil
}

// Delivered returns the events that reached their handlers after a commit, or
// were published outside a transaction, in order of delivery. Events that wait
// for a commit are not included. With [tidings.Async] handlers that publish,
// call [Drain] first. The slice is the caller's.
func (r *Recorder) Delivered() Events {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.delivered)
}

// RolledBack returns the events that were published, but whose transaction or
// savepoint was rolled back, in order of publishing. The slice is the caller's.
func (r *Recorder) RolledBack() Events {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.rolledBack)
}

// Reset deletes the recorded events.
func (r *Recorder) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.delivered, r.rolledBack = nil, nil
}
