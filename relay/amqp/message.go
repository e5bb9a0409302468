package amqp

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/rabbitmq/amqp091-go"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/relay"
)

const (
	// uuidHeader is the header in which watermill-amqp stores the ID of a message.
	uuidHeader = "_watermill_message_uuid"

	// contentTypeKey is the metadata that is a property in AMQP.
	contentTypeKey = "content-type"
)

// instructions are headers that tell the server where to send a message, or
// tell the client what the server has done. The server closes the channel if
// they do not have the expected type, and metadata are all text.
var instructions = map[string]bool{"CC": true, "BCC": true, "x-death": true, "x-delivery-count": true}

// publishing returns m in the form of AMQP. limit is how many bytes all headers
// may have together: they must fit into one frame, or the server closes the
// connection; 0 means no limit.
func publishing(m *relay.Message, limit int) (amqp091.Publishing, error) {
	p := amqp091.Publishing{DeliveryMode: amqp091.Persistent, Body: m.Body}
	p.Headers = make(amqp091.Table, len(m.Metadata)+1)
	p.Headers[uuidHeader] = m.ID
	if len(m.ID) <= maxName {
		p.MessageId = m.ID
	}
	size := sizeOf(uuidHeader, m.ID)
	for key, value := range m.Metadata {
		switch {
		case key == contentTypeKey && len(value) <= maxName:
			p.ContentType = value
			continue
		case instructions[key]:
			continue
		case len(key) > maxName:
			return p, tidings.Permanent(fmt.Errorf("a key of the metadata has %d bytes, and AMQP allows %d: %.40q…", len(key), maxName, key))
		}
		p.Headers[key] = value
		size += sizeOf(key, value)
	}
	if limit > 0 && size > limit {
		return p, fmt.Errorf("%w: the metadata have %d bytes, and the server allows %d (its frame_max)", relay.ErrTooLarge, size, limit)
	}
	return p, nil
}

// sizeOf returns the size of a header in a frame: two lengths and a type
// besides the text.
func sizeOf(key, value string) int { return len(key) + len(value) + 6 }

// messageOf returns the message of a delivery from any publisher: headers that
// are not text become text, and headers for which there is no room are omitted,
// the longest first. limit is how many bytes they may have together, so that
// there is room for the headers that a relay adds when it publishes again.
func messageOf(d *amqp091.Delivery, limit int) *relay.Message {
	id, ok := d.Headers[uuidHeader].(string)
	if !ok {
		id = d.MessageId
	}
	m := &relay.Message{ID: id, Body: d.Body, Metadata: make(map[string]string, len(d.Headers)+1)}
	if d.ContentType != "" {
		m.Metadata[contentTypeKey] = d.ContentType
	}
	size := len(d.ContentType)
	for key, value := range d.Headers {
		if key == uuidHeader || instructions[key] {
			continue
		}
		text := textOf(value)
		m.Metadata[key] = text
		size += sizeOf(key, text)
	}
	if limit > 0 && size > limit {
		byLength := slices.SortedFunc(maps.Keys(m.Metadata), func(a, b string) int {
			return cmp.Or(cmp.Compare(len(b)+len(m.Metadata[b]), len(a)+len(m.Metadata[a])), cmp.Compare(a, b))
		})
		for _, key := range byLength {
			if size <= limit {
				break
			}
			size -= sizeOf(key, m.Metadata[key])
			delete(m.Metadata, key)
		}
	}
	return m
}

func textOf(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case []byte:
		return string(v)
	case nil:
		return ""
	case time.Time:
		return v.UTC().Format(time.RFC3339)
	default:
		return fmt.Sprint(v)
	}
}
