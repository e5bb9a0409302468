package durable

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/google/uuid"
)

// A Selection selects the dead jobs that match all of its fields that are set.
// The zero Selection selects all of them; where that would be dangerous, All
// must be set.
type Selection struct {
	JobIDs    []int64   // nil: any; empty: none
	Handler   string    // the name that the job was stored for
	EventID   uuid.UUID // the ID of the event
	EventType string    // its registered name
	Before    time.Time // dead since before this time
	Limit     int       // the oldest ones first; 0: no limit

	// All is required by Retry and Discard if no other field than Limit is set.
	// It does not widen the other fields.
	All bool
}

const (
	pageSize  = 1000 // jobs that Dead reads at once
	batchSize = 500  // jobs that Retry and Discard hold in memory
)

// where returns the conditions for the dead jobs of a selection.
func (s Selection) where(e engine) (conditions, error) {
	where := conditions{engine: e}
	if s.Limit < 0 {
		return where, fmt.Errorf("the Limit %d is negative: 0 means no limit", s.Limit)
	}
	where.add(ours)
	where.add(isDead)
	if s.JobIDs != nil {
		where.addIDs(s.JobIDs)
	}
	if s.Handler != "" {
		where.add("kind = " + where.arg(s.Handler))
	}
	if s.EventID != uuid.Nil {
		where.addEvent(s.EventID.String())
	}
	if s.EventType != "" {
		where.add("args ->> 'type' = " + where.arg(s.EventType))
	}
	if !s.Before.IsZero() {
		where.add("finalized_at < " + where.arg(dbTime(e, s.Before)))
	}
	return where, nil
}

const (
	isDead = "state IN ('cancelled', 'discarded')"

	// inOrderOfDeath is also the order in which rows are locked, so that two
	// concurrent changes of dead jobs do not deadlock.
	inOrderOfDeath = " ORDER BY finalized_at, id"
)

// limit returns the maximum number of selected jobs.
func (s Selection) limit() int { return cmp.Or(s.Limit, math.MaxInt) }

// mayChange returns an error for a selection that may be empty by mistake.
func (s Selection) mayChange() error {
	if s.All || s.JobIDs != nil || s.Handler != "" || s.EventID != uuid.Nil || s.EventType != "" || !s.Before.IsZero() {
		return nil
	}
	return errors.New("the Selection is empty: set All to mean every dead job")
}

// Dead returns the dead jobs of a selection, the oldest first; the zero
// Selection selects all. [Job.Reason] says why a job is dead. A job whose event
// cannot be decoded, or whose handler no longer exists, is also returned: its
// Event may be nil, its Data holds what was stored.
//
// A job is dead when its attempts are exhausted, when its handler returned a
// [tidings.Permanent] error, or when an operator cancelled it through River. It stays
// dead until [Jobs.Retry] or [Jobs.Discard], if the client has the retention
// periods that [Configure] sets.
//
// All jobs are held in memory, so if there may be many, set Limit, and Before
// to continue. In a transaction Dead reads through it.
func (j *Jobs) Dead(ctx context.Context, selected Selection) ([]Job, error) {
	jobs, err := j.dead(ctx, selected)
	if err != nil {
		return nil, fmt.Errorf("durable: Dead: %w", err)
	}
	return jobs, nil
}

func (j *Jobs) dead(ctx context.Context, selected Selection) (jobs []Job, err error) {
	q, err := j.reader(ctx)
	if err != nil {
		return nil, err
	}
	for {
		where, err := selected.where(j.engine)
		if err != nil {
			return nil, err
		}
		if len(jobs) > 0 {
			last := jobs[len(jobs)-1]
			where.add("(finalized_at, id) > (" + where.arg(dbTime(j.engine, last.EndedAt)) + ", " + where.arg(last.ID) + ")")
		}
		size := min(pageSize, selected.limit()-len(jobs))
		page, err := j.rows(ctx, q, where.selected()+inOrderOfDeath+" LIMIT "+where.arg(size), where.args)
		if err != nil {
			return nil, err
		}
		sortByDeath(page)
		jobs = append(jobs, page...)
		if len(page) < size || len(jobs) == selected.limit() {
			return jobs, nil
		}
	}
}

func sortByDeath(jobs []Job) {
	slices.SortFunc(jobs, func(a, b Job) int { return cmp.Or(a.EndedAt.Compare(b.EndedAt), cmp.Compare(a.ID, b.ID)) })
}

// Retry makes dead jobs run again, at once and with all their attempts, and
// returns how many. Their earlier failures stay in [Job.Failures]. A job with
// [InOrderBy] runs before those that wait behind it; a job that was cancelled
// through River in the middle of its line goes back to its place.
//
// Retry selects the jobs that are dead when it begins. If a concurrent call has
// retried or discarded a job in the meantime, it is skipped and not counted; so
// two calls that retry the same jobs at once retry each of them once. An empty
// selection is an error unless its All is set.
//
// Retry does all or nothing, in the transaction of ctx, or in one of its own.
// It publishes a [JobRetried] for each job in the same transaction, on the bus
// of [WithBus]: an event log attached there has the record if and only if it
// happened. Retry returns an error of the handlers of JobRetried, for instance
// of a log for an event that is not registered. After an error, roll back the
// transaction of ctx: Retry may have changed some of the jobs in it.
//
// It can be called inside a handler, but not for the job of a [JobDied] in a
// handler of that event, since River marks the job as dead a moment later. A
// large selection holds a lock on each of its rows until the end: use Limit to
// do it in parts.
func (j *Jobs) Retry(ctx context.Context, selected Selection) (int, error) {
	n, err := j.change(ctx, selected, change{retrySQL, func(ctx context.Context, about About) error {
		return publish(ctx, j.config.bus, JobRetried{Job: about})
	}})
	if err != nil {
		return 0, fmt.Errorf("durable: Retry: %w", err)
	}
	return n, nil
}

// Discard deletes dead jobs for good, and returns how many. If a job has
// [InOrderBy], the next one in its line continues.
//
// Otherwise it works like [Jobs.Retry], and publishes a [JobDiscarded] for each
// job. The jobs of a line share a lock, which Discard holds until its
// transaction ends; publishers and workers of the same key wait for it. With
// more than 32 lines, all lines of the handlers wait: use Limit to do it in
// parts, each in a transaction of its own.
func (j *Jobs) Discard(ctx context.Context, selected Selection) (int, error) {
	n, err := j.change(ctx, selected, change{discardSQL, func(ctx context.Context, about About) error {
		return publish(ctx, j.config.bus, JobDiscarded{Job: about})
	}})
	if err != nil {
		return 0, fmt.Errorf("durable: Discard: %w", err)
	}
	return n, nil
}
