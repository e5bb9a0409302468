package tidings_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unique"

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

type (
	token struct {
		tidings.DomainEvent
		uuid.UUID
		Owner string
	}
	due struct {
		tidings.DomainEvent
		time.Time
		owner string
	}
	tagged struct {
		tidings.DomainEvent
		tidings.List[string]
		Owner string
	}
	addressed struct { // what it embeds refuses what is made up for it
		tidings.DomainEvent
		strict
		Owner string
	}
	strict struct{ text string }
	// dated embeds what only reads itself.
	dated struct {
		tidings.DomainEvent
		Lenient
		Owner string
	}
	Lenient struct{ At int }
	nested  struct {
		Due  stampOf
		Note string
	}
	stampOf struct {
		uuid.UUID
		By string
	}
	named   int    // has a text and cannot read it
	secret  string // hides itself
	cents   int64  // writes cents and reads euros
	hexed   string // writes hexadecimal digits and reads them as text
	amount  struct{ Cents int64 }
	onlyKey int
	byPtr   int
	booked  struct {
		tidings.DomainEvent
		Cents int64
	}
	shadows struct {
		tidings.DomainEvent
		base
		ID int64
	}
	ambiguous struct {
		tidings.DomainEvent
		A int `json:"B"`
		B int
	}
	twice struct {
		tidings.DomainEvent
		uuid.UUID
		time.Time
	}
	pointsTo struct {
		tidings.DomainEvent
		*base
	}
	embedsWord struct {
		tidings.DomainEvent
		word
	}
	word string
)

func (s strict) MarshalText() ([]byte, error) {
	if s.text != "valid" {
		return nil, errors.New("not valid")
	}
	return []byte(s.text), nil
}

func (s *strict) UnmarshalText(text []byte) error { s.text = string(text); return nil }

func (l *Lenient) UnmarshalJSON(data []byte) error {
	var v struct{ At int }
	err := json.Unmarshal(data, &v)
	l.At = v.At
	return err
}

func (n named) MarshalText() ([]byte, error)  { return []byte([]string{"open", "closed"}[n]), nil }
func (secret) MarshalText() ([]byte, error)   { return []byte("***"), nil }
func (c cents) MarshalJSON() ([]byte, error)  { return strconv.AppendInt(nil, int64(c), 10), nil }
func (h hexed) MarshalText() ([]byte, error)  { return hex.AppendEncode(nil, []byte(h)), nil }
func (h *hexed) UnmarshalText(t []byte) error { *h = hexed(t); return nil }
func (a amount) MarshalJSON() ([]byte, error) { return fmt.Appendf(nil, "%d", a.Cents), nil }
func (k onlyKey) MarshalText() ([]byte, error) {
	return fmt.Appendf(nil, "key %d", k), nil
}
func (p *byPtr) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "no. %d", *p), nil }
func (p *byPtr) UnmarshalText(t []byte) error {
	_, err := fmt.Sscanf(string(t), "no. %d", p)
	return err
}

func (c *cents) UnmarshalJSON(data []byte) error {
	euros, err := strconv.ParseInt(string(data), 10, 64)
	*c = cents(euros * 100)
	return err
}

