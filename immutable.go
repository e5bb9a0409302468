package tidings

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// knownImmutable lists types that contain pointers, but whose memory cannot be
// changed through a copy.
var knownImmutable = []reflect.Type{
	domainEventType,
	reflect.TypeFor[time.Time](),
	reflect.TypeFor[uuid.UUID](),
	reflect.TypeFor[netip.Addr](),
	reflect.TypeFor[netip.AddrPort](),
	reflect.TypeFor[netip.Prefix](),
}

// immutability decides through which event types handlers could share memory.
type immutability struct {
	known []reflect.Type // WithImmutable
	off   bool           // WithSharedEvents
}

// check returns an error that names the first field through which two copies of an
// event of type t share memory.
func (im *immutability) check(t *eventType) error {
	if im.off || t.clone >= 0 {
		return nil
	}
	path, typ := im.shared(t.typ, "", map[reflect.Type]bool{})
	if typ == nil {
		return nil
	}
	remedy := ""
	if typ.Kind() == reflect.Slice {
		remedy = fmt.Sprintf("use a tidings.List[%s], or ", typ.Elem())
	}
	clone := fmt.Sprintf("give %s a method Clone() %s that copies deeply", t.name, t.name)
	if t.clonesByPointer() {
		clone = fmt.Sprintf("let the method Clone() %s have a value receiver", t.name)
	}
	return fmt.Errorf("tidings: handlers of %s would share memory through its field %s of type %s: %s%s, or declare the type immutable with tidings.WithImmutable[%s]()",
		t.name, path, typ, remedy, clone, typ)
}

// shared returns the path and the type of the first mutable memory that can be
// reached from a copy of typ, or a nil type. seen breaks cycles, which only Lists can
// form.
func (im *immutability) shared(typ reflect.Type, path string, seen map[reflect.Type]bool) (string, reflect.Type) {
	if seen[typ] || slices.Contains(knownImmutable, typ) || slices.Contains(im.known, typ) {
		return "", nil
	}
	seen[typ] = true
	if elem := handleElement(typ); elem != nil {
		return im.shared(elem, path+".Value()", seen)
	}
	if elem := listElement(typ); elem != nil {
		return im.shared(elem, path+"[]", seen)
	}
	switch typ.Kind() {
	case reflect.Array:
		if typ.Len() == 0 {
			return "", nil
		}
		return im.shared(typ.Elem(), path+"[]", seen)
	case reflect.Struct:
		for i := range typ.NumField() {
			f := typ.Field(i)
			if p, t := im.shared(f.Type, strings.TrimPrefix(path+"."+f.Name, "."), seen); t != nil {
				return p, t
			}
		}
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Chan, reflect.Func, reflect.Interface, reflect.UnsafePointer:
		return path, typ
	}
	return "", nil
}

// handleElement returns T if typ is a unique.Handle[T], and nil otherwise. A Handle
// contains a pointer, but only package unique uses it; users get the T.
func handleElement(typ reflect.Type) reflect.Type {
	value, ok := typ.MethodByName("Value")
	if typ.PkgPath() != "unique" || !ok {
		return nil
	}
	return value.Type.Out(0)
}
