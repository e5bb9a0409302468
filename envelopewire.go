package tidings

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// attributes are the members of a CloudEvent that are read.
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

// A wireEnvelope is a CloudEvent as it arrives: the JSON of its attributes,
// nil where one is missing or, but for the data, null.
type wireEnvelope [len(attributes)][]byte

// parseWire takes a CloudEvent apart. encoding/json would take the last of
// two attributes of one name, and "ID" for "id": whoever checked the other
// one, say a gateway in front of this program, has checked nothing.
func parseWire(text []byte) (*wireEnvelope, error) {
	if !json.Valid(text) {
		err := json.Unmarshal(text, new(json.RawMessage)) // for the error's text
		return nil, fmt.Errorf("it is not JSON: %w", err)
	}
	if !utf8.Valid(text) {
		return nil, errors.New("it is not UTF-8")
	}
	text = bytes.TrimSpace(text)
	if text[0] != '{' {
		return nil, errors.New("it is no JSON object")
	}
	var w wireEnvelope
	for i := nextToken(text, 1); text[i] != '}'; i = nextToken(text, i) {
		end := skipValue(text, i)
		name, err := unquote(text[i:end])
		if err != nil {
			return nil, err
		}
		i = nextToken(text, end)
		end = skipValue(text, i)
		if err := w.set(name, text[i:end]); err != nil {
			return nil, err
		}
		i = end
	}
	for i := range w {
		if i != dataAttr && string(w[i]) == "null" {
			w[i] = nil
		}
	}
	return &w, nil
}

func (w *wireEnvelope) set(name string, value []byte) error {
	for i, attribute := range attributes {
		if name == attribute {
			if w[i] != nil {
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

// nextToken returns where the next name or value, or the closing bracket,
// begins in valid JSON, from between two of them.
func nextToken(text []byte, i int) int {
	for strings.IndexByte(" \t\r\n,:", text[i]) >= 0 {
		i++
	}
	return i
}

// skipValue returns the end of the value that begins at i in valid JSON, in
// an object or array.
func skipValue(text []byte, i int) int {
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
		default: // a number or a word, or, in an inner object, what is between
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

// unquote returns the string that value, valid JSON, is; "" for nil.
func unquote(value []byte) (s string, err error) {
	switch {
	case value == nil:
		return "", nil
	case value[0] == '"' && bytes.IndexByte(value, '\\') < 0:
		return string(value[1 : len(value)-1]), nil
	}
	err = json.Unmarshal(value, &s)
	return s, err
}
