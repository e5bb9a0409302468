package relay

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tidings-go/tidings"
)

// The metadata of a message: the attributes of its CloudEvent, so that brokers
// can filter by them (the relay does not read them), and the key for Kafka.
const (
	contentTypeKey = "content-type"
	contentType    = "application/cloudevents+json; charset=utf-8"

	// PartitionKey is the name of the metadata with the key of [WithKeyBy].
	PartitionKey = "ce-partitionkey"
)

var aHeader = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

// isForeign reports whether WithTrace may set metadata of that name: all
// brokers accept it, and the relay does not use it.
func isForeign(name string) bool {
	for _, ours := range []string{"ce-", "tidings-", "content-"} {
		if len(name) >= len(ours) && strings.EqualFold(name[:len(ours)], ours) {
			return false
		}
	}
	return aHeader.MatchString(name)
}

// maxMetadata limits the length of a value to that of the W3C baggage, in
// bytes.
const maxMetadata = 8192

// An encoded event is a message that has not been sent yet. It is immutable.
type encoded struct {
	topic string
	Message
}

// Encode returns the message for an event. The publish returns its error, for an
// event that is not registered or too large.
func (r *Relay) Encode(ctx context.Context, out tidings.Outgoing) (any, error) {
	return r.encode(ctx, out.Event)
}

func (r *Relay) encode(ctx context.Context, event tidings.Event) (*encoded, error) {
	body, err := r.registry.Encode(event)
	if err != nil {
		return nil, err
	}
	k, err := r.kindOf(event)
	if err != nil {
		return nil, err
	}
	if len(body) > r.config.maxSize {
		return nil, fmt.Errorf("relay: the message for %q has %d bytes, and the limit is %d: send a reference to what is large, or raise relay.WithMaxSize if the broker accepts more", k.name, len(body), r.config.maxSize)
	}
	id := event.EventID().String()
	metadata := attributesOf(event, id, k)
	for _, key := range r.config.keys {
		if value, ok := key(event); ok {
			if value != "" {
				metadata[PartitionKey] = bound(clean(value), maxMetadata) // equal keys stay equal
			}
			break
		}
	}
	if r.config.inject != nil {
		for name, value := range r.config.inject(ctx) {
			if !isForeign(name) {
				return nil, fmt.Errorf("relay: inject of WithTrace returns the metadata %q: a name may contain letters, digits and ._-, and must not begin with ce-, tidings- or content-", name)
			}
			metadata[name] = bound(clean(value), maxMetadata)
		}
	}
	return &encoded{k.topic, Message{id, body, metadata}}, nil
}

// A kind holds what all events of one type have in common.
type kind struct{ name, source, version, topic string }

// kindOf returns the kind of a stamped event.
func (r *Relay) kindOf(event tidings.Event) (*kind, error) {
	typ := reflect.TypeOf(event)
	if k, ok := r.kinds.Load(typ); ok {
		return k.(*kind), nil
	}
	e, err := r.registry.Wrap(event)
	if err != nil {
		return nil, err
	}
	topic, err := r.topicFor(e.Type)
	if err != nil {
		return nil, err
	}
	k := &kind{e.Type, e.Source, strconv.Itoa(e.Version), topic}
	r.kinds.Store(typ, k)
	return k, nil
}

func attributesOf(event tidings.Event, id string, k *kind) map[string]string {
	m := make(map[string]string, 8) // more attributes are rare, and cost twice the room
	m[contentTypeKey] = contentType
	m["ce-specversion"] = "1.0"
	m["ce-id"] = id
	m["ce-source"] = k.source
	m["ce-type"] = k.name
	m["ce-time"] = event.OccurredAt().Format(time.RFC3339Nano)
	m["ce-dataversion"] = k.version
	m["ce-correlationid"] = id
	if correlation := event.CorrelationID(); correlation != event.EventID() {
		m["ce-correlationid"] = correlation.String()
	}
	if causation := event.CausationID(); causation != uuid.Nil {
		m["ce-causationid"] = causation.String()
	}
	return m
}

// open returns the event in a message, or nil if the handler skips it.
//
// In the handler's own queues it skips nothing. On a topic that several names
// share, it skips events that this process knows to be of another type and, if
// it takes a struct, also events that are not registered: a process need not
// know all names of a topic. Any other event that cannot be decoded is an
// error, and a [strangeError] if another process of the handler may be able to.
func (c *consumer) open(body []byte, a attempt) (tidings.Event, error) {
	if len(body) > c.relay.config.maxSize {
		return nil, fmt.Errorf("relay: the message has %d bytes, and the limit is %d (relay.WithMaxSize)", len(body), c.relay.config.maxSize)
	}
	var e tidings.Envelope
	if err := e.UnmarshalJSON(body); err != nil {
		return nil, err
	}
	eventType, known := c.relay.registry.TypeOf(e.Type)
	mine := known && isA(eventType, c.EventType)
	belongs := c.relay.topicOf(e.Type) == a.origin
	switch {
	case !mine && belongs && !a.own && (known || c.EventType.Kind() != reflect.Interface):
		return nil, nil
	case known && !mine && belongs:
		return nil, &strangeError{fmt.Errorf("relay: %s does not handle %q in this process, although it did before: the event waits for a process in which it does", c.Name, e.Type)}
	case known && !mine:
		return nil, fmt.Errorf("relay: %s does not handle %q, which does not belong in the topic %q", c.Name, e.Type, a.origin)
	}
	event, err := c.relay.registry.Unwrap(e)
	if errors.Is(err, tidings.ErrUnregistered) {
		return nil, &strangeError{err}
	}
	return event, err
}

// knows reports whether this process knows an event that another process did
// not know.
func (c *consumer) knows(m *delivery, a attempt) bool {
	err := contain(func() error {
		_, err := c.open(m.Body, a)
		return err
	})
	return !errors.As(err, new(*strangeError))
}

// A strangeError is the error for an event that this process does not know, or
// that the handler does not take here: during a deployment another process may.
// The event waits in the retry queue, and a process that knows it takes it at
// once.
type strangeError struct{ err error }

func (e *strangeError) Error() string { return e.err.Error() }
func (e *strangeError) Unwrap() error { return e.err }

const (
	// strangeAttempts limits how often processes that do not know an event look
	// at it before it is a dead letter: with the default Backoff, after some
	// seven minutes.
	strangeAttempts = 10

	// strangeHold limits how long such a process withholds the event from a
	// process that knows it.
	strangeHold = 200 * time.Millisecond
)
