package redis

import (
	"maps"

	goredis "github.com/redis/go-redis/v9"

	"github.com/tidings-go/tidings/relay"
)

// The fields of an entry are those of Watermill's adapter for Redis streams, so
// that its programs can be at the other end.
const (
	idField       = "_watermill_message_uuid"
	metadataField = "metadata" // a map in MessagePack, or empty
	payloadField  = "payload"
)

// fieldsOf returns the entry for m.
func fieldsOf(m *relay.Message) []any {
	return []any{idField, m.ID, metadataField, encodeMetadata(m.Metadata), payloadField, m.Body}
}

// messageOf returns the message in an entry, and never fails: an entry of
// another producer, which may have any fields, becomes a message with the ID of
// the entry and its fields as metadata, so that a dead letter shows them. (The
// adapter would end the subscription.)
func messageOf(entry goredis.XMessage) *relay.Message {
	m := &relay.Message{ID: text(entry.Values[idField]), Body: []byte(text(entry.Values[payloadField])), Metadata: map[string]string{}}
	if m.ID == "" {
		m.ID = entry.ID
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
