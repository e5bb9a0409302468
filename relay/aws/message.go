package aws

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	snstypes "github.com/aws/aws-sdk-go-v2/service/sns/types"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/relay"
)

// Attributes that are not metadata.
const (
	uuidAttribute = "_watermill_message_uuid" // the one of watermill-aws
	moreAttribute = "tidings-more"            // metadata that cannot be attributes, as JSON
	bodyAttribute = "tidings-body"            // the encoding of the body, if it is not plain text
)

const (
	maxAttributes = 10      // with more, SQS rejects the message, and then SNS loses it
	maxMessage    = 1 << 18 // bytes of the body and the attributes
	reserve       = 2 << 10 // for metadata about a failure
)

// first are the metadata that become attributes before all others, since filter
// policies use them. All other "ce-" metadata are in the body.
var first = []string{"content-type", "ce-type", "ce-id"}

// expendable metadata are removed, in this order, so that a failed message
// fits.
var expendable = []string{"tidings-reason", "content-type", "ce-type", "ce-id"}

// marshal returns the body and the attributes for a message. It returns an
// error if SNS would not accept them, or SQS would not accept them after a
// failure.
func marshal(m *relay.Message) (string, map[string]string, error) {
	body, attributes, err := encode(m.ID, m.Body, m.Metadata)
	if err != nil {
		return "", nil, err
	}
	failed := m.Metadata["tidings-attempt"] != ""
	if size := sizeOf(body, attributes); !failed && size > maxMessage-reserve {
		return "", nil, tidings.Permanent(fmt.Errorf("%w: it has %d bytes with its attributes, and SNS accepts %d, of which %d are reserved for the error of a dead letter: send a reference to what is large", relay.ErrTooLarge, size, maxMessage, reserve))
	}
	if sizeOf(body, attributes) > maxMessage {
		rest := maps.Clone(m.Metadata)
		for _, key := range expendable {
			delete(rest, key)
			if body, attributes, err = encode(m.ID, m.Body, rest); err != nil {
				return "", nil, err
			}
			if sizeOf(body, attributes) <= maxMessage {
				break
			}
		}
	}
	if size := sizeOf(body, attributes); size > maxMessage {
		return "", nil, fmt.Errorf("%w: it has %d bytes with its attributes, and SQS accepts %d", relay.ErrTooLarge, size, maxMessage)
	}
	return body, attributes, nil
}

func snsAttributes(attributes map[string]string) map[string]snstypes.MessageAttributeValue {
	out := make(map[string]snstypes.MessageAttributeValue, len(attributes))
	for key, value := range attributes {
		out[key] = snstypes.MessageAttributeValue{DataType: aws.String("String"), StringValue: &value}
	}
	return out
}

func sqsAttributes(attributes map[string]string) map[string]sqstypes.MessageAttributeValue {
	out := make(map[string]sqstypes.MessageAttributeValue, len(attributes))
	for key, value := range attributes {
		out[key] = sqstypes.MessageAttributeValue{DataType: aws.String("String"), StringValue: &value}
	}
	return out
}

func encode(id string, payload []byte, metadata map[string]string) (string, map[string]string, error) {
	body, attributes := encodeBody(payload)
	if id != "" && isText(id) {
		attributes[uuidAttribute] = id
	}
	room := maxAttributes - 1 // for moreAttribute
	more := map[string]string{}
	add := func(key string) {
		value := metadata[key]
		if len(attributes) < room && isAttribute(key) && value != "" && isText(value) {
			attributes[key] = value
		} else {
			more[key] = value
		}
	}
	for _, key := range first {
		if metadata[key] != "" {
			add(key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(metadata)) {
		if !strings.HasPrefix(key, "ce-") && !slices.Contains(first, key) {
			add(key)
		}
	}
	if len(more) > 0 {
		packed, err := json.Marshal(more)
		if err != nil {
			return "", nil, fmt.Errorf("packing the metadata: %w", err)
		}
		attributes[moreAttribute] = strings.Map(replaceNoText, string(packed))
	}
	return body, attributes, nil
}

func sizeOf(body string, attributes map[string]string) int {
	size := len(body)
	for key, value := range attributes {
		size += len(key) + len("String") + len(value)
	}
	return size
}

// encodeBody returns a body that SNS accepts, and attributes that say how to
// read it if that is not obvious.
func encodeBody(payload []byte) (string, map[string]string) {
	switch body := string(payload); {
	case body == "":
		return "-", map[string]string{bodyAttribute: "empty"}
	case !isText(body):
		return base64.StdEncoding.EncodeToString(payload), map[string]string{bodyAttribute: "base64"}
	default:
		return body, map[string]string{}
	}
}

func decodeBody(body, how string) []byte {
	switch how {
	case "empty":
		return []byte{}
	case "base64":
		if payload, err := base64.StdEncoding.DecodeString(body); err == nil {
			return payload
		}
	}
	return []byte(body) // perhaps from another program
}

// unmarshal returns the message for a queue entry from any sender.
func unmarshal(raw sqstypes.Message) *relay.Message {
	id, how := aws.ToString(raw.MessageId), ""
	metadata := make(map[string]string, len(raw.MessageAttributes))
	for key, attribute := range raw.MessageAttributes {
		value := aws.ToString(attribute.StringValue)
		if attribute.StringValue == nil {
			value = string(attribute.BinaryValue)
		}
		switch key {
		case uuidAttribute:
			id = value
		case bodyAttribute:
			how = value
		case moreAttribute:
			var more map[string]string
			if err := json.Unmarshal([]byte(value), &more); err == nil { // may be from another program
				maps.Copy(metadata, more)
			}
		default:
			metadata[key] = value
		}
	}
	return &relay.Message{ID: id, Body: decodeBody(aws.ToString(raw.Body), how), Metadata: metadata}
}

// isAttribute reports whether SQS accepts name as the name of an attribute.
func isAttribute(name string) bool {
	for i := range len(name) {
		if c := name[i]; !isPlain(c) && c != '-' && c != '.' {
			return false
		}
	}
	lower := strings.ToLower(name)
	return name != "" && len(name) <= 256 && name[0] != '.' && name[len(name)-1] != '.' && !strings.Contains(name, "..") &&
		!strings.HasPrefix(lower, "aws.") && !strings.HasPrefix(lower, "amazon.")
}

// isText reports whether SQS accepts s: UTF-8 without the characters that XML
// does not have.
func isText(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return replaceNoText(r) != r }) < 0
}

func replaceNoText(r rune) rune {
	if r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF {
		return utf8.RuneError
	}
	return r
}
