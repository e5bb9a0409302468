package tidings_test

import (
	"bytes"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"net/url"
	"reflect"
	"strconv"
	"testing"
	"time"
	"unique"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
)

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
