package relay

import (
	"maps"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tidings-go/tidings"
)

// The metadata of messages that have failed.
const (
	attemptKey  = "tidings-attempt"   // number of calls of the handler
	strangeKey  = "tidings-strange"   // how often since then a process did not know the event
	dueKey      = "tidings-due"       // when to call it again, RFC 3339, by the clock of the process that has failed
	waitKey     = "tidings-wait"      // the maximum wait, whatever the clocks say
	handlerKey  = "tidings-handler"   // the handler's name
	originKey   = "tidings-origin"    // the topic that the message was on
	reasonKey   = "tidings-reason"    // the last error
	failedAtKey = "tidings-failed-at" // when it became a dead letter, RFC 3339
	letterKey   = "tidings-letter"    // the dead letter's own ID, a new one each time
	sizeKey     = "tidings-size"      // number of bytes of the body, if it was cut
	typeKey     = "tidings-type"      // the name of the event, if the body was cut
	redriveKey  = "tidings-redrive"   // the last call of Redrive that has kept or redelivered it; in a new letter its own ID, so that Redrive does not make it larger
)

// An attempt holds the metadata about the attempts for a message.
type attempt struct {
	number   int
	strange  int
	due      time.Time
	wait     time.Duration
	handler  string
	origin   string
	reason   string
	failedAt time.Time
	letter   string
	redrive  string
	size     int // 0: the body is complete
	typ      string

	own bool // not in the metadata: the message is in one of the handler's own queues
}

// attemptOf reads the metadata of m. Missing or damaged values are zero.
func attemptOf(m *Message) (a attempt) {
	a.number, a.strange = count(m, attemptKey), count(m, strangeKey)
	a.due, _ = time.Parse(time.RFC3339Nano, m.Metadata[dueKey])
	a.wait, _ = time.ParseDuration(m.Metadata[waitKey])
	a.failedAt, _ = time.Parse(time.RFC3339Nano, m.Metadata[failedAtKey])
	a.handler, a.origin, a.reason = m.Metadata[handlerKey], m.Metadata[originKey], m.Metadata[reasonKey]
	a.letter, a.redrive = m.Metadata[letterKey], m.Metadata[redriveKey]
	if a.size = count(m, sizeKey); a.size <= len(m.Body) {
		a.size = 0
	} else {
		a.typ = m.Metadata[typeKey]
	}
	return a
}

// count reads a number and limits it so that it can be incremented, since any
// program may have written it.
func count(m *Message, key string) int {
	n, _ := strconv.Atoi(m.Metadata[key])
	return min(max(n, 0), 1<<30)
}

// waitFor makes the next attempt due after d.
func (a *attempt) waitFor(d time.Duration) { a.due, a.wait = time.Now().Add(d), d }

// left returns the remaining wait: until the attempt is due, but no longer than
// the whole wait, since the clocks of two processes differ.
func (a attempt) left() time.Duration { return min(time.Until(a.due), a.wait) }

// addTo returns a message like m with the metadata of a.
func (a attempt) addTo(m *Message) *Message {
	next := &Message{m.ID, m.Body, make(map[string]string, len(m.Metadata)+8)}
	maps.Copy(next.Metadata, m.Metadata)
	a.writeTo(next.Metadata)
	return next
}

// cut returns a message with only the metadata of a and the first size bytes of
// the body of m. With the smallest of letterSizes it omits at least one byte,
// and the rest is printable text.
func (a attempt) cut(m *Message, size int) *Message {
	head := m.Body[:min(size, len(m.Body))]
	if size == letterSizes[len(letterSizes)-1] {
		head = []byte(clean(string(head[:min(len(head), max(len(m.Body)-1, 0))])))
	} else if utf8.Valid(m.Body) {
		head = []byte(strings.ToValidUTF8(string(head), "")) // removes a character that was cut
	}
	if len(head) < len(m.Body) {
		a.size = len(m.Body)
		var e tidings.Envelope
		if err := e.UnmarshalJSON(m.Body); err == nil {
			a.typ = bound(clean(e.Type), 200)
		}
	}
	next := &Message{bound(clean(m.ID), 100), head, map[string]string{}}
	a.writeTo(next.Metadata)
	return next
}

// writeTo replaces the metadata of earlier attempts, and any other metadata
// with the same names.
func (a attempt) writeTo(metadata map[string]string) {
	metadata[attemptKey] = strconv.Itoa(a.number)
	metadata[handlerKey], metadata[originKey], metadata[reasonKey] = a.handler, a.origin, a.reason
	set := func(key string, is bool, value string) {
		if is {
			metadata[key] = value
		} else {
			delete(metadata, key)
		}
	}
	set(strangeKey, a.strange != 0, strconv.Itoa(a.strange))
	set(dueKey, !a.due.IsZero(), a.due.UTC().Format(time.RFC3339Nano))
	set(waitKey, a.wait != 0, a.wait.String())
	set(failedAtKey, !a.failedAt.IsZero(), a.failedAt.UTC().Format(time.RFC3339Nano))
	set(letterKey, a.letter != "", a.letter)
	set(redriveKey, a.redrive != "", a.redrive)
	set(sizeKey, a.size != 0, strconv.Itoa(a.size))
	set(typeKey, a.typ != "", a.typ)
}

// reasonOf returns err in a form for a header: one line of printable text.
func reasonOf(err error) string { return strings.TrimSpace(bound(clean(err.Error()), maxReason)) }

const maxReason = 1000

// clean returns text as one line of printable text.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
}

// bound cuts valid UTF-8 after most bytes, and marks the cut.
func bound(text string, most int) string {
	if len(text) > most {
		return strings.ToValidUTF8(text[:most], "") + "..."
	}
	return text
}
