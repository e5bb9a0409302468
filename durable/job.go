package durable

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river/rivertype"

	"github.com/tidings-go/tidings"
)

// A State is the state of a job.
type State string

// The states of a job.
const (
	Waiting  State = "waiting"  // for a worker
	Held     State = "held"     // behind another job, see InOrderBy
	Running  State = "running"  // or its worker has died, which is not noticed yet
	Retrying State = "retrying" // an attempt has failed, and the next one is due later
	Done     State = "done"
	Dead     State = "dead" // until Retry or Discard
)

// A Job is one event for one handler.
type Job struct {
	ID          int64
	Handler     string // the name that it was stored for
	EventID     uuid.UUID
	EventType   string        // the registered name
	Event       tidings.Event // nil if it cannot be decoded
	Data        []byte        // the CloudEvent, as JSON
	Key         string        // from InOrderBy; "": none
	State       State
	Queue       string
	Attempt     int // how many attempts have begun
	MaxAttempts int
	StoredAt    time.Time
	DueAt       time.Time // the time of the next attempt, or the last
	EndedAt     time.Time // zero unless Done or Dead
	Failures    []Failure // oldest first

	cancelled bool // through River, by an operator
}

// A Failure is a failed attempt.
type Failure struct {
	At      time.Time // when it began
	Attempt int
	Reason  string
}

// Reason returns why the last attempt failed, or "" if none has.
func (j Job) Reason() string {
	if len(j.Failures) == 0 {
		return ""
	}
	return j.Failures[len(j.Failures)-1].Reason
}

// causeOfDeath returns why a job is dead whose death no worker has announced.
func (j Job) causeOfDeath() error {
	switch reason := j.Reason(); {
	case j.cancelled:
		return errors.New("it was cancelled through River")
	case reason != "":
		return errors.New(reason)
	}
	return errors.New("no reason is stored")
}

func (j Job) about() About {
	return About{
		JobID: j.ID, Handler: storable(j.Handler), EventID: j.EventID, EventType: storable(j.EventType), Attempt: j.Attempt,
		Reason: storableReason(j.Reason()),
	}
}

// jobOf converts a row of River to a Job.
func (j *Jobs) jobOf(row *rivertype.JobRow) Job {
	job := Job{
		ID:          row.ID,
		Handler:     row.Kind,
		Data:        row.EncodedArgs,
		State:       stateOf(row),
		Queue:       row.Queue,
		Attempt:     row.Attempt,
		MaxAttempts: row.MaxAttempts,
		StoredAt:    row.CreatedAt.UTC(),
		DueAt:       row.ScheduledAt.UTC(),
	}
	job.cancelled = bytes.Contains(row.Metadata, []byte(`"cancel_attempted_at"`))
	if row.FinalizedAt != nil {
		job.EndedAt = row.FinalizedAt.UTC()
	}
	for _, e := range row.Errors {
		reason := strings.TrimPrefix(e.Error, "JobCancelError: ")
		job.Failures = append(job.Failures, Failure{At: e.At.UTC(), Attempt: e.Attempt, Reason: reason})
	}
	if m, err := metadataOf(row); err == nil {
		job.Key = m.Key
	}
	// Fields that cannot be read stay zero: people look at them.
	if data, err := cloudEvent(row.EncodedArgs); err == nil {
		job.Data = data
	}
	var header struct {
		ID   uuid.UUID `json:"id"`
		Type string    `json:"type"`
	}
	if json.Unmarshal(job.Data, &header) == nil {
		job.EventID, job.EventType = header.ID, header.Type
	}
	if event, err := j.registry.Decode(job.Data); err == nil {
		job.Event = event
	}
	return job
}

func stateOf(row *rivertype.JobRow) State {
	switch row.State {
	case rivertype.JobStateCompleted:
		return Done
	case rivertype.JobStateCancelled, rivertype.JobStateDiscarded:
		return Dead
	case rivertype.JobStateRunning:
		return Running
	case rivertype.JobStatePending:
		return Held
	case rivertype.JobStateRetryable:
		return Retrying
	}
	if len(row.Errors) > 0 { // River makes jobs with short waits available at once
		return Retrying
	}
	return Waiting
}
