package tidings_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
)

type parcelLined struct {
	tidings.DomainEvent
	SKU    string
	Copies int
}

func TestTypeOf(t *testing.T) {
	t.Parallel()
	var registry tidings.Registry
	tidings.Register[clientCreated](&registry, "crm.client_created", 2)
	tidings.Upcast(&registry, "crm.only_upcast", 1, func(e clientCreated) (clientCreated, error) { return e, nil })
	typ, ok := registry.TypeOf("crm.client_created")
	require.True(t, ok)
	require.Equal(t, reflect.TypeFor[clientCreated](), typ)
	for _, name := range []string{"", "crm.unknown", "CRM.CLIENT_CREATED", "crm.only_upcast"} {
		typ, ok = registry.TypeOf(name)
		require.False(t, ok, name)
		require.Nil(t, typ, name)
	}
	var zero tidings.Registry
	_, ok = zero.TypeOf("x")
	require.False(t, ok)
}

// The shapes of one event: an amount that was a number, then a text, then
// one with a currency, which is the registered type.
type (
	priceV1 struct{ Euros int }
	priceV2 struct{ Amount string }
	priceV3 struct { // was the event once, and still has the header
		tidings.DomainEvent
		Amount string
	}
	priceSet struct {
		tidings.DomainEvent
		Amount   string
		Currency string
		Note     string
	}
)

func priceV1to2(old priceV1) (priceV2, error) { return priceV2{strconv.Itoa(old.Euros)}, nil }
func priceV2to3(old priceV2) (priceV3, error) { return priceV3{Amount: old.Amount}, nil }
func priceV3to4(old priceV3) (priceSet, error) {
	if old.EventID() == uuid.Nil {
		return priceSet{}, errors.New("an event type has its header in an Upcast")
	}
	return priceSet{Amount: old.Amount, Currency: "EUR", Note: old.OccurredAt().Format(time.DateOnly)}, nil
}

// priceEnvelope returns an event of that version as it is stored.
func priceEnvelope(version int, data string) tidings.Envelope {
	return tidings.Envelope{
		ID: uuid.New(), Source: "s", Type: "shop.price_set", Version: version, OccurredAt: time.Date(2026, 3, 1, 9, 30, 0, 123456000, time.UTC),
		CorrelationID: uuid.New(), CausationID: uuid.New(), Data: json.RawMessage(data),
	}
}

func TestUpcastsBringOldDataUpToDate(t *testing.T) {
	t.Parallel()
	steps := []func(*tidings.Registry){
		func(r *tidings.Registry) { tidings.Upcast(r, "shop.price_set", 1, priceV1to2) },
		func(r *tidings.Registry) { tidings.Upcast(r, "shop.price_set", 2, priceV2to3) },
		func(r *tidings.Registry) { tidings.Upcast(r, "shop.price_set", 3, priceV3to4) },
		func(r *tidings.Registry) { tidings.Register[priceSet](r, "shop.price_set", 4) },
	}
	for _, order := range [][]int{{0, 1, 2, 3}, {3, 2, 1, 0}, {2, 3, 0, 1}} {
		r := &tidings.Registry{}
		for _, i := range order {
			steps[i](r)
		}
		require.NoError(t, r.Validate())
		for version, data := range map[int]string{
			1: `{"Euros":12}`, 2: `{"Amount":"12"}`, 3: `{"Amount":"12"}`, 4: `{"Amount":"12","Currency":"EUR","Note":"2026-03-01"}`,
		} {
			require.NoError(t, r.Decodable("shop.price_set", version))
			e := priceEnvelope(version, data)
			event, err := r.Unwrap(e)
			require.NoError(t, err)
			price := event.(priceSet)
			require.Equal(t, [4]any{e.ID, e.OccurredAt, e.CorrelationID, e.CausationID}, header(price))
			require.Equal(t, priceSet{price.DomainEvent, "12", "EUR", "2026-03-01"}, price)

			again, err := r.Wrap(price)
			require.NoError(t, err)
			require.Equal(t, 4, again.Version, "what is written has the newest version")
		}
	}
}

