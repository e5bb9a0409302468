package redis

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// An id is the ID of an entry: its time in milliseconds, and a number.
type id struct{ ms, seq uint64 }

// idOf parses an ID of the server, which may omit the number.
func idOf(text string) id {
	ms, seq, _ := strings.Cut(text, "-")
	var i id
	i.ms, _ = strconv.ParseUint(ms, 10, 64)
	i.seq, _ = strconv.ParseUint(seq, 10, 64)
	return i
}

func (i id) String() string { return fmt.Sprintf("%d-%d", i.ms, i.seq) }

func (i id) less(other id) bool {
	return i.ms < other.ms || i.ms == other.ms && i.seq < other.seq
}

// before returns the greatest smaller ID, or zero.
func (i id) before() id {
	switch {
	case i.seq > 0:
		return id{i.ms, i.seq - 1}
	case i.ms > 0:
		return id{i.ms - 1, math.MaxUint64}
	}
	return id{}
}
