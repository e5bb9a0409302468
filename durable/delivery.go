package durable

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/riverqueue/river/rivertype"

	"github.com/tidings-go/tidings"
)

// A delivery holds the arguments of a job: one event for the handler that the
// job's kind names. Its JSON is the CloudEvent itself.
type delivery struct {
	kind  string // for a new job; a stored one has it in its row
	event json.RawMessage

	// retryAfter is set by an attempt that knows how long the next one must
	// wait.
	retryAfter *time.Duration
	behind     time.Duration // of the process's clock, see countWait
}

func (d delivery) Kind() string                  { return d.kind }
func (d delivery) MarshalJSON() ([]byte, error)  { return d.event, nil }
func (d *delivery) UnmarshalJSON(b []byte) error { d.event = bytes.Clone(b); return nil }

// An enclosed CloudEvent is one that the databases would reject or change, see
// plain. The fields that a search for events needs stay readable.
type enclosed struct {
	SpecVersion string `json:"specversion"`
	ID          string `json:"id"`
	Type        string `json:"type"`
	CloudEvent  string `json:"enclosedcloudevent"`
}

const enclosedKey = `"enclosedcloudevent"`

// storableEvent returns the CloudEvent of event in a form that can be stored.
func storableEvent(registry *tidings.Registry, event tidings.Event) (json.RawMessage, error) {
	text, err := registry.Encode(event)
	if err != nil || plain(text) {
		return text, err
	}
	name, _ := registry.NameOf(event)
	return json.Marshal(enclosed{SpecVersion: "1.0", ID: event.EventID().String(), Type: name, CloudEvent: string(text)})
}

// cloudEvent returns the CloudEvent in the arguments of a job.
func cloudEvent(args []byte) ([]byte, error) {
	if !bytes.Contains(args, []byte(enclosedKey)) {
		return args, nil
	}
	var outer enclosed
	if err := json.Unmarshal(args, &outer); err != nil {
		return nil, fmt.Errorf("reading the arguments of the job: %w", err)
	}
	if outer.CloudEvent == "" { // the event's own data has that key
		return args, nil
	}
	return []byte(outer.CloudEvent), nil
}

// metadataOf returns the metadata stored beside the event.
func metadataOf(job *rivertype.JobRow) (m metadata, err error) {
	if !bytes.Contains(job.Metadata, []byte(`"tidings_`)) {
		return m, nil
	}
	if err := json.Unmarshal(job.Metadata, &m); err != nil {
		return m, fmt.Errorf("durable: reading the metadata of the job %d: %w", job.ID, err)
	}
	return m, nil
}
