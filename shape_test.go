package tidings_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
)

// record is an event with one field, of type T. What it shares with its
// copies does not matter here.
type record[T any] struct {
	tidings.DomainEvent
	Field T
}

// A shapeCase registers and writes an event of one type.
type shapeCase struct {
	register func(*tidings.Registry)
	events   []tidings.Event
	want     string // part of the error's text
	reason   string
}

func shapeOf[E tidings.Event](reason string, events ...E) shapeCase {
	c := shapeCase{register: func(r *tidings.Registry) { tidings.Register[E](r, "shop.shape", 1) }, reason: reason}
	for _, e := range events {
		c.events = append(c.events, tidings.Stamp(context.Background(), e))
	}
	return c
}

// fieldsOf is shapeOf an event with one field.
func fieldsOf[T any](reason string, values ...T) shapeCase {
	var events []record[T]
	for _, v := range values {
		events = append(events, record[T]{Field: v})
	}
	return shapeOf(reason, events...)
}

func (c shapeCase) because(want string) shapeCase {
	c.want = want
	return c
}

type (
	// An email refuses what is no address, also what Register makes up.
	email string
	// A colour is known by its name, and has none by default.
	colour int
	// A status has a name for every number.
	status int
	// A money is a value with unexported fields and both methods.
	money struct {
		cents    int64
		currency string
	}
	// A day cuts what it is given to a day.
	day struct{ at time.Time }
	// A moment has the methods of what it embeds, and nothing else.
	moment struct{ time.Time }
	// A maybe embeds a time, and has methods of its own.
	maybe struct {
		time.Time
		Valid bool
	}
	// A flexible reads a number as text too, and writes it as it comes.
	flexible int
	// Lines are never null, and need no method to be read.
	lines []string
	// A summed one writes a field more than it reads.
	summed struct {
		A, B int
	}
	// A shape of several kinds writes and reads itself.
	drawing  struct{ drawable }
	drawable interface{ area() int }
	square   struct{ Side int }
	circle   struct{ Radius int }
	// A loud flag writes itself by methods of its pointer.
	loud byte

	pair[T any] struct{ Value, Other T }

	linked struct {
		Name string
		Next *linked
	}
	base struct {
		ID      int64
		Created time.Time
	}
	onBase struct {
		tidings.DomainEvent
		base
		*Extra
		Name string `json:"name,omitempty"`
	}
	Extra  struct{ Note string }
	mailed struct {
		tidings.DomainEvent
		tidings.List[string]
		Owner string
	}
	noticed struct { // its data is a time, and its header is kept beside it
		tidings.DomainEvent
		time.Time
	}
	partial struct {
		tidings.DomainEvent
		_ [0]func()
		//lint:ignore U1000 that it is left out is what the case is about
		note string   `json:"-"`
		Done chan int `json:"-"`
		Text string
	}
)

func (e email) MarshalText() ([]byte, error) {
	if !strings.Contains(string(e), "@") {
		return nil, errors.New("no address")
	}
	return []byte(strings.ToLower(string(e))), nil
}

func (e *email) UnmarshalText(text []byte) error {
	if !strings.Contains(string(text), "@") {
		return errors.New("no address")
	}
	*e = email(text)
	return nil
}

var colours = []string{"red", "green"}

func (c colour) MarshalText() ([]byte, error) { return []byte(colours[c-1]), nil }

func (c *colour) UnmarshalText(text []byte) error {
	*c = colour(slices.Index(colours, string(text)) + 1)
	if *c == 0 {
		return fmt.Errorf("no colour: %s", text)
	}
	return nil
}

func (s status) MarshalJSON() ([]byte, error) {
	if s > 1 {
		return []byte(`"unknown"`), nil
	}
	return json.Marshal([]string{"open", "closed"}[s])
}

func (s *status) UnmarshalJSON(data []byte) error {
	*s = 0
	if string(data) == `"closed"` {
		*s = 1
	}
	return nil
}

func (m money) MarshalText() ([]byte, error) {
	return fmt.Appendf(nil, "%d %s", m.cents, m.currency), nil
}

func (m *money) UnmarshalText(text []byte) error {
	n, err := fmt.Sscanf(string(text), "%d %s", &m.cents, &m.currency)
	if n == 2 {
		return nil
	}
	return err
}