func TestAnUpcastReadsWhateverShapeTheOldDataHad(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		upcast func(*tidings.Registry)
	}{
		{"map", func(r *tidings.Registry) {
			tidings.Upcast(r, "shop.price_set", 1, func(old map[string]any) (priceSet, error) {
				return priceSet{Amount: fmt.Sprint(old["Euros"]), Note: old["Extra"].(string)}, nil
			})
		}},
		{"raw", func(r *tidings.Registry) {
			tidings.Upcast(r, "shop.price_set", 1, func(old json.RawMessage) (priceSet, error) {
				return priceSet{Amount: string(old[9:11]), Note: "kept"}, nil
			})
		}},
		{"any", func(r *tidings.Registry) {
			tidings.Upcast(r, "shop.price_set", 1, func(old any) (priceSet, error) {
				return priceSet{Amount: fmt.Sprint(old.(map[string]any)["Euros"]), Note: "kept"}, nil
			})
		}},
		{"pointer", func(r *tidings.Registry) {
			tidings.Upcast(r, "shop.price_set", 1, func(old *priceV1) (priceSet, error) {
				return priceSet{Amount: strconv.Itoa(old.Euros), Note: "kept"}, nil
			})
		}},
		{"the same type", func(r *tidings.Registry) {
			tidings.Upcast(r, "shop.price_set", 1, func(old priceSet) (priceSet, error) {
				old.Amount, old.Note = "12", "kept"
				return old, nil
			})
		}},
		{"a header of its own is not kept", func(r *tidings.Registry) {
			tidings.Upcast(r, "shop.price_set", 1, func(priceV1) (priceSet, error) {
				return tidings.Stamp(t.Context(), priceSet{Amount: "12", Note: "kept"}), nil
			})
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := &tidings.Registry{}
			tidings.Register[priceSet](r, "shop.price_set", 2)
			tt.upcast(r)
			e := priceEnvelope(1, `{"Euros":12,"Extra":"kept"}`)
			event, err := r.Unwrap(e)
			require.NoError(t, err)
			require.Equal(t, e.ID, event.EventID())
			price := event.(priceSet)
			require.Equal(t, "12 kept", price.Amount+" "+price.Note)
		})
	}
}

// In the old type it was an int64, and no float64 holds it.
func TestAnUpcastKeepsEveryDigitOfANumber(t *testing.T) {
	t.Parallel()
	const large = 1<<53 + 1
	type numbered struct {
		tidings.DomainEvent
		ID   int64
		Meta any
	}
	id := func(v any) int64 {
		n, err := v.(json.Number).Int64()
		require.NoError(t, err)
		return n
	}
	for _, tt := range []struct {
		name   string
		upcast func(*tidings.Registry)
		data   string
	}{
		{"map", func(r *tidings.Registry) {
			tidings.Upcast(r, "shop.price_set", 1, func(old map[string]any) (numbered, error) { return numbered{ID: id(old["ID"])}, nil })
		}, `{"ID":9007199254740993}`},
		{"any", func(r *tidings.Registry) {
			tidings.Upcast(r, "shop.price_set", 1, func(old any) (numbered, error) { return numbered{ID: id(old.([]any)[0])}, nil })
		}, `[9007199254740993]`},
		{"a map in a struct", func(r *tidings.Registry) {
			type v1 struct{ Order map[string]any }
			tidings.Upcast(r, "shop.price_set", 1, func(old v1) (numbered, error) { return numbered{ID: id(old.Order["ID"])}, nil })
		}, `{"Order":{"ID":9007199254740993}}`},
		{"a map written again", func(r *tidings.Registry) {
			tidings.Upcast(r, "shop.price_set", 1, func(old map[string]any) (next numbered, err error) {
				data, err := json.Marshal(old)
				if err != nil {
					return next, err
				}
				return next, json.Unmarshal(data, &next)
			})
		}, `{"ID":9007199254740993}`},
	} {
		r := &tidings.Registry{}
		tidings.Register[numbered](r, "shop.price_set", 2)
		tt.upcast(r)
		event, err := r.Unwrap(priceEnvelope(1, tt.data))
		require.NoError(t, err, tt.name)
		require.Equal(t, int64(large), event.(numbered).ID, tt.name)
		_, err = r.Unwrap(priceEnvelope(1, tt.data+" {}"))
		require.ErrorContains(t, err, "more than one JSON value", tt.name)
	}

	r := &tidings.Registry{}
	tidings.Register[numbered](r, "shop.price_set", 2)
	tidings.Upcast(r, "shop.price_set", 1, func(old map[string]any) (numbered, error) { return numbered{Meta: old["Meta"]}, nil })
	_, err := r.Unwrap(priceEnvelope(1, `{"Meta":{"n":7}}`))
	require.ErrorContains(t, err, `upcast to version 2: its field Meta["n"] is an interface and holds a json.Number, which is read back as another type`,
		"handlers would get another type than from new events")
	event, err := r.Unwrap(priceEnvelope(2, `{"Meta":{"n":7}}`))
	require.NoError(t, err)
	require.Equal(t, map[string]any{"n": 7.0}, event.(numbered).Meta)
}

