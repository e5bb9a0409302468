package kafka

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// maxTopic is the maximum length of a topic in Kafka, in characters.
const maxTopic = 249

// topicOf returns the topic for a name. It is reversible, and so distinct for
// distinct names, unless it must be a hash: a "_" is followed by another one,
// the code of a character, or "h" and a hash.
//
// Kafka rejects topics that differ only in "." and "_", such as "a.b" and
// "a_b". Topics of names do so only if the names have ".." or ".3a" and the
// like.
func topicOf(name string) string {
	topic := escaper.Replace(name)
	if len(topic) > maxTopic || topic == "." || topic == ".." || topic == "" || strings.IndexFunc(topic, invalid) >= 0 {
		return hashed(name)
	}
	return topic
}

var escaper = strings.NewReplacer("_", "__", "/", "_2f", ":", "_3a")

func invalid(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '.' || r == '_' || r == '-')
}

// hashed returns a topic for a name to which the rule does not apply: its
// readable part, and a hash.
func hashed(name string) string {
	readable := strings.Map(func(r rune) rune {
		if invalid(r) || r == '_' {
			return '-'
		}
		return r
	}, name)
	sum := sha256.Sum256([]byte(name))
	hash := "_h" + hex.EncodeToString(sum[:16])
	return readable[:min(len(readable), maxTopic-len(hash))] + hash
}
