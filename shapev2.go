//go:build go1.27 && goexperiment.jsonv2

package tidings

import (
	jsonv2 "encoding/json/v2"
	"reflect"
)

// If encoding/json is built on encoding/json/v2, as in Go 1.27, it also calls the
// methods that v2 defines.
func init() {
	writers = append(writers, reflect.TypeFor[jsonv2.MarshalerTo]())
	readers = append(readers, reflect.TypeFor[jsonv2.UnmarshalerFrom]())
	marshalInterfaces = append(marshalInterfaces, reflect.TypeFor[jsonv2.MarshalerTo](), reflect.TypeFor[jsonv2.UnmarshalerFrom]())
}