func TestAnUpcastThatFails(t *testing.T) {
	t.Parallel()
	r := &tidings.Registry{}
	tidings.Register[priceSet](r, "shop.price_set", 3)
	tidings.Upcast(r, "shop.price_set", 1, func(old priceV1) (priceV2, error) { return priceV2{strconv.Itoa(old.Euros)}, nil })
	tidings.Upcast(r, "shop.price_set", 2, func(old priceV2) (priceSet, error) {
		if old.Amount == "13" {
			panic(errDeclined)
		}
		return priceSet{Amount: "half done"}, errDeclined
	})
	e := priceEnvelope(1, `{"Euros":12}`)
	event, err := r.Unwrap(e)
	require.EqualError(t, err, fmt.Sprintf(`tidings: decoding "shop.price_set" version 1, event %s: upcast from version 2: card declined`, e.ID))
	require.ErrorIs(t, err, errDeclined)
	require.NotErrorIs(t, err, tidings.ErrUnregistered)
	require.Nil(t, event)

	e = priceEnvelope(1, `{"Euros":13}`)
	event, err = r.Unwrap(e)
	require.EqualError(t, err, fmt.Sprintf(`tidings: decoding "shop.price_set" version 1, event %s: upcast from version 2: panic: card declined`, e.ID))
	var panicked *tidings.PanicError
	require.ErrorAs(t, err, &panicked)
	require.ErrorIs(t, err, errDeclined)
	require.Nil(t, event)

	e = priceEnvelope(1, `{"Euros":"12"}`)
	_, err = r.Unwrap(e)
	require.EqualError(t, err, fmt.Sprintf(`tidings: decoding "shop.price_set" version 1, event %s: %s`, e.ID, notInto[priceV1](`{"Euros":"12"}`)))
}

func TestUnknownNamesAndVersions(t *testing.T) {
	t.Parallel()
	r := &tidings.Registry{}
	tidings.Register[priceSet](r, "shop.price_set", 4)
	tidings.Upcast(r, "shop.price_set", 3, priceV3to4)
	tidings.Upcast(r, "shop.price_set", 1, priceV1to2)
	tidings.Upcast(r, "shop.only_upcasts", 1, priceV1to2)
	for _, tt := range []struct {
		name    string
		version int
		want    string
	}{
		{"shop.unheard_of", 1, `tidings: event name "shop.unheard_of" is not registered: tidings.Register a type for it`},
		{"shop.only_upcasts", 1, `tidings: event name "shop.only_upcasts" is not registered: tidings.Register a type for it`},
		{"shop.price_set", 5, `tidings: version 5 of "shop.price_set" is not registered: the newest known is 4, so it was written by a newer program`},
		{"shop.price_set", 1, `tidings: version 1 of "shop.price_set" is not registered: there is no Upcast from version 2, on the way to 4`},
		{"shop.price_set", 2, `tidings: version 2 of "shop.price_set" is not registered: there is no Upcast from version 2, on the way to 4`},
	} {
		e := priceEnvelope(tt.version, `{}`)
		e.Type = tt.name
		event, err := r.Unwrap(e)
		require.EqualError(t, err, tt.want)
		require.ErrorIs(t, err, tidings.ErrUnregistered)
		require.Nil(t, event)
		require.EqualError(t, r.Decodable(tt.name, tt.version), tt.want)
		data, err := e.MarshalJSON()
		require.NoError(t, err)
		_, err = r.Decode(data)
		require.EqualError(t, err, tt.want)
	}
	require.NoError(t, r.Decodable("shop.price_set", 3))
	require.ErrorIs(t, r.Decodable("shop.price_set", 0), tidings.ErrUnregistered)
	require.ErrorIs(t, new(tidings.Registry).Decodable("shop.price_set", 1), tidings.ErrUnregistered)
}