func TestTypesThatWouldNotComeBackAreRefused(t *testing.T) {
	t.Parallel()
	now := time.Now().Round(0).UTC()
	const alone = "which it embeds and which write or read that field alone: give the field a name, or"
	for _, tt := range []shapeCase{
		shapeOf("an embedded UUID", token{UUID: uuid.New(), Owner: "ada"}).because("it has the methods of uuid.UUID, " + alone + " tidings_test.token methods of its own"),
		shapeOf("an embedded time, and a field that is not exported", due{Time: now, owner: "ada"}).because("it has the methods of time.Time, " + alone),
		shapeOf("an embedded List", tagged{List: tidings.ListOf("a"), Owner: "ada"}).because("it has the methods of tidings.List[string], " + alone),
		shapeOf("an embedded type that only reads itself", dated{Lenient: Lenient{1}, Owner: "ada"}).because("it has the methods of tidings_test.Lenient, " + alone),
		fieldsOf("the same in a field", nested{Due: stampOf{uuid.New(), "ada"}}).because("its field Field.Due of type tidings_test.stampOf has the methods of uuid.UUID"),
		fieldsOf("the same in a List", tidings.ListOf(stampOf{uuid.New(), "ada"})).because("its field Field[] of type tidings_test.stampOf has the methods of uuid.UUID"),
		shapeOf("two embedded types", twice{UUID: uuid.New(), Time: now}).because("it has the methods of time.Time, " + alone),

		fieldsOf("a text that is not read", named(1)).because("its field Field of type tidings_test.named has a method MarshalText and no UnmarshalText that reads what is written: add it"),
		fieldsOf("a text that hides the value", secret("x")).because("has a method MarshalText and no UnmarshalText"),
		fieldsOf("JSON that is not read", amount{5}).because("its field Field of type tidings_test.amount has a method MarshalJSON and no UnmarshalJSON that reads what is written: add it"),
		fieldsOf("methods that are not inverse", cents(5)).because("its field Field of type tidings_test.cents: it writes"),
		fieldsOf("methods of text that are not inverse", hexed("x")).because("its methods have to be each other's inverse"),
		fieldsOf("a big.Int in a map", map[string]big.Int{"a": *big.NewInt(5)}).because("its field Field[] of type big.Int is in a map, where encoding/json does not call the methods of *big.Int that write it: use *big.Int"),
		fieldsOf("deeper in a map", map[string][2]struct{ N big.Int }{"a": {{*big.NewInt(5)}}}).because("its field Field[][].N of type big.Int is in a map"),
		fieldsOf("a key that is not read", map[onlyKey]int{1: 1}).because("its field Field (key) of type tidings_test.onlyKey is the key of a map and not both written and read"),
		fieldsOf("a key with methods of the pointer", map[byPtr]int{1: 1}).because("is the key of a map"),
		fieldsOf("a key that is a struct", map[pair[int]]int{{1, 2}: 1}).because("is the key of a map"),

		fieldsOf("an event in an event", tidings.Stamp(t.Context(), booked{Cents: 5})).because("its field Field.DomainEvent of type tidings.DomainEvent is the header of an event, which has no JSON of its own: store the EventID"),
		fieldsOf("events in a List", tidings.ListOf(tidings.Stamp(t.Context(), booked{Cents: 5}))).because("its field Field[].DomainEvent"),
		fieldsOf("a header", tidings.Stamp(t.Context(), booked{}).DomainEvent).because("its field Field of type tidings.DomainEvent is the header"),
		fieldsOf("an event behind an interface", tidings.Event(tidings.Stamp(t.Context(), booked{}))).because("is an interface with methods"),
		fieldsOf("an interface with methods", fmt.Stringer(time.Second)).because("its field Field of type fmt.Stringer is an interface with methods"),
		fieldsOf("an error", errDeclined).because("its field Field of type error is an interface with methods"),

		fieldsOf("a field that is not exported", struct{ note string }{"x"}).because("encoding/json leaves out its field Field.note of type string, which is not exported: export it, or tag it `json:\"-\"` if it is not to be kept"),
		fieldsOf("one of another package", url.URL{Host: "x", User: url.User("ada")}).because("its field Field.User.username"),
		fieldsOf("a unique.Handle", unique.Make("x")).because("its field Field.value"),
		shapeOf("an embedded type that is no struct and not exported", embedsWord{word: "x"}).because("encoding/json leaves out its field word"),
		shapeOf("a pointer to a type that is not exported", pointsTo{base: &base{ID: 1}}).because("encoding/json cannot set its field base of type *tidings_test.base"),
		shapeOf("a field that hides one of an embedded struct", shadows{base: base{ID: 1}, ID: 2}).because(`its fields base.ID and ID are both "ID" in JSON`),
		shapeOf("two fields of one name", ambiguous{A: 1, B: 2}).because(`its fields A and B are both "B" in JSON`),
		fieldsOf("a function", func() {}).because("its field Field of type func() cannot be written by encoding/json"),
		fieldsOf("a channel in a struct in a slice", []struct{ C chan int }{{make(chan int)}}).because("its field Field[].C of type chan int cannot be written"),
		fieldsOf("a complex number", 1i).because("its field Field of type complex128 cannot be written"),
		fieldsOf[struct {
			C colour `json:",string"`
		}]("a text in a text, which Go 1.26 writes and does not read").because(`its field Field.C of type tidings_test.colour has the tag option "string"`),
	} {
		t.Run(tt.reason, func(t *testing.T) {
			for _, event := range tt.events {
				v := reflect.New(reflect.TypeOf(event))
				v.Elem().Set(reflect.ValueOf(event))
				v.Elem().FieldByName("DomainEvent").SetZero() // it is stored beside the JSON
				if data, err := json.Marshal(v.Interface()); err == nil {
					back := reflect.New(v.Type().Elem())
					_ = json.Unmarshal(data, back.Interface())
					require.NotEqual(t, v.Elem().Interface(), back.Elem().Interface(), "it is right to refuse it: %s", data)
				}
			}
			r := &tidings.Registry{}
			tt.register(r)
			require.ErrorContains(t, r.Validate(), tt.want)
			for _, event := range tt.events {
				data, err := r.Encode(event)
				require.ErrorContains(t, err, tt.want)
				require.Nil(t, data)
			}
			require.NoError(t, r.Decodable("shop.shape", 1), "what was stored once can be read")
		})
	}
}

