package relay

import (
	"fmt"
	"time"

	"github.com/tidings-go/tidings"
)

// A DeadLetter is a message that a handler has given up.
type DeadLetter struct {
	Handler  string // the handler's name
	Reason   string // the last error, on one line
	Attempts int    // number of calls of the handler; 0 if no process knew the event
	Origin   string // the topic that the message was on
	FailedAt time.Time
	ID       string // of the message: the event's ID, if it is an event
	Body     []byte // the CloudEvent, or whatever the message contains

	// Size is the number of bytes of the original body. If Body is shorter, the
	// broker did not take all of it, and Body is the beginning. Such a letter
	// cannot be redelivered.
	Size int

	eventType string // of an event whose Body is incomplete
}

// Type returns the registered name of the event, or "" if the message is not an
// event.
func (d DeadLetter) Type() string {
	if d.eventType != "" {
		return d.eventType
	}
	var e tidings.Envelope
	if err := e.UnmarshalJSON(d.Body); err != nil {
		return ""
	}
	return e.Type
}

// A Verdict decides what happens to a dead letter.
type Verdict int

const (
	Redeliver Verdict = iota // the handler gets it again, with all its attempts
	Keep                     // it stays a dead letter
	Discard                  // it is deleted
)

// String returns the name of the constant.
func (v Verdict) String() string {
	switch v {
	case Redeliver:
		return "Redeliver"
	case Keep:
		return "Keep"
	case Discard:
		return "Discard"
	}
	return fmt.Sprintf("Verdict(%d)", int(v))
}
