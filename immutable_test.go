package tidings_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"
	"unique"
	"unsafe"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
)

// shares is the row of an event that could share memory of type typ in the
// field at path.
func shares[E tidings.Event](reason, path, typ, remedy string) badType {
	var event E
	name := fmt.Sprintf("%T", event)
	return bad(reason, fmt.Sprintf("tidings: handlers of %s would share memory through its field %s of type %s: %sgive %s a method Clone() %s that copies deeply, or declare the type immutable with tidings.WithImmutable[%s]()",
		name, path, typ, remedy, name, name, typ), event)
}

type (
	hidden struct {
		tidings.DomainEvent
		N    int
		tags []string
	}
	address struct {
		Street string
		Notes  map[string]string
	}
	moved struct {
		tidings.DomainEvent
		Customer struct {
			Name    string
			Address address
		}
	}
	mixin struct {
		Tags []string
	}
	mixed struct {
		tidings.DomainEvent
		mixin
	}
	embedsStringer struct {
		tidings.DomainEvent
		fmt.Stringer
	}
	tree struct {
		Name     string
		Children tidings.List[tree]
	}
	mutableTree struct {
		Children tidings.List[mutableTree]
		Data     []byte
	}
	ping struct{ Pongs tidings.List[pong] }
	pong struct{ Pings tidings.List[ping] }
	ids  []int64

	cloneOfBase struct {
		tidings.DomainEvent
		Tags []string
	}
	inheritsClone struct {
		cloneOfBase
		More []string
	}
	clonesWrongly struct {
		tidings.DomainEvent
		Tags []string
	}
	clonesByPointer struct {
		tidings.DomainEvent
		Tags []string
	}
)

func (h hidden) Tags() []string { return h.tags }

func (e cloneOfBase) Clone() cloneOfBase {
	e.Tags = slices.Clone(e.Tags)
	return e
}

func (e clonesWrongly) Clone() (clonesWrongly, error) { return e, nil }

func (e *clonesByPointer) Clone() clonesByPointer { return *e }

func TestSharedMemoryIsRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []badType{
		shares[holding[*int]]("a pointer", "Field", "*int", ""),
		shares[holding[[]string]]("a slice", "Field", "[]string", "use a tidings.List[string], or "),
		shares[holding[ids]]("a named slice", "Field", "tidings_test.ids", "use a tidings.List[int64], or "),
		shares[holding[json.RawMessage]]("a slice of bytes", "Field", fmt.Sprintf("%T", json.RawMessage{}), "use a tidings.List[uint8], or "),
		shares[holding[map[string]int]]("a map", "Field", "map[string]int", ""),
		shares[holding[chan int]]("a channel", "Field", "chan int", ""),
		shares[holding[func()]]("a function, which may close over memory", "Field", "func()", ""),
		shares[holding[any]]("an interface, which may hold a pointer", "Field", "interface {}", ""),
		shares[holding[error]]("an interface with methods", "Field", "error", ""),
		shares[holding[unsafe.Pointer]]("an unsafe pointer", "Field", "unsafe.Pointer", ""),
		shares[holding[[2]*int]]("an array of pointers", "Field[]", "*int", ""),
		shares[holding[[2][3]address]]("arrays of arrays of structs", "Field[][].Notes", "map[string]string", ""),
		shares[moved]("a struct in a struct", "Customer.Address.Notes", "map[string]string", ""),
		shares[hidden]("an unexported field: a method may give it away", "tags", "[]string", "use a tidings.List[string], or "),
		shares[mixed]("an embedded struct", "mixin.Tags", "[]string", "use a tidings.List[string], or "),
		shares[embedsStringer]("an embedded interface", "Stringer", "fmt.Stringer", ""),
		shares[holding[tidings.List[*int]]]("a List, whose elements are not cloned", "Field[]", "*int", ""),
		shares[holding[tidings.List[[]string]]]("a List of slices", "Field[]", "[]string", "use a tidings.List[string], or "),
		shares[holding[tidings.List[address]]]("a List of structs", "Field[].Notes", "map[string]string", ""),
		shares[holding[mutableTree]]("a List that leads back to its struct", "Field.Data", "[]uint8", "use a tidings.List[uint8], or "),
		shares[holding[sql.Null[[]string]]]("a generic struct of another package", "Field.V", "[]string", "use a tidings.List[string], or "),
		shares[holding[atomic.Pointer[int]]]("an atomic pointer", "Field.v", "unsafe.Pointer", ""),
		shares[holding[unique.Handle[*int]]]("a Handle, whose Value is a pointer", "Field.Value()", "*int", ""),
		shares[inheritsClone]("a Clone that was promoted and drops fields", "cloneOfBase.Tags", "[]string", "use a tidings.List[string], or "),
		bad("a Clone that the bus cannot call on its copy", "tidings: handlers of tidings_test.clonesByPointer would share memory through its field Tags of type []string: use a tidings.List[string], or let the method Clone() tidings_test.clonesByPointer have a value receiver, or declare the type immutable with tidings.WithImmutable[[]string]()", clonesByPointer{}),
		shares[clonesWrongly]("a Clone of another form", "Tags", "[]string", "use a tidings.List[string], or "),
	} {
		t.Run(tt.reason, func(t *testing.T) { tt.requireRefused(t) })
	}
}

