package durable

import "strings"

const (
	maxDepth  = 100 // SQLite's limit is 1000; Postgres is limited by the size of its stack
	maxNumber = 400 // digits; Postgres's numeric has more, but a limit too
)

// plain reports whether the databases can store this valid JSON as JSON and
// return it with the same meaning. Postgres's jsonb rejects strings with a NUL
// or with half of a surrogate pair, has no negative zero, and expands numbers
// with an exponent. (It also changes spaces, the order of names and escapes,
// and keeps one of two values with the same name, which shows only in a
// json.RawMessage and the like.)
func plain(text []byte) bool {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			for i++; text[i] != '"'; i++ {
				if text[i] != '\\' {
					continue
				}
				i++
				if text[i] == 'u' && !plainEscape(text[i+1:i+5]) {
					return false
				}
			}
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return false
			}
		case c == '}' || c == ']':
			depth--
		case c == '-' || '0' <= c && c <= '9':
			end := i
			for end < len(text) && strings.IndexByte("+-.0123456789Ee", text[end]) >= 0 {
				end++
			}
			if !plainNumber(string(text[i:end])) {
				return false
			}
			i = end - 1
		}
	}
	return true
}

// plainEscape is plain for the four digits of an escape.
func plainEscape(digits []byte) bool {
	surrogate := digits[0]|0x20 == 'd' && strings.IndexByte("89abcdefABCDEF", digits[1]) >= 0
	return !surrogate && string(digits) != "0000"
}

func plainNumber(s string) bool {
	negativeZero := s[0] == '-' && strings.Trim(s, "-0.") == ""
	return !negativeZero && len(s) <= maxNumber && !strings.ContainsAny(s, "eE")
}