func TestValidateFindsEverythingAtOnce(t *testing.T) {
	t.Parallel()
	require.NoError(t, new(tidings.Registry).Validate())

	r := &tidings.Registry{}
	tidings.Register[priceSet](r, "shop.price_set", 4)
	tidings.Upcast(r, "shop.price_set", 1, priceV1to2)
	tidings.Upcast(r, "shop.price_set", 3, priceV3to4)
	tidings.Upcast(r, "shop.price_set", 4, priceV3to4)
	tidings.Register[parcelLined](r, "shop.parcel_lined", 3)
	tidings.Upcast(r, "shop.parcel_lined", 1, priceV1to2)
	tidings.Upcast(r, "shop.parcel_lined", 2, priceV3to4)
	tidings.Upcast(r, "shop.only_upcasts", 1, priceV1to2)
	tidings.Register[parcelGeneric[int]](r, "shop.fine", 7)
	err := r.Validate()
	require.EqualError(t, err, `tidings: there are Upcasts of "shop.only_upcasts", but it is not registered
tidings: version 1 of "shop.parcel_lined" is not registered: the Upcast from version 1 makes a tidings_test.priceV2, but version 2 is a tidings_test.priceV3
tidings: version 2 of "shop.parcel_lined" is not registered: the Upcast from version 2 makes a tidings_test.priceSet, but version 3 is a tidings_test.parcelLined
tidings: version 1 of "shop.price_set" is not registered: there is no Upcast from version 2, on the way to 4
tidings: there is an Upcast of "shop.price_set" from version 4, but the registered version is 4`)
	require.ErrorIs(t, err, tidings.ErrUnregistered)
}

func TestRegistrations(t *testing.T) {
	t.Parallel()
	require.Empty(t, new(tidings.Registry).Registrations())
	r := &tidings.Registry{}
	tidings.Register[priceSet](r, "shop.price_set", 4)
	tidings.Register[parcelLined](r, "shop.parcel_lined", 1)
	tidings.Upcast(r, "shop.price_set", 3, priceV3to4)
	tidings.Upcast(r, "shop.price_set", 2, priceV2to3)
	tidings.Upcast(r, "shop.only_upcasts", 1, priceV1to2)
	require.Equal(t, []tidings.RegistrationInfo{
		{Name: "shop.parcel_lined", Version: 1, EventType: reflect.TypeFor[parcelLined]()},
		{Name: "shop.price_set", Version: 4, EventType: reflect.TypeFor[priceSet](), Upcasts: []int{2, 3}},
	}, r.Registrations())
}