// accepts is the row of an event that shares nothing.
func accepts[T any](reason string) (string, func(*testing.T)) {
	return reason, func(t *testing.T) { requireStamped(t, holding[T]{}) }
}

func TestTypesThatShareNothing(t *testing.T) {
	t.Parallel()
	type money struct {
		Cents    int64
		Currency [3]byte
	}
	for reason, check := range maps.Collect(func(yield func(string, func(*testing.T)) bool) {
		_ = yield(accepts[string]("strings cannot be changed")) &&
			yield(accepts[complex128]("numbers")) &&
			yield(accepts[uintptr]("a uintptr refers to nothing")) &&
			yield(accepts[[4]money]("arrays and structs of them")) &&
			yield(accepts[time.Time]("time.Time, whose pointer leads to a Location that never changes")) &&
			yield(accepts[time.Duration]("time.Duration")) &&
			yield(accepts[uuid.UUID]("uuid.UUID")) &&
			yield(accepts[uuid.NullUUID]("uuid.NullUUID")) &&
			yield(accepts[netip.Addr]("netip.Addr, whose pointer leads to an interned zone")) &&
			yield(accepts[netip.AddrPort]("netip.AddrPort")) &&
			yield(accepts[netip.Prefix]("netip.Prefix")) &&
			yield(accepts[unique.Handle[string]]("unique.Handle of a string")) &&
			yield(accepts[unique.Handle[netip.Addr]]("unique.Handle of a known type")) &&
			yield(accepts[sql.Null[time.Time]]("sql.Null of a known type")) &&
			yield(accepts[tidings.List[string]]("a List")) &&
			yield(accepts[tidings.List[tidings.List[money]]]("a List of Lists")) &&
			yield(accepts[tree]("a List of the struct that holds it")) &&
			yield(accepts[ping]("Lists of two structs that hold each other")) &&
			yield(accepts[clientCreated]("another event")) &&
			yield(accepts[[0]func()]("an array without elements, which forbids ==")) &&
			yield(accepts[atomic.Int64]("an atomic number, of which everybody has a copy"))
	}) {
		t.Run(reason, check)
	}
}

func TestWithImmutable(t *testing.T) {
	t.Parallel()
	type decimal struct {
		value *big.Int
		_     int32
	}
	type priced = holding[decimal]
	row := shares[priced]("", "Field.value", "*big.Int", "")
	row.requireRefused(t)
	for _, tt := range []struct {
		name   string
		option tidings.Option
	}{
		{"the type of the field", tidings.WithImmutable[decimal]()},
		{"the type behind the field", tidings.WithImmutable[*big.Int]()},
		{"the event itself", tidings.WithImmutable[priced]()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bus, called := tidings.New(tidings.WithImmutable[octets](), tt.option), false
			tidings.Subscribe(bus, func(_ context.Context, e priced) error {
				called = e.Field.value.Int64() == 42
				return nil
			})
			require.NoError(t, tidings.Publish(t.Context(), bus, priced{Field: decimal{value: big.NewInt(42)}}))
			require.True(t, called)
		})
	}
	row.requireRefused(t, tidings.WithImmutable[*int]()) // each bus decides, and about no other type
}

type octets []byte

func TestWithImmutableOfAnInterface(t *testing.T) {
	t.Parallel()
	bus := tidings.New(tidings.WithImmutable[fmt.Stringer]())
	require.NoError(t, tidings.Publish(t.Context(), bus, holding[fmt.Stringer]{Field: time.Second}))
	shares[holding[any]]("", "Field", "interface {}", "").requireRefused(t, tidings.WithImmutable[fmt.Stringer]())
}

func TestWithSharedEventsSwitchesTheCheckOff(t *testing.T) {
	t.Parallel()
	bus := tidings.New(tidings.WithSharedEvents())
	var seen []string
	for range 2 {
		tidings.Subscribe(bus, func(_ context.Context, e holding[[]string]) error {
			seen = append(seen, e.Field[0])
			e.Field[0] = "changed"
			return nil
		})
	}
	require.NoError(t, tidings.Publish(t.Context(), bus, holding[[]string]{Field: []string{"original"}}))
	require.Equal(t, []string{"original", "changed"}, seen)
}