func (d day) MarshalText() ([]byte, error) { return []byte(d.at.Format(time.DateOnly)), nil }
func (d *day) UnmarshalText(text []byte) (err error) {
	d.at, err = time.Parse(time.DateOnly, string(text))
	return err
}

func (m maybe) MarshalJSON() ([]byte, error) {
	if !m.Valid {
		return []byte("null"), nil
	}
	return m.Time.MarshalJSON()
}

func (m *maybe) UnmarshalJSON(data []byte) error {
	m.Valid = string(data) != "null"
	if !m.Valid {
		return nil
	}
	return m.Time.UnmarshalJSON(data)
}

func (f *flexible) UnmarshalJSON(data []byte) error {
	n, err := strconv.Atoi(string(bytes.Trim(data, `"`)))
	*f = flexible(n)
	return err
}

func (l lines) MarshalJSON() ([]byte, error) {
	if l == nil {
		return []byte("[]"), nil
	}
	return json.Marshal([]string(l))
}

func (s summed) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, `{"A":%d,"B":%d,"Sum":%d}`, s.A, s.B, s.A+s.B), nil
}

func (s square) area() int { return s.Side * s.Side }
func (c circle) area() int { return 3 * c.Radius * c.Radius }

func (d drawing) MarshalJSON() ([]byte, error) {
	switch s := d.drawable.(type) {
	case square:
		return fmt.Appendf(nil, `{"square":%d}`, s.Side), nil
	case circle:
		return fmt.Appendf(nil, `{"circle":%d}`, s.Radius), nil
	}
	return nil, errors.New("no drawing")
}

func (d *drawing) UnmarshalJSON(data []byte) error {
	var sizes map[string]int
	err := json.Unmarshal(data, &sizes)
	for kind, size := range sizes {
		if d.drawable = (square{size}); kind == "circle" {
			d.drawable = circle{size}
		}
	}
	return err
}

func (l *loud) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%d!", *l), nil }
func (l *loud) UnmarshalText(text []byte) error {
	_, err := fmt.Sscanf(string(text), "%d!", l)
	return err
}

func (e mailed) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		To    tidings.List[string]
		Owner string
	}{e.List, e.Owner})
}

func (e *mailed) UnmarshalJSON(data []byte) error {
	var v struct {
		To    tidings.List[string]
		Owner string
	}
	err := json.Unmarshal(data, &v)
	e.List, e.Owner = v.To, v.Owner
	return err
}