// type whose values alone show what is lost.
type (
	optional struct {
		Amount price `json:",omitzero"`
	}
	price struct { // says that it is zero although it has a currency
		Cents    int64
		Currency string
	}
	scaled struct{ Units, Scale int } // 0 is 0, whatever the scale
	blob   []byte                     // text of any bytes
	inside struct{ name string }      // writes by encoding/json itself
)

func (p price) IsZero() bool { return p.Cents == 0 }

func (s scaled) IsZero() bool        { return s.Units == 0 }
func (s scaled) Equal(o scaled) bool { return s.Units == o.Units }

func (b blob) MarshalText() ([]byte, error)  { return b, nil }
func (b *blob) UnmarshalText(t []byte) error { *b = blob(bytes.Clone(t)); return nil }

func (i inside) MarshalJSON() ([]byte, error) { return json.Marshal(map[string]string{"name": i.name}) }
func (i *inside) UnmarshalJSON(data []byte) error {
	var v map[string]string
	err := json.Unmarshal(data, &v)
	i.name = v["name"]
	return err
}

func TestValuesThatWouldNotComeBackAreErrors(t *testing.T) {
	t.Parallel()
	const bad = "caf\xe9"
	amsterdam := time.FixedZone("LMT", 19*60+32)
	old := time.Date(1930, 3, 1, 9, 30, 0, 0, amsterdam)
	var noTags []string
	noText := (*string)(nil)
	for _, tt := range []shapeCase{
		fieldsOf("a string", bad).because("its field Field is not UTF-8"),
		fieldsOf("a named string", word(bad)).because("its field Field is not UTF-8"),
		fieldsOf("a string beside U+FFFD", "\ufffd"+bad).because("its field Field is not UTF-8"),
		fieldsOf("half of a surrogate pair", "\xed\xa0\x80").because("its field Field is not UTF-8"),
		fieldsOf("a field in a field", nested2{Inner: struct{ Text string }{bad}}).because("its field Field.Inner.Text is not UTF-8"),
		shapeOf("a field of an embedded struct", onBase{Extra: &Extra{bad}}).because("its field Extra.Note is not UTF-8"),
		fieldsOf("an element", []string{"a", bad}).because("its field Field[1] is not UTF-8"),
		fieldsOf("an element of an array", [2]string{"a", bad}).because("its field Field[1] is not UTF-8"),
		fieldsOf("an element of a List", tidings.ListOf(struct{ A string }{bad})).because("its field Field[0].A is not UTF-8"),
		fieldsOf("a List of Lists", tidings.ListOf(tidings.ListOf(bad))).because("its field Field[0][0] is not UTF-8"),
		fieldsOf("a key", map[string]int{bad: 1}).because(`its field Field["caf\xe9"] is not UTF-8`),
		fieldsOf("a value in a map", map[string]string{"a": bad}).because(`its field Field["a"] is not UTF-8`),
		fieldsOf("a List in a map", map[int]tidings.List[string]{7: tidings.ListOf(bad)}).because(`its field Field["7"][0] is not UTF-8`),
		fieldsOf("behind a pointer", &[]string{bad}[0]).because("its field Field is not UTF-8"),
		fieldsOf("in an interface", any(bad)).because("its field Field is not UTF-8"),
		fieldsOf("deep in an interface", any(map[string]any{"a": []any{bad}})).because(`its field Field["a"][0] is not UTF-8`),
		fieldsOf("a key in an interface", any(map[string]any{bad: 1.0})).because(`is not UTF-8`),
		fieldsOf("with the tag option string", struct {
			A string `json:",string"`
		}{bad}).because("its field Field.A is not UTF-8"),
		fieldsOf("a ring", linked{"a", &linked{Name: bad}}).because("its field Field.Next.Name is not UTF-8"),
		fieldsOf("what a MarshalText writes", blob(bad)).because("UTF-8"),
		fieldsOf("the same as a value of a map", map[string]blob{"a": blob(bad)}).because("UTF-8"),
		fieldsOf("what a MarshalJSON writes", json.RawMessage(`"`+bad+`"`)).because("UTF-8"),
		fieldsOf("what a MarshalJSON writes by encoding/json", inside{bad}).because("its field Field is not UTF-8"),
		fieldsOf("the same in a List", tidings.ListOf(inside{"a"}, inside{bad})).because("its field Field[1] is not UTF-8"),

		fieldsOf("a time before there were time zones", old).because(`its field Field is 1930-03-01 09:30:00 in the zone LMT, whose offset has seconds, which a time in JSON does not: use UTC`),
		fieldsOf("one in a List", tidings.ListOf(old)).because("its field Field[0] is 1930"),
		fieldsOf("one in a map", map[string]time.Time{"a": old}).because(`its field Field["a"] is 1930`),
		fieldsOf("one behind a pointer", &old).because("its field Field is 1930"),
		fieldsOf("one in sql.Null", sql.NullTime{Time: old, Valid: true}).because("its field Field.Time is 1930"),
		fieldsOf("one in a struct that embeds it", moment{old}).because("its field Field.Time is 1930"),
		fieldsOf("a time of too many digits", time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)).because("tidings: encoding"),
		shapeOf("an event that is a time", noticed{Time: old}).because("its field Time is 1930"),

		fieldsOf("an integer in an interface", any(7)).because("its field Field is an interface and holds a int, which is read back as another type: let it hold string, float64, bool, []any or map[string]any, or give it a type"),
		fieldsOf("a struct in an interface", any(price{1, "EUR"})).because("holds a tidings_test.price"),
		fieldsOf("a slice of strings in a map of anything", map[string]any{"a": []string{"b"}}).because(`its field Field["a"] is an interface and holds a []string`),
		fieldsOf("a pointer in an interface", any(new(string))).because("holds a *string"),
		fieldsOf("a named string in an interface", any(word("x"))).because("holds a tidings_test.word"),
		fieldsOf("an event in an interface", any(tidings.Stamp(t.Context(), booked{}))).because("holds a tidings_test.booked"),
		fieldsOf("a pointer to nil", &noText).because("its field Field is a pointer to nil, which is read back as a nil pointer"),
		fieldsOf("a pointer to a nil slice", &noTags).because("its field Field is a pointer to nil"),
		fieldsOf("a value that says it is zero", optional{price{0, "EUR"}}).because(`its field Field.Amount is left out since its IsZero says so, and is read back as zero: remove the tag option "omitzero"`),
		fieldsOf("not a number", math.NaN()).because("tidings: encoding"),
		fieldsOf("an infinite one", float32(math.Inf(-1))).because("tidings: encoding"),
		shapeOf("an embedded type that Register could not try", addressed{strict: strict{"valid"}, Owner: "ada"}).because("its field Owner is lost when it is read back"),
		fieldsOf("methods that are not inverse, which Register could not try", shaken{"valid"}).because("it cannot be read back: "),
	} {
		t.Run(tt.reason, func(t *testing.T) {
			r := &tidings.Registry{}
			tt.register(r)
			for _, event := range tt.events {
				for range 2 {
					data, err := r.Encode(event)
					require.ErrorContains(t, err, tt.want)
					require.Nil(t, data)
				}
			}
		})
	}
}

