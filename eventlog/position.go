package eventlog

import (
	"cmp"
	"fmt"
)

// A Position is the place of an event in the log, and the cursor of a reader
// that has read up to it. Positions are ordered and comparable with ==; the
// zero Position is before all events. It is an [encoding.TextMarshaler], to be
// stored as text.
//
// On SQLite positions are in the order of commit. On Postgres they are in
// the order in which the transactions began to write, and within each in
// the order of publishing.
type Position struct {
	tx  int64 // on Postgres the writing transaction, else 0
	seq int64
}

// Compare returns -1, 0 or +1, as p is before, at or after q.
func (p Position) Compare(q Position) int {
	return cmp.Or(cmp.Compare(p.tx, q.tx), cmp.Compare(p.seq, q.seq))
}

// String returns p as text, like [Position.MarshalText].
func (p Position) String() string { return fmt.Sprintf("%d.%d", p.tx, p.seq) }

// MarshalText returns p as text.
func (p Position) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText parses the text of [Position.MarshalText].
func (p *Position) UnmarshalText(text []byte) error {
	q, err := ParsePosition(string(text))
	if err == nil {
		*p = q
	}
	return err
}

// ParsePosition parses the text of [Position.String].
func ParsePosition(s string) (p Position, err error) {
	if _, err := fmt.Sscanf(s, "%d.%d", &p.tx, &p.seq); err != nil || p.tx < 0 || p.seq < 0 || p.String() != s {
		return Position{}, fmt.Errorf("eventlog: %q is not a valid position", s)
	}
	return p, nil
}
