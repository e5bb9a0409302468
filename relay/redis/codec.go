package redis

import (
	"maps"

	"github.com/ThreeDotsLabs/watermill/message"
	goredis "github.com/redis/go-redis/v9"
)

// The fields of an entry are those of Watermill's adapter for Redis streams, so
// that its programs can be at the other end.
const (
	idField       = "_watermill_message_uuid"
	metadataField = "metadata" // a map in MessagePack, or empty
	payloadField  = "payload"
)

// fieldsOf returns the entry for m.
func fieldsOf(m *message.Message) []any {
	return []any{idField, m.UUID, metadataField, encodeMetadata(m.Metadata), payloadField, []byte(m.Payload)}
}

// messageOf returns the message in an entry, and never fails: an entry of
// another producer, which may have any fields, becomes a message with the ID of
// the entry and its fields as metadata, so that a dead letter shows them. (The
// adapter would end the subscription.)
func messageOf(entry goredis.XMessage) *message.Message {
	m := message.NewMessage(text(entry.Values[idField]), message.Payload(text(entry.Values[payloadField])))
	if m.UUID == "" {
		m.UUID = entry.ID
	}
	for name, value := range entry.Values {
		switch name {
		case idField, payloadField:
		case metadataField:
			metadata, err := decodeMetadata(text(value))
			maps.Copy(m.Metadata, metadata)
			if err != nil {
				m.Metadata[metadataField] = text(value)
			}
		default:
			if _, ok := m.Metadata[name]; !ok {
				m.Metadata[name] = text(value)
			}
		}
	}
	return m
}

// text returns a field of an entry, which the client reads as a string.
func text(value any) string {
	s, _ := value.(string)
	return s
}
