package relay

import (
	"maps"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/ThreeDotsLabs/watermill/message"
)

// The metadata of messages that have failed.
const (
	attemptKey  = "tidings-attempt"   // how often the handler was called
	dueKey      = "tidings-due"       // when it is to be called again, RFC 3339
	handlerKey  = "tidings-handler"   // the handler's name
	originKey   = "tidings-origin"    // the topic that the message was on
	reasonKey   = "tidings-reason"    // the last error
	failedAtKey = "tidings-failed-at" // when it became a dead letter, RFC 3339
	redriveKey  = "tidings-redrive"   // the last call of Redrive that has kept or redelivered it
)

// An attempt is what the metadata say of the attempts for a message.
type attempt struct {
	number   int
	due      time.Time
	handler  string
	origin   string
	reason   string
	failedAt time.Time
}

// attemptOf reads the metadata of m. What is missing or damaged is zero.
func attemptOf(m *message.Message) (a attempt) {
	a.number, _ = strconv.Atoi(m.Metadata.Get(attemptKey))
	a.number = min(max(a.number, 0), 1<<30) // whoever has written that: it is counted on
	a.due, _ = time.Parse(time.RFC3339Nano, m.Metadata.Get(dueKey))
	a.failedAt, _ = time.Parse(time.RFC3339Nano, m.Metadata.Get(failedAtKey))
	a.handler, a.origin, a.reason = m.Metadata.Get(handlerKey), m.Metadata.Get(originKey), m.Metadata.Get(reasonKey)
	return a
}

// addTo returns a message like m with the metadata of a.
func (a attempt) addTo(m *message.Message) *message.Message {
	next := message.NewMessage(m.UUID, m.Payload)
	maps.Copy(next.Metadata, m.Metadata)
	for _, key := range []string{dueKey, failedAtKey} {
		delete(next.Metadata, key)
	}
	next.Metadata[attemptKey] = strconv.Itoa(a.number)
	next.Metadata[handlerKey] = a.handler
	next.Metadata[originKey] = a.origin
	next.Metadata[reasonKey] = a.reason
	if !a.due.IsZero() {
		next.Metadata[dueKey] = a.due.UTC().Format(time.RFC3339Nano)
	}
	if !a.failedAt.IsZero() {
		next.Metadata[failedAtKey] = a.failedAt.UTC().Format(time.RFC3339Nano)
	}
	return next
}

// reasonOf returns err as a header can have it: one line of printable text.
func reasonOf(err error) string {
	text := strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(err.Error(), "?"))
	if len(text) > maxReason {
		text = strings.ToValidUTF8(text[:maxReason], "") + "..."
	}
	return strings.TrimSpace(text)
}

const maxReason = 1000
