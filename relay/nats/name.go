package nats

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// subjectOf returns the subject for a name. Different names have different
// ones: % itself is escaped.
func subjectOf(name string) string {
	subject := escape(name, func(i int) bool {
		c := name[i]
		if c == '.' { // a subject has no empty token
			return i > 0 && i < len(name)-1 && name[i-1] != '.'
		}
		return isAlphanumeric(c) || strings.IndexByte("_/:-", c) >= 0
	})
	return cut(subject)
}

// assetOf returns the name of a stream or a consumer for a subject or a group.
// The server creates directories with these names.
func assetOf(name string) string {
	asset := escape(name, func(i int) bool {
		c := name[i]
		return isAlphanumeric(c) || strings.IndexByte("._-", c) >= 0
	})
	return cut(strings.ReplaceAll(asset, ".", "~"))
}

// escape percent-encodes the bytes for which keep returns false.
func escape(name string, keep func(i int) bool) string {
	var b strings.Builder
	for i := range len(name) {
		if keep(i) {
			b.WriteByte(name[i])
		} else {
			fmt.Fprintf(&b, "%%%02X", name[i])
		}
	}
	return b.String()
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// cut shortens a name longer than maxName. The server accepts 255 bytes.
func cut(name string) string {
	if len(name) <= maxName {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	hash := hex.EncodeToString(sum[:16])
	return strings.TrimRight(name[:maxName-len(hash)-1], ".%") + "-" + hash
}

const maxName = 200

// checkSubject returns an error for a topic to which no message can be
// published. Topics of subjectOf are valid, but a user may have set others.
func checkSubject(topic string) error {
	if len(topic) > maxSubject {
		return fmt.Errorf("the topic %q is not a valid NATS subject: it has %d bytes, and the maximum is %d", topic[:maxName]+"…", len(topic), maxSubject)
	}
	for token := range strings.SplitSeq(topic, ".") {
		if token == "" || token == "*" || token == ">" || strings.ContainsAny(token, " \t\r\n\f") {
			return fmt.Errorf("the topic %q is not a valid NATS subject: it has spaces, wildcards, or a dot with nothing before or after it", topic)
		}
	}
	return nil
}

// maxSubject leaves room in a line of the protocol (max_control_line, 4 KiB by
// default): the server ends the connection over a longer one.
const maxSubject = 2000
