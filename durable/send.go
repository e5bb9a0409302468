package durable

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/riverqueue/river"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable/internal/drain"
)

// An encoded event holds what its jobs have in common, and their keys.
type encoded struct {
	event json.RawMessage
	keys  map[string]string // of the order, by handler; those that do not wait are missing
	trace map[string]string // nil: none
}

// Encode returns what is stored of an event. The publish returns its error, for
// example that the event is not registered.
func (j *Jobs) Encode(ctx context.Context, out tidings.Outgoing) (any, error) {
	text, err := storableEvent(j.registry, out.Event)
	if err != nil {
		return nil, err
	}
	e := &encoded{event: text}
	for _, name := range out.Handlers {
		h, err := j.handlerOf(name)
		if err != nil {
			return nil, err
		}
		if h.key == nil {
			continue
		}
		key, err := h.key(out.Event)
		if err != nil {
			return nil, err
		}
		if key != "" {
			if e.keys == nil {
				e.keys = map[string]string{}
			}
			e.keys[name] = key
		}
	}
	if inject := j.config.inject; inject != nil {
		e.trace = storableTrace(inject(ctx))
	}
	return e, nil
}

// storableTrace returns a copy of trace with values that Postgres can store: a
// trace is no reason to fail.
func storableTrace(trace map[string]string) map[string]string {
	if len(trace) == 0 {
		return nil
	}
	kept := make(map[string]string, len(trace))
	for k, v := range trace {
		kept[storable(k)] = storable(v)
	}
	return kept
}

// The metadata of a job. Most have none.
type metadata struct {
	Order string            `json:"tidings_order,omitempty"` // see orderOf
	Key   string            `json:"tidings_key,omitempty"`   // for people
	Trace map[string]string `json:"tidings_trace,omitempty"`
	Done  bool              `json:"tidings_done,omitempty"` // the handler has taken effect, see completeSQL
	Said  int               `json:"tidings_said,omitempty"` // the attempt after which the death was announced
	Skew  *skew             `json:"tidings_skew,omitempty"`
}

const (
	saidKey = "tidings_said"
	skewKey = "tidings_skew"
)

// Send stores jobs in the transaction of ctx, or at once if there is none.
func (j *Jobs) Send(ctx context.Context, events []tidings.Outgoing) error {
	jobs := make([]river.InsertManyParams, 0, len(events))
	var orders []order
	for _, out := range events {
		e, ok := out.Encoded.(*encoded)
		if !ok {
			return fmt.Errorf("durable: Send got a %T where Encode returns a %T", out.Encoded, e)
		}
		for _, name := range out.Handlers {
			h, err := j.handlerOf(name)
			if err != nil {
				return err
			}
			opts := &h.opts
			if key := e.keys[name]; key != "" || len(e.trace) > 0 {
				own := *opts
				m := metadata{Trace: e.trace}
				if key != "" {
					o := orderOf(h.line(name), key)
					orders = append(orders, o)
					m.Order, m.Key = o.String(), storable(key)
					own.Pending = true
				}
				text, err := json.Marshal(m)
				if err != nil {
					return err
				}
				own.Metadata = text
				opts = &own
			}
			jobs = append(jobs, river.InsertManyParams{Args: delivery{kind: name, event: e.event}, InsertOpts: opts})
		}
	}
	if len(jobs) == 0 {
		return nil
	}
	j.sayIfIdle(ctx)
	if err := j.store(ctx, jobs, orders); err != nil {
		// One error is enough: the whole transaction is lost.
		first := events[0]
		err = fmt.Errorf("storing %d jobs: %w", len(jobs), err)
		return &tidings.HandlerError{Handler: strings.Join(first.Handlers, ", "), Event: first.Event, Err: err}
	}
	return nil
}

// sayIfIdle logs once that the jobs wait for Start, in a process with Workers.
// A process that only publishes has none.
func (j *Jobs) sayIfIdle(ctx context.Context) {
	if j.workers == nil || j.silent.Load() || drain.Serves != nil && drain.Serves(j.workers) || j.silent.Swap(true) {
		return
	}
	j.logger().WarnContext(ctx, "durable: an event is published before Start was called: its jobs wait until it is, here or in another process (one that only publishes gives New no Workers)")
}

// store inserts jobs, in the transaction of ctx if there is one. orders are the
// orders of the jobs.
func (j *Jobs) store(ctx context.Context, jobs []river.InsertManyParams, orders []order) error {
	tx, err := j.engine.tx(ctx)
	switch {
	case err != nil:
		return err
	case tx == nil && len(orders) == 0:
		return j.engine.insert(ctx, jobs)
	case tx == nil:
		return j.transact(ctx, func(ctx context.Context) error { return j.store(ctx, jobs, orders) })
	case len(orders) == 0:
		return insertAll(ctx, tx, jobs)
	}
	// In this order: earlier publishers have committed or rolled back once we
	// hold the locks, so their jobs have lower ids, and are seen.
	if err := j.lock(ctx, tx, orders); err != nil {
		return err
	}
	if err := insertAll(ctx, tx, jobs); err != nil {
		return err
	}
	return j.advance(ctx, tx, orders)
}

// Limits for one insert statement. The databases take no more than 255 MB
// (Postgres, one jsonb) or 1 GB (SQLite, one string), and need several times
// that much memory.
const (
	maxJobs  = 5_000
	maxBytes = 4 << 20
)

// insertAll inserts jobs with as many statements as it takes.
func insertAll(ctx context.Context, tx transaction, jobs []river.InsertManyParams) error {
	first, size := 0, 0
	for i, job := range jobs {
		n := len(job.Args.(delivery).event)
		if i > first && (i-first == maxJobs || size+n > maxBytes) {
			if err := tx.insert(ctx, jobs[first:i]); err != nil {
				return err
			}
			first, size = i, 0
		}
		size += n
	}
	return tx.insert(ctx, jobs[first:])
}
