package amqp

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/tidings-go/tidings/relay"
)

// maxName is the maximum size of the name of an exchange or queue, in bytes.
const maxName = 255

// reserved is the prefix of names that belong to the server.
const reserved = "amq."

// nameOf returns the name itself, if the server allows it. No other name has a
// "~", so different names stay different.
func nameOf(name string) string {
	if strings.HasPrefix(name, reserved) {
		name = "~" + name
	}
	return shorten(name)
}

// queueOf returns the name of the queue of a group for a topic. The first "@"
// ends the group. A handler's own queue has no topic, and is named like its
// group: fulfilment.retry and fulfilment.dead.
func queueOf(group relay.Group, topic string) string {
	if group.Queue {
		return nameOf(group.Name)
	}
	return shorten(nameOf(group.Name) + "@" + topic)
}

// shorten replaces the end of a name that is too long with a hash.
func shorten(name string) string {
	if len(name) <= maxName {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	hash := "~" + hex.EncodeToString(sum[:16])
	cut := maxName - len(hash)
	for !utf8.RuneStart(name[cut]) {
		cut--
	}
	return name[:cut] + hash
}

// checkTopic rejects names that an exchange cannot have: the client library
// would write a damaged frame, or the server would use its default exchange.
func checkTopic(topic string) error {
	if topic == "" {
		return errors.New("the topic is empty")
	}
	if len(topic) > maxName {
		return errors.New("the topic has more than 255 bytes, the maximum of AMQP")
	}
	return nil
}
