package nats

import (
	"encoding/json"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/tidings-go/tidings/relay"
)

const (
	// uuidHeader is the header of Watermill's own adapter, so that its users
	// can read these messages, and vice versa.
	uuidHeader = "_watermill_message_uuid"

	// restHeader has the metadata that no header can hold unchanged, in JSON.
	restHeader = "tidings-metadata"
)

// marshal returns the message for a topic. All metadata arrive unchanged.
func marshal(topic string, m *relay.Message) (*nats.Msg, error) {
	header := make(nats.Header, len(m.Metadata)+1)
	var rest map[string]string
	put := func(key, name, value string) {
		if fits(name, value) {
			header[name] = []string{value}
			return
		}
		if rest == nil {
			rest = map[string]string{}
		}
		rest[key] = value
	}
	put(uuidHeader, uuidHeader, m.ID)
	for key, value := range m.Metadata {
		put(key, headerOf(key), value)
	}
	if rest != nil {
		text, err := json.Marshal(rest)
		if err != nil {
			return nil, err
		}
		header[restHeader] = []string{string(text)}
	}
	return &nats.Msg{Subject: topic, Data: m.Body, Header: header}, nil
}

// headerOf returns the header for a key of metadata, or "" if it cannot be one:
// headers of the server are commands to it (with one that expects a sequence
// number it rejects the message), and messages of other producers contain them.
func headerOf(key string) string {
	if key == uuidHeader || key == restHeader || len(key) >= 5 && strings.EqualFold(key[:5], "Nats-") {
		return ""
	}
	return key
}

// fits reports whether a header arrives as it was sent.
func fits(name, value string) bool {
	for i := range len(name) {
		if !inNames[name[i]] {
			return false
		}
	}
	return name != "" && !strings.ContainsAny(value, "\r\n") && strings.Trim(value, " \t") == value
}

// inNames are the bytes that the client accepts in the name of a header.
var inNames = func() (in [256]bool) {
	for c := '!'; c <= '~'; c++ {
		in[c] = !strings.ContainsRune(`"()/,:;<=>?@[\]{}`, c)
	}
	return in
}()

// unmarshal returns the message in raw, from any sender.
func unmarshal(raw *nats.Msg) *relay.Message {
	m := &relay.Message{ID: raw.Header.Get(uuidHeader), Body: raw.Data, Metadata: map[string]string{}}
	for name, values := range raw.Header {
		if name != uuidHeader && name != restHeader {
			m.Metadata[name] = strings.Join(values, ", ")
		}
	}
	var rest map[string]string
	text := raw.Header.Get(restHeader)
	if text == "" {
		return m
	}
	if err := json.Unmarshal([]byte(text), &rest); err != nil {
		m.Metadata[restHeader] = text // not ours
		return m
	}
	for key, value := range rest {
		if key == uuidHeader {
			m.ID = value
		} else {
			m.Metadata[key] = value
		}
	}
	return m
}