type (
	nested2 struct{ Inner struct{ Text string } }
	// A shaken writes an object and reads a text.
	shaken struct{ text string }
)

func (s shaken) MarshalJSON() ([]byte, error) {
	if s.text == "" {
		return nil, errors.New("no text")
	}
	return json.Marshal(map[string]string{"text": s.text})
}

func (s *shaken) UnmarshalJSON(data []byte) error { return json.Unmarshal(data, &s.text) }

// What could be lost in other values, and is not in these.
func TestValuesThatComeBackAreWritten(t *testing.T) {
	t.Parallel()
	for _, tt := range []shapeCase{
		fieldsOf("U+FFFD itself", "\ufffd"),
		fieldsOf("U+FFFD in what a MarshalText writes", blob("\ufffd"), blob(`\ufffd`)),
		fieldsOf("U+FFFD in what writes by encoding/json", inside{"\ufffd"}),
		fieldsOf("a zone without seconds", struct {
			At time.Time
			N  int
		}{time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC), 1}),
		fieldsOf("a value that is zero", optional{}, optional{price{1, "EUR"}}),
		fieldsOf("a value that equals zero", struct {
			N scaled `json:",omitzero"`
		}{scaled{1, 2}}),
	} {
		t.Run(tt.reason, func(t *testing.T) { tt.requireSame(t) })
	}
	r := &tidings.Registry{}
	type scale struct {
		tidings.DomainEvent
		N scaled `json:",omitzero"`
	}
	tidings.Register[scale](r, "shop.scale", 1)
	_, err := r.Encode(tidings.Stamp(t.Context(), scale{N: scaled{0, 2}}))
	require.NoError(t, err, "it is equal to zero, as its Equal says")
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
