package aws

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"strings"
)

// Limits of SNS and SQS for names of ASCII letters, digits, _ and -.
const (
	maxTopicName = 256
	maxQueueName = 80
)

// topicName returns the topic for a name. Different names have different ones:
// a hyphen in a topic means a dot if a letter, digit or _ follows, and two
// hyphens precede the code of any other byte, including a hyphen.
func topicName(name string) string { return cut(escape(name), maxTopicName) }

// queueName returns the queue of a group for a topic. No escaped name has three
// hyphens, so different pairs have different queues.
func queueName(group, topic string) string { return cut(escape(group)+"---"+topic, maxQueueName) }

func escape(name string) string {
	var b strings.Builder
	for i := range len(name) {
		switch c := name[i]; {
		case isPlain(c):
			b.WriteByte(c)
		case c == '.' && i+1 < len(name) && isPlain(name[i+1]):
			b.WriteByte('-')
		default:
			fmt.Fprintf(&b, "--%02X", c)
		}
	}
	return b.String()
}

func isPlain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_'
}

// cut shortens a name that is too long; it then ends with a hash of the whole.
func cut(name string, most int) string {
	if len(name) <= most {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	hash := strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:16]))
	return name[:most-len(hash)-1] + "-" + hash
}

// checkTopic returns an error for an invalid topic name. Names of topicName are
// valid, but a user may have set others.
func checkTopic(topic string) error {
	valid := len(topic) > 0 && len(topic) <= maxTopicName
	for i := range len(topic) {
		valid = valid && (isPlain(topic[i]) || topic[i] == '-')
	}
	if !valid {
		return fmt.Errorf("the topic %q is not a valid SNS name: that has 1 to %d letters, digits, hyphens and underscores", topic, maxTopicName)
	}
	return nil
}
