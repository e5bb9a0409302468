package kafka

import (
	"strings"

	"github.com/IBM/sarama"

	"github.com/tidings-go/tidings/relay"
)

const (
	// uuidHeader is the header in which Watermill's adapter stores a message's
	// UUID.
	uuidHeader = "_watermill_message_uuid"

	// Attributes have one prefix as metadata, and another one in the Kafka
	// binding of CloudEvents.
	attribute       = "ce-"
	attributeHeader = "ce_"
)

func marshal(topic string, m *relay.Message) *sarama.ProducerMessage {
	headers := make([]sarama.RecordHeader, 0, 1+len(m.Metadata))
	headers = append(headers, sarama.RecordHeader{Key: []byte(uuidHeader), Value: []byte(m.ID)})
	for key, value := range m.Metadata {
		if name, ok := strings.CutPrefix(key, attribute); ok {
			key = attributeHeader + name
		}
		headers = append(headers, sarama.RecordHeader{Key: []byte(key), Value: []byte(value)})
	}
	p := &sarama.ProducerMessage{Topic: topic, Value: sarama.ByteEncoder(m.Body), Headers: headers}
	if key := m.Metadata[relay.PartitionKey]; key != "" {
		p.Key = sarama.StringEncoder(key) // without a key: any partition
	}
	return p
}

// unmarshal returns as much as possible of a message from any sender.
func unmarshal(r *sarama.ConsumerMessage) *relay.Message {
	m := &relay.Message{Body: r.Value, Metadata: map[string]string{}}
	for _, h := range r.Headers {
		key := string(h.Key)
		if key == uuidHeader {
			m.ID = string(h.Value)
			continue
		}
		if name, ok := strings.CutPrefix(key, attributeHeader); ok {
			key = attribute + name
		}
		m.Metadata[key] = string(h.Value)
	}
	if _, ok := m.Metadata[relay.PartitionKey]; !ok && len(r.Key) > 0 {
		m.Metadata[relay.PartitionKey] = string(r.Key) // to have the same order when it is retried
	}
	return m
}
