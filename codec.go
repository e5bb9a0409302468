package tidings

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"

	"github.com/google/uuid"
)

// Encode returns event as the JSON of a CloudEvent, see [Envelope]. The error wraps
// [ErrUnregistered] if the event's type is not registered. Encode also returns an
// error if the event has no header, if it cannot be marshalled, and if it would not
// be read back unchanged: its type is one that [Registry.Validate] refuses, a string
// is not UTF-8, or an interface holds a type that JSON does not have.
func (r *Registry) Encode(event Event) ([]byte, error) {
	e, err := r.Wrap(event)
	if err != nil {
		return nil, err
	}
	return e.text(), nil
}

// Decode returns the event in a CloudEvent, including its header. It unmarshals an
// [Envelope] and calls [Registry.Unwrap]. An event whose name or version this program
// does not know can still be unmarshalled into an Envelope.
func (r *Registry) Decode(data []byte) (Event, error) {
	e, err := parseEnvelope(data)
	if err != nil {
		return nil, err
	}
	return r.Unwrap(e)
}

// Wrap returns event in an [Envelope]. It fails where [Registry.Encode] does.
func (r *Registry) Wrap(event Event) (Envelope, error) {
	if event == nil {
		return Envelope{}, errors.New("tidings: encoding a nil event")
	}
	typ := reflect.TypeOf(event)
	r.mu.RLock()
	reg := r.byEvent[typ]
	r.mu.RUnlock()
	if reg == nil {
		if err := describe(typ).err; err != nil {
			return Envelope{}, err
		}
		return Envelope{}, fmt.Errorf("tidings: %s is %w: an event that is stored or sent needs a lasting name: tidings.Register[%[1]s](registry, \"…\", 1)", typ, ErrUnregistered)
	}
	head := event.domainEvent()
	if head.id == uuid.Nil {
		return Envelope{}, fmt.Errorf("tidings: encoding %s: the event has no header: publish it, or use Stamp", typ)
	}
	var data []byte
	err := protect(func() (err error) {
		data, err = reg.encode(event)
		return err
	})
	e := Envelope{
		ID: head.id, Source: r.Source, Type: reg.name, Version: reg.version, OccurredAt: head.OccurredAt(),
		CorrelationID: head.correlation, CausationID: head.causation, Data: data,
	}
	if e.Source == "" {
		e.Source = "tidings"
	}
	if e.CorrelationID == uuid.Nil {
		e.CorrelationID = e.ID
	}
	if err == nil {
		err = e.check()
	}
	if err != nil {
		return Envelope{}, fmt.Errorf("tidings: encoding %s: %w", typ, err)
	}
	return e, nil
}

// Unwrap returns the event in e, including its header, and converts its data to the
// registered version. It reads the data by the rules of encoding/json: it ignores
// fields that the type does not have, leaves fields zero that the data does not have,
// and matches names in upper and lower case. If that would give a wrong result, raise
// the version.
//
// The error wraps [ErrUnregistered] if the name or the version is unknown, or if an
// [Upcast] on the way to the registered version is missing.
func (r *Registry) Unwrap(e Envelope) (Event, error) {
	if err := e.check(); err != nil {
		return nil, fmt.Errorf("tidings: decoding %q: %w", e.Type, err)
	}
	r.mu.RLock()
	reg, steps, err := r.resolveLocked(e.Type, e.Version)
	r.mu.RUnlock()
	if err != nil {
		return nil, err
	}
	header := DomainEvent{id: e.ID, correlation: e.CorrelationID, causation: e.CausationID, occurred: e.OccurredAt.UnixMicro()}
	event, err := reg.unwrap(e, steps, header)
	if err != nil {
		return nil, fmt.Errorf("tidings: decoding %q version %d, event %s: %w", e.Type, e.Version, e.ID, err)
	}
	return event, nil
}

// unwrap reads the data of e and applies steps, the upcasts to the newest version.
func (reg *registration) unwrap(e Envelope, steps []*upcast, header DomainEvent) (Event, error) {
	typ, unmarshal := reg.event, json.Unmarshal
	if len(steps) > 0 {
		typ, unmarshal = steps[0].from, unmarshalOld
	}
	var v any
	err := protect(func() error {
		p := reflect.New(typ.typ)
		if err := unmarshal(e.Data, p.Interface()); err != nil {
			return err
		}
		if typ.err == nil {
			*typ.headerAt(p.UnsafePointer()) = header
		}
		v = p.Elem().Interface()
		return nil
	})
	for i, s := range steps {
		if err != nil {
			return nil, err
		}
		err = protect(func() (err error) {
			if i > 0 { // the first one has it already
				v = s.from.withHeader(v, header)
			}
			v, err = s.call(v)
			return err
		})
		if err != nil {
			err = fmt.Errorf("upcast from version %d: %w", e.Version+i, err)
		}
	}
	if err != nil {
		return nil, err
	}
	event := v.(Event)
	if len(steps) > 0 {
		event = reg.event.withHeader(v, header).(Event)
		if err := protect(func() error { return reg.checkUpcast(event) }); err != nil {
			return nil, fmt.Errorf("upcast to version %d: %w", reg.version, err)
		}
	}
	return event, nil
}

// checkUpcast returns an error if event, the result of an Upcast, holds a value that
// a decoded event cannot hold, such as a json.Number in place of a float64.
func (reg *registration) checkUpcast(event Event) error {
	shape, err := reg.shape()
	if err != nil {
		return nil // the type cannot be written, but this is reading
	}
	v := reflect.New(reg.event.typ).Elem()
	v.Set(reflect.ValueOf(event))
	if lost := shape.root.check(v, false); lost != nil {
		return lost
	}
	return nil
}

// encode returns the JSON of an event. It marshals a pointer to the event, so that
// json.Marshal also calls MarshalJSON methods with pointer receivers, as
// json.Unmarshal calls UnmarshalJSON: otherwise a big.Int would be written as {}.
func (reg *registration) encode(event Event) ([]byte, error) {
	shape, err := reg.shape()
	if err != nil {
		return nil, err
	}
	v := reflect.New(reg.event.typ)
	v.Elem().Set(reflect.ValueOf(event))
	data, err := json.Marshal(v.Interface())
	if err == nil {
		err = shape.verify(v, data)
	}
	return data, err
}

// unmarshalOld is json.Unmarshal, but reads a number in an interface as a
// json.Number: in the old type it may have been an integer that a float64 cannot
// hold.
func unmarshalOld(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("its data is more than one JSON value")
	}
	return nil
}
