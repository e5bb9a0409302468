package eventlog

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/tidings-go/tidings/eventlog/internal/backend"
)

// A Filter selects events. Several filters select the events that all of them
// do.
type Filter interface {
	ReplayOption
	filter(*selection)
}

type filterFunc func(*selection)

func (f filterFunc) filter(s *selection)      { f(s) }
func (f filterFunc) replay(s *replaySettings) { s.filters = append(s.filters, f) }

// After selects the events after p; a reader begins there.
func After(p Position) Filter {
	return filterFunc(func(s *selection) {
		if s.after.Compare(p) < 0 {
			s.after = p
		}
	})
}

// UpTo selects the events before p and the one at p.
func UpTo(p Position) Filter {
	return filterFunc(func(s *selection) {
		if s.dialect == backend.Postgres {
			s.where("(tx, position) <= (?, ?)", p.tx, p.seq)
		} else {
			s.where("position <= ?", p.seq)
		}
	})
}

// Types selects the events registered under these names.
func Types(names ...string) Filter {
	return filterFunc(func(s *selection) {
		var possible []string
		for _, name := range names {
			if storable(name) {
				possible = append(possible, name)
			}
		}
		if len(possible) == 0 {
			s.where("1 = 0")
			return
		}
		condition, args := in("type", possible)
		s.where(condition, args...)
	})
}

// storable reports whether every database accepts text. With any other text
// some drivers fail, and some find a different text.
func storable(text string) bool { return utf8.ValidString(text) && !strings.ContainsRune(text, 0) }

// in returns the condition that a column has one of values, which must not be
// empty.
func in(column string, values []string) (condition string, args []any) {
	for _, v := range values {
		args = append(args, v)
	}
	return column + " IN (?" + strings.Repeat(", ?", len(values)-1) + ")", args
}

// Since selects the events that occurred at t or later. Like all times here, t
// is truncated to microseconds.
func Since(t time.Time) Filter {
	return filterFunc(func(s *selection) { s.where("occurred_at >= ?", s.time(t)) })
}

// Before selects the events that occurred before t.
func Before(t time.Time) Filter {
	return filterFunc(func(s *selection) { s.where("occurred_at < ?", s.time(t)) })
}

// Correlation selects the events of a workflow.
func Correlation(id uuid.UUID) Filter {
	return filterFunc(func(s *selection) { s.where("correlation_id = ?", id.String()) })
}

// Causation selects the events published in the handlers of the event id.
func Causation(id uuid.UUID) Filter {
	return filterFunc(func(s *selection) { s.where("causation_id = ?", id.String()) })
}

// ID selects one event.
func ID(id uuid.UUID) Filter {
	return filterFunc(func(s *selection) { s.where("id = ?", id.String()) })
}

// Limit ends after n events, in the order of reading: immediately if n is not
// positive. Of several limits, the smallest applies.
func Limit(n int) Filter {
	return filterFunc(func(s *selection) {
		if s.limit == nil || n < *s.limit {
			s.limit = &n
		}
	})
}

// A selection is the WHERE clause built from filters.
type selection struct {
	dialect backend.Dialect
	after   Position
	limit   *int
	raw     bool // events are not decoded

	conditions []string
	args       []any
}

func (l *Log) selection(filters []Filter) *selection {
	s := &selection{dialect: l.dialect}
	for _, f := range filters {
		if f == nil {
			panic("eventlog: a nil Filter")
		}
		f.filter(s)
	}
	return s
}

// left returns how many events the limit allows, or -1 without a limit.
func (s *selection) left() int {
	if s.limit == nil {
		return -1
	}
	return max(*s.limit, 0)
}

// where adds a condition. Its placeholders are question marks.
func (s *selection) where(condition string, args ...any) {
	s.conditions = append(s.conditions, condition)
	s.args = append(s.args, args...)
}

// time returns t as the database stores it.
func (s *selection) time(t time.Time) any { return dbTime(s.dialect, t) }

// dbTime returns t as an argument for a dialect, to the microsecond. For
// Postgres it is text: some drivers round smaller fractions and some cut them
// off, and one takes the zero time for NULL.
func dbTime(dialect backend.Dialect, t time.Time) any {
	if dialect == backend.Postgres {
		return postgresTime(t)
	}
	return t.UnixMicro()
}

// postgresTime returns t as text, see
// https://www.postgresql.org/docs/current/datatype-datetime.html.
func postgresTime(t time.Time) string {
	t = t.UTC()
	if year := t.Year(); year <= 0 { // Postgres has no year 0: 1 BC is before 1
		return fmt.Sprintf("%04d%s BC", 1-year, t.Format("-01-02T15:04:05.999999Z07:00"))
	}
	return t.Format(recordedFormat)
}

// sql returns the clause, "" if everything is selected, and its arguments.
// extra are conditions without arguments.
func (s *selection) sql(after Position, extra ...string) (string, []any) {
	conditions, args := append(s.conditions[:len(s.conditions):len(s.conditions)], extra...), s.args
	if after != (Position{}) {
		args = args[:len(args):len(args)]
		if s.dialect == backend.Postgres {
			conditions, args = append(conditions, "(tx, position) > (?, ?)"), append(args, after.tx, after.seq)
		} else {
			conditions, args = append(conditions, "position > ?"), append(args, after.seq)
		}
	}
	if len(conditions) == 0 {
		return "", args
	}
	return " WHERE " + bind(s.dialect, strings.Join(conditions, " AND ")), args
}

// bind writes placeholders in the form of the dialect.
func bind(dialect backend.Dialect, query string) string {
	if dialect == backend.SQLite {
		return query
	}
	var b strings.Builder
	for i, part := range strings.Split(query, "?") {
		if i > 0 {
			fmt.Fprintf(&b, "$%d", i)
		}
		b.WriteString(part)
	}
	return b.String()
}