func TestMistakesInRegisteringPanic(t *testing.T) {
	t.Parallel()
	r := &tidings.Registry{}
	tidings.Register[priceSet](r, "shop.price_set", 4)
	tidings.Upcast(r, "shop.price_set", 3, priceV3to4)
	const badName = `tidings: Register: %q is not a valid event name: use letters, digits and separators, such as "crm.proposal_accepted"`
	name := func(s string) func() { return func() { tidings.Register[parcelLined](r, s, 1) } }
	type mistake struct {
		do   func()
		want string
	}
	mistakes := []mistake{
		{func() { tidings.Register[parcelLined](nil, "a", 1) }, "tidings: Register with a nil *Registry"},
		{func() { tidings.Upcast(nil, "a", 1, priceV1to2) }, "tidings: Upcast with a nil *Registry"},
		{func() { tidings.Upcast[priceV1, priceV2](r, "a", 1, nil) }, "tidings: Upcast with a nil function"},
		{func() { tidings.Register[tidings.Event](r, "a", 1) }, "tidings: Register[tidings.Event]: an interface has no shape of its own: register the structs that implement it"},
		{func() { tidings.Register[*parcelLined](r, "a", 1) }, "tidings: *tidings_test.parcelLined is a pointer, which handlers would share: publish and subscribe to the struct tidings_test.parcelLined itself"},
		{func() { tidings.Register[tidings.DomainEvent](r, "a", 1) }, "tidings: tidings.DomainEvent is not an event type: declare a struct that embeds tidings.DomainEvent"},
		{func() { tidings.Register[priceSet](r, "shop.price_changed", 4) }, `tidings: Register: tidings_test.priceSet is registered already, as "shop.price_set" version 4: a type has one name`},
		{func() { tidings.Register[priceSet](r, "shop.price_set", 4) }, `tidings: Register: tidings_test.priceSet is registered already, as "shop.price_set" version 4: a type has one name`},
		{func() { tidings.Register[parcelLined](r, "shop.price_set", 5) }, `tidings: Register: "shop.price_set" is taken by tidings_test.priceSet: a name stands for one type; older shapes of an event get an Upcast`},
		{func() { tidings.Upcast(r, "shop.price_set", 3, priceV3to4) }, `tidings: Upcast: there is one of "shop.price_set" from version 3 already`},
		{func() { tidings.Register[parcelLined](r, "a", 0) }, `tidings: Register: "a" version 0: versions begin at 1`},
		{func() { tidings.Upcast(r, "a", -1, priceV1to2) }, `tidings: Upcast: "a" version -1: versions begin at 1`},
		{name(""), fmt.Sprintf(badName, "")},
		{name("a b"), fmt.Sprintf(badName, "a b")},
		{name(" a"), fmt.Sprintf(badName, " a")},
		{name("a\n"), fmt.Sprintf(badName, "a\n")},
		{name("a."), fmt.Sprintf(badName, "a.")},
		{name(".a"), fmt.Sprintf(badName, ".a")},
		{name("a..b"), fmt.Sprintf(badName, "a..b")},
		{name("größe"), fmt.Sprintf(badName, "größe")},
		{name(`a"b`), fmt.Sprintf(badName, `a"b`)},
		{func() { tidings.Upcast(r, "a b", 1, priceV1to2) }, `tidings: Upcast: "a b" is not a valid event name: use letters, digits and separators, such as "crm.proposal_accepted"`},
	}
	if large := math.MaxInt32; strconv.IntSize > 32 { // which it is on 386
		large++
		mistakes = append(mistakes, mistake{func() { tidings.Register[parcelLined](r, "a", large) }, `tidings: Register: "a" version 2147483648: a CloudEvents integer ends at 2147483647; count up by one`})
	}
	for _, tt := range mistakes {
		require.PanicsWithValue(t, tt.want, tt.do)
	}
	require.Len(t, r.Registrations(), 1, "a panic leaves nothing behind")
	require.NoError(t, r.Validate())

	for i, s := range []string{"a", "ProposalAccepted", "crm.proposal_accepted", "crm.v2.proposal__accepted", "com.example/crm:proposal-accepted", "7"} {
		tidings.Upcast(r, s, i+1, priceV1to2)
	}
}

func TestARegistryIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	r := parcelRegistry()
	event := stamped(t, time.Now(), parcelGeneric[int]{Value: 7})
	data, err := r.Encode(event)
	require.NoError(t, err)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 50 {
				decoded, err := r.Decode(data)
				if err != nil || decoded != tidings.Event(event) {
					t.Errorf("%v, %v", decoded, err)
				}
				if _, err := r.Encode(event); err != nil {
					t.Error(err)
				}
				tidings.Upcast(r, fmt.Sprintf("shop.late_%d", g), i+1, func(a any) (any, error) { return a, nil })
				if r.Validate() == nil || r.Decodable("shop.parcel_int", 1) != nil || len(r.Registrations()) != 10 {
					t.Error("not as registered")
				}
			}
		})
	}
	wg.Wait()
}