func TestTypesThatComeBackAreAccepted(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 9, 30, 0, 123456789, time.UTC)
	abroad := time.Date(2026, 3, 1, 9, 30, 0, 0, time.FixedZone("", -5*3600-30*60))
	text, none := "x", (*string)(nil)
	for _, tt := range []shapeCase{
		fieldsOf("an integer", int64(1<<53+1), -1),
		fieldsOf("an unsigned one", uint64(1<<63+1)),
		fieldsOf("a duration", time.Hour),
		fieldsOf("text with what JSON escapes", "\u2028 <&> \x00 \ufffd \\ufffd ü"),
		fieldsOf("a float", 0.1, 1e300),
		fieldsOf("a float32", float32(0.1)),
		fieldsOf("bytes, in base64", []byte{1, 255}),
		fieldsOf("an array", [3]int8{1, -2, 3}),
		fieldsOf("a slice", []string{"a", ""}),
		fieldsOf("a nested struct", base{ID: 7, Created: at}),
		fieldsOf("an anonymous struct", struct{ A, B string }{"a", "b"}),
		fieldsOf("a map", map[string]int{"a": 1}),
		fieldsOf("a map by number", map[int64]bool{-7: true}),
		fieldsOf("a map by UUID", map[uuid.UUID]string{uuid.New(): "x"}),
		fieldsOf("a map by a type with a name", map[colour]int{1: 1}),
		fieldsOf("a map of maps", map[string]map[string][]byte{"a": {"b": {1}}}),
		fieldsOf("a map of pointers to what writes itself so", map[string]*big.Int{"a": big.NewInt(5)}),
		fieldsOf("a pointer", &text, none),
		fieldsOf("a pointer to a type with methods", &money{5, "EUR"}),
		fieldsOf("a ring of types", linked{"a", &linked{Name: "b"}}),
		fieldsOf("a List of what holds it", tree{Name: "a", Children: tidings.ListOf(tree{Name: "b"})}),
		fieldsOf("a List", tidings.ListOf("a", "b"), tidings.List[string]{}),
		fieldsOf("a List of bytes", tidings.ListOf[byte](0, 255)),
		fieldsOf("a List of bytes with methods of the pointer", tidings.ListOf[loud](1, 2)),
		fieldsOf("a slice of bytes with methods of the pointer", []loud{1, 2}),
		fieldsOf("a List of structs", tidings.ListOf(base{Created: at}, base{ID: 1, Created: abroad.UTC()})),
		fieldsOf("a time", at),
		fieldsOf("a UUID", uuid.New(), uuid.Nil),
		fieldsOf("a UUID or none", uuid.NullUUID{UUID: uuid.New(), Valid: true}, uuid.NullUUID{}),
		fieldsOf("an address", netip.MustParseAddr("2001:db8::1"), netip.Addr{}),
		fieldsOf("an IP that refuses most bytes", net.IPv4(10, 0, 0, 1)),
		fieldsOf("a big.Int by value", *big.NewInt(5)),
		fieldsOf("a level", slog.LevelWarn),
		fieldsOf("JSON as it is", json.RawMessage(`{"a":1}`)),
		fieldsOf("a number as it is written", json.Number("12345678901234567890")),
		fieldsOf("sql.NullString", sql.NullString{String: "x", Valid: true}, sql.NullString{}),
		fieldsOf("sql.Null", sql.Null[time.Time]{V: at, Valid: true}),
		fieldsOf("anything that is JSON", any("x"), any(1.5), any(nil), any(map[string]any{"a": []any{true, "b", nil}})),
		fieldsOf("a map of anything", map[string]any{"a": "b"}),
		fieldsOf("text that is checked", email("ada@example.org")),
		fieldsOf("an enumeration without a zero", colour(1), 2),
		fieldsOf("an enumeration whose other values are one", status(0), 1),
		fieldsOf("a value type", money{500, "EUR"}),
		fieldsOf("a type that cuts what it is given", day{time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)}),
		fieldsOf("a struct that is the time it embeds", moment{at}),
		fieldsOf("a struct with methods of its own beside those it embeds", maybe{at, true}, maybe{}),
		fieldsOf("a type that reads more than it writes", flexible(7)),
		fieldsOf("a type that writes what is read without it", lines{"a"}),
		fieldsOf("a type that writes more than is read", summed{1, 2}),
		fieldsOf("a sum type", drawing{square{2}}, drawing{circle{3}}),
		fieldsOf("a generic struct", pair[pair[int]]{Value: pair[int]{Other: 1}}),
		fieldsOf("tags", struct {
			A int   `json:"a,omitempty"`
			B int64 `json:",string"`
			//lint:ignore SA5008 the name "-" is what the case is about
			C string `json:"-,"`
			D *bool  `json:"d,omitzero"`
			E string `json:"E"`
			F string `json:"e"`
			G string `json:",string"`
		}{B: 1 << 62, C: "c", E: "1", F: "2", G: "g"}),
		fieldsOf("a time that is left out if it is zero", struct {
			At time.Time `json:",omitzero"`
		}{}),
		shapeOf("embedded structs", onBase{base: base{ID: 1, Created: at}, Extra: &Extra{"x"}, Name: "n"}, onBase{}),
		shapeOf("an event with methods of its own beside those it embeds", mailed{List: tidings.ListOf("a"), Owner: "ada"}),
		shapeOf("an event that is what it embeds", noticed{Time: at}),
		shapeOf("an event without fields", struct{ tidings.DomainEvent }{}),
		shapeOf("fields that say that they are not kept", partial{Text: "kept"}),
	} {
		t.Run(tt.reason, func(t *testing.T) { tt.requireSame(t) })
	}
}

func (c shapeCase) requireSame(t *testing.T) {
	t.Helper()
	r := &tidings.Registry{}
	c.register(r)
	require.NoError(t, r.Validate())
	for _, event := range c.events {
		for range 2 { // the first event of a type may be looked at more closely
			data, err := r.Encode(event)
			require.NoError(t, err)
			back, err := r.Decode(data)
			require.NoError(t, err)
			require.Equal(t, event, back, "%s", data)
		}
	}
}
