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

// Encode returns event as a CloudEvent, see [Envelope]. The error wraps
// [ErrUnregistered] if its type is not registered; it says so if the event
// is not stamped, cannot be marshalled, or would not be read back as it was:
// its type is one that [Registry.Validate] refuses, a string is not UTF-8, an
// interface holds what JSON has no type for.
func (r *Registry) Encode(event Event) ([]byte, error) {
	e, err := r.Wrap(event)
	if err != nil {
		return nil, err
	}
	return e.text(), nil
}

// Decode returns the event in a CloudEvent, with its header as it was:
// [Registry.Unwrap] of the [Envelope]. Events whose names or versions are
// unknown to the program can still be read into an Envelope.
func (r *Registry) Decode(data []byte) (Event, error) {
	e, err := parseEnvelope(data)
	if err != nil {
		return nil, err
	}
	return r.Unwrap(e)
}

// Wrap returns event in its envelope. It fails where [Registry.Encode] does.
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

// Unwrap returns the event in e, brought up to the registered version, with
// its header as it was. The data is read as everywhere in encoding/json:
// fields that the type does not have are ignored, fields that the data does
// not have are zero, and names match in upper and lower case. Where that
// would be wrong, raise the version.
//
// The error wraps [ErrUnregistered] for an unknown name or version, and
// where an [Upcast] is missing on the way.
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

// unwrap reads the data of e and takes the steps to the newest version.
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
			if i > 0 { // else it has it
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

// checkUpcast returns an error if event, which an Upcast has made, holds what a
// decoded event cannot hold, such as a json.Number in place of a float64.
func (reg *registration) checkUpcast(event Event) error {
	shape, err := reg.shape()
	if err != nil {
		return nil // it cannot be written, but this is reading
	}
	v := reflect.New(reg.event.typ).Elem()
	v.Set(reflect.ValueOf(event))
	if lost := shape.root.check(v, false); lost != nil {
		return lost
	}
	return nil
}

// encode returns the JSON of an event. Behind a pointer, methods MarshalJSON of
// pointers are called as well, as UnmarshalJSON will be: without it, a big.Int is
// written as {}.
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

// unmarshalOld is json.Unmarshal, but a number that goes into an interface is
// a json.Number: in the old type it may have been an integer that no float64
// holds.
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
