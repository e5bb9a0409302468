package relay

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"

	"github.com/tidings-go/tidings"
)

// The metadata of a message: the attributes of its CloudEvent, so that brokers
// can filter by them (nothing here reads them), and what Kafka takes as the key.
const (
	contentTypeKey = "content-type"
	contentType    = "application/cloudevents+json; charset=utf-8"

	// PartitionKey is the metadata of a message that has the key of [KeyBy].
	PartitionKey = "ce-partitionkey"
)

// An encoded event is a message that was not sent yet. It is immutable.
type encoded struct {
	topic    string
	id       string
	body     []byte
	metadata message.Metadata
}

// EncodeEvent returns the message for event. Its error, of an event that is not
// registered or too large, is that of the publish.
func (r *Relay) EncodeEvent(ctx context.Context, event tidings.Event, _ bool) (any, error) {
	e, err := r.registry.Wrap(event)
	if err != nil {
		return nil, err
	}
	body, err := e.MarshalJSON()
	if err != nil {
		return nil, err
	}
	if len(body) > r.config.maxSize {
		return nil, fmt.Errorf("relay: the message for %q has %d bytes, and the limit is %d: send a reference to what is large, or raise relay.MaxSize if the broker takes more", e.Type, len(body), r.config.maxSize)
	}
	metadata := attributesOf(&e)
	for _, key := range r.config.keys {
		if k, ok := key(event); ok {
			if k != "" {
				metadata[PartitionKey] = k
			}
			break
		}
	}
	if r.config.inject != nil {
		for k, v := range r.config.inject(ctx) {
			metadata[k] = v
		}
	}
	return &encoded{r.topicOf(e.Type), e.ID.String(), body, metadata}, nil
}

func attributesOf(e *tidings.Envelope) message.Metadata {
	m := make(message.Metadata, 10)
	m[contentTypeKey] = contentType
	m["ce-specversion"] = "1.0"
	m["ce-id"] = e.ID.String()
	m["ce-source"] = e.Source
	m["ce-type"] = e.Type
	m["ce-time"] = e.OccurredAt.UTC().Format(time.RFC3339Nano)
	m["ce-dataversion"] = strconv.Itoa(e.Version)
	m["ce-correlationid"] = e.CorrelationID.String()
	if e.CausationID != uuid.Nil {
		m["ce-causationid"] = e.CausationID.String()
	}
	return m
}

// open returns the event in a message on a topic; nil if it is not for c.
//
// An event that belongs in the topic but is not one that the handler takes is
// somebody else's: where several names share a topic, nobody has to know all of
// them. Anything else that is not understood is an error.
func (c *consumer) open(body []byte, topic string) (tidings.Event, error) {
	if len(body) > c.relay.config.maxSize {
		return nil, fmt.Errorf("relay: the message has %d bytes, and the limit is %d (relay.MaxSize)", len(body), c.relay.config.maxSize)
	}
	var e tidings.Envelope
	if err := e.UnmarshalJSON(body); err != nil {
		return nil, err
	}
	eventType, known := c.relay.registry.TypeOf(e.Type)
	if !known || !isA(eventType, c.event) {
		if c.relay.ruledTopic(e.Type) == topic {
			return nil, nil
		}
		if known {
			return nil, fmt.Errorf("relay: %s does not handle %q, which does not belong in the topic %q", c.name, e.Type, topic)
		}
	}
	return c.relay.registry.Unwrap(e)
}
