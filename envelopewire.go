package tidings

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// attributes are the members of a CloudEvent that Envelope reads.
var attributes = [...]string{
	idAttr: "id", sourceAttr: "source", typeAttr: "type", timeAttr: "time", specAttr: "specversion", contentAttr: "datacontenttype",
	versionAttr: "dataversion", correlationAttr: "correlationid", causationAttr: "causationid", dataAttr: "data", base64Attr: "data_base64",
}

const (
	specAttr = iota
	idAttr
	sourceAttr
	typeAttr
	timeAttr
	contentAttr
	versionAttr
	correlationAttr
	causationAttr
	dataAttr
	base64Attr
)

// A wireEnvelope holds the JSON of each attribute of a CloudEvent. A value is "" if
// the attribute is missing or, for attributes other than data, null. The values are
// parts of one string.
type wireEnvelope [len(attributes)]string

// parseWire splits a CloudEvent into its attributes. encoding/json would use the last
// of two attributes with the same name, and accept "ID" for "id": then a gateway in
// front of this program could check one attribute while this program uses the other.
func parseWire(raw []byte) (w wireEnvelope, err error) {
	if !json.Valid(raw) {
		err := json.Unmarshal(raw, new(json.RawMessage)) // for the error's text
		return w, fmt.Errorf("it is not JSON: %w", err)
	}
	if !utf8.Valid(raw) {
		return w, errors.New("it is not UTF-8")
	}
	text := string(bytes.TrimSpace(raw))
	if text[0] != '{' {
		return w, errors.New("it is not a JSON object")
	}
	for i := nextToken(text, 1); text[i] != '}'; i = nextToken(text, i) {
		end := skipValue(text, i)
		name, err := unquote(text[i:end])
		if err != nil {
			return w, err
		}
		i = nextToken(text, end)
		end = skipValue(text, i)
		if err := w.set(name, text[i:end]); err != nil {
			return w, err
		}
		i = end
	}
	for i := range w {
		if i != dataAttr && w[i] == "null" {
			w[i] = ""
		}
	}
	return w, nil
}

func (w *wireEnvelope) set(name, value string) error {
	for i, attribute := range attributes {
		if name == attribute {
			if w[i] != "" {
				return fmt.Errorf("it has %q twice", name)
			}
			w[i] = value
			return nil
		}
	}
	for _, attribute := range attributes {
		if strings.EqualFold(name, attribute) {
			return fmt.Errorf("it has %q: the names of attributes are in lower case, %q", name, attribute)
		}
	}
	return nil
}

// nextToken returns the index of the next name, value or closing bracket in valid
// JSON. i is between two of them.
func nextToken(text string, i int) int {
	for strings.IndexByte(" \t\r\n,:", text[i]) >= 0 {
		i++
	}
	return i
}

// skipValue returns the end of the value that begins at i, in an object or array of
// valid JSON.
func skipValue(text string, i int) int {
	for depth := 0; ; {
		switch text[i] {
		case '"':
			for i++; text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
			i++
		case '{', '[':
			depth++
			i++
		case '}', ']':
			depth--
			i++
		default: // a number or a word, or a separator in an inner object
			for strings.IndexByte(" \t\r\n,:]}", text[i]) < 0 {
				i++
			}
			if depth > 0 {
				i = nextToken(text, i)
			}
		}
		if depth == 0 {
			return i
		}
	}
}

// unquote returns the string in value, which is valid JSON or "". It returns "" for
// "".
func unquote(value string) (string, error) {
	switch {
	case value == "":
		return "", nil
	case value[0] == '"' && strings.IndexByte(value, '\\') < 0:
		return value[1 : len(value)-1], nil
	}
	return unescape(value)
}

// unescape is separate from unquote because its s is allocated on the heap.
func unescape(value string) (s string, err error) {
	err = json.Unmarshal([]byte(value), &s)
	return s, err
}
