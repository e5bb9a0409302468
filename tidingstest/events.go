package tidingstest

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/google/uuid"

	"github.com/tidings-go/tidings"
)

// Events lists events in the order in which they were recorded.
type Events []tidings.Event

// String returns one numbered line per event: its type and fields, the end of
// its ID and, if another event caused it, the end of that event's ID.
//
//  1. crm.ProposalAccepted{ProposalID: 7, Number: "PROP-007"} …31f0a2bc
//  2. clients.ClientCreated{ClientID: 3} …9d02ee17, caused by …31f0a2bc
func (e Events) String() string {
	if len(e) == 0 {
		return "\t(no events)"
	}
	var b strings.Builder
	for i, event := range e {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "\t%d. %s", i+1, describe(event))
	}
	return b.String()
}

func describe(event tidings.Event) string {
	v := reflect.ValueOf(event)
	if event == nil || v.Kind() == reflect.Pointer && v.IsNil() {
		return "nil"
	}
	v = reflect.Indirect(v) // the bus rejects pointers, tests need not
	s := v.Type().String() + "{" + strings.Join(appendFields(nil, v), ", ") + "} " + short(event.EventID())
	if cause := event.CausationID(); cause != uuid.Nil {
		s += ", caused by " + short(cause)
	}
	return s
}

// short returns the end of id, which is random; the beginning is the time.
func short(id uuid.UUID) string {
	if id == uuid.Nil {
		return "(not stamped)"
	}
	s := id.String()
	return "…" + s[len(s)-8:]
}

var headerType = reflect.TypeFor[tidings.DomainEvent]()

// appendFields appends the fields of a struct except the header, with the
// fields of embedded structs in their place.
func appendFields(fields []string, v reflect.Value) []string {
	for i := range v.NumField() {
		switch f := v.Type().Field(i); {
		case f.Type == headerType && f.Anonymous:
		case f.Anonymous && f.Type.Kind() == reflect.Struct:
			fields = appendFields(fields, v.Field(i))
		default:
			fields = append(fields, f.Name+": "+format(v.Field(i)))
		}
	}
	return fields
}

func format(v reflect.Value) string {
	switch {
	case v.Kind() == reflect.String:
		return fmt.Sprintf("%q", v.String())
	case v.Type().PkgPath() == headerType.PkgPath() && strings.HasPrefix(v.Type().Name(), "List["):
		v = v.Field(0) // its slice
	}
	// fmt prints what a reflect.Value holds, also in unexported fields.
	return fmt.Sprintf("%+v", v)
}
