package durable

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// A sqlTx is a database/sql transaction on the Postgres of a client with
// another driver. River cannot insert through it, so sqlTx inserts the row and
// notifies listeners as River does.
type sqlTx struct {
	tx     *sql.Tx
	engine engine
	clock  func() time.Time // nil: the database's
}

func (t sqlTx) change(ctx context.Context, s statement, args ...any) (int, error) {
	return changePostgres(ctx, t, t.engine, s.text(t.engine), args)
}

func (t sqlTx) row(ctx context.Context, query string, args []any, dest ...any) error {
	return withRemedy(t.tx.QueryRowContext(ctx, query, args...).Scan(dest...))
}

// A sqlJob is a row to insert into river_job.
type sqlJob struct {
	Kind        string             `json:"kind"`
	Args        json.RawMessage    `json:"args"`
	MaxAttempts int                `json:"max_attempts"`
	Metadata    json.RawMessage    `json:"metadata"`
	Priority    int                `json:"priority"`
	Queue       string             `json:"queue"`
	State       rivertype.JobState `json:"state"`
	ScheduledAt *time.Time         `json:"scheduled_at"` // nil: now
}

var insertSQL = changing("", `
INSERT INTO {schema}river_job (kind, args, max_attempts, metadata, priority, queue, state, scheduled_at)
SELECT kind, args, max_attempts, metadata, priority, queue, state::{schema}river_job_state, coalesce(scheduled_at, now())
FROM jsonb_to_recordset($1::text::jsonb)
	AS job (kind text, args jsonb, max_attempts smallint, metadata jsonb, priority smallint, queue text, state text, scheduled_at timestamptz)
RETURNING CASE WHEN state = 'available' THEN queue END`)

func (t sqlTx) insert(ctx context.Context, jobs []river.InsertManyParams) error {
	var due *time.Time
	if t.clock != nil {
		now := t.clock().UTC().Truncate(time.Microsecond) // as drivers do; Postgres would round
		due = &now
	}
	rows := make([]sqlJob, len(jobs))
	for i, job := range jobs {
		d, opts := job.Args.(delivery), job.InsertOpts
		rows[i] = sqlJob{
			Kind:        d.kind,
			Args:        d.event,
			MaxAttempts: cmp.Or(opts.MaxAttempts, river.MaxAttemptsDefault),
			Metadata:    json.RawMessage("{}"),
			Priority:    cmp.Or(opts.Priority, river.PriorityDefault),
			Queue:       cmp.Or(opts.Queue, river.QueueDefault),
			State:       rivertype.JobStateAvailable,
			ScheduledAt: due,
		}
		if len(opts.Metadata) > 0 {
			rows[i].Metadata = opts.Metadata
		}
		if opts.Pending {
			rows[i].State = rivertype.JobStatePending
		}
	}
	text, err := json.Marshal(rows)
	if err != nil {
		return err
	}
	_, err = t.change(ctx, insertSQL, string(text))
	return err
}
