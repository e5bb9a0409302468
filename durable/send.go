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

// An encoded event holds what its jobs have in common.
type encoded struct {
	event json.RawMessage
	key   string            // of the order; "": none
	trace map[string]string // nil: none
}

func (v *view) EncodeEvent(ctx context.Context, event tidings.Event, _ bool) (any, error) {
	text, err := storableEvent(v.jobs.registry, event)
	if err != nil {
		return nil, err
	}
	e := &encoded{event: text}
	if v.key != nil {
		if e.key, err = v.key(event); err != nil {
			return nil, err
		}
	}
	if inject := v.jobs.config.inject; inject != nil {
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

func (v *view) Send(ctx context.Context, events []tidings.Outgoing) error {
	opts := &river.InsertOpts{MaxAttempts: v.attempts, Queue: v.queue, Priority: v.priority}
	jobs := make([]river.InsertManyParams, 0, len(events))
	var orders []order
	for _, out := range events {
		e, ok := out.Encoded.(*encoded)
		if !ok {
			return fmt.Errorf("durable: Send got a %T where EncodeEvent returns a %T", out.Encoded, e)
		}
		for _, name := range out.Handlers {
			job := river.InsertManyParams{Args: delivery{kind: name, event: e.event}, InsertOpts: opts}
			if e.key != "" || len(e.trace) > 0 {
				own := *opts
				m := metadata{Trace: e.trace}
				if e.key != "" {
					o := orderOf(v.line(name), e.key)
					orders = append(orders, o)
					m.Order, m.Key = o.String(), storable(e.key)
					own.Pending = true
				}
				text, err := json.Marshal(m)
				if err != nil {
					return err
				}
				own.Metadata = text
				job.InsertOpts = &own
			}
			jobs = append(jobs, job)
		}
	}
	if len(jobs) == 0 {
		return nil
	}
	v.jobs.sayIfIdle(ctx)
	if err := v.jobs.store(ctx, jobs, orders); err != nil {
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
