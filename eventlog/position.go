package eventlog

import (
	"cmp"
	"fmt"
)

// A Position is the place of an event in the log, and the cursor of a reader
// that has come this far. Positions are ordered and comparable with ==; the
// zero Position is before all events. As text, to be stored, it is a
// [encoding.TextMarshaler].
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

// String returns p as [Position.MarshalText] does.
func (p Position) String() string { return fmt.Sprintf("%d.%d", p.tx, p.seq) }

// MarshalText returns p as text.
func (p Position) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads what [Position.MarshalText] wrote.
func (p *Position) UnmarshalText(text []byte) error {
	q, err := ParsePosition(string(text))
	if err == nil {
		*p = q
	}
	return err
}

// ParsePosition reads what [Position.String] wrote.
func ParsePosition(s string) (p Position, err error) {
	if _, err := fmt.Sscanf(s, "%d.%d", &p.tx, &p.seq); err != nil || p.tx < 0 || p.seq < 0 || p.String() != s {
		return Position{}, fmt.Errorf("eventlog: %q is no position", s)
	}
	return p, nil
}
