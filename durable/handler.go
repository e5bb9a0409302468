package durable

import (
	"context"
	"fmt"
	"reflect"

	"github.com/riverqueue/river"

	"github.com/tidings-go/tidings"
)

// A handler runs the jobs of its kinds. It is immutable.
type handler struct {
	name    string
	sub     *tidings.Subscription
	deliver func(context.Context, tidings.Event) error
	opts    river.InsertOpts // of its jobs
	settings
}

// kinds returns the names whose jobs the handler works.
func (h *handler) kinds() []string { return append([]string{h.name}, h.aliases...) }

// String returns the name and the place of the subscription.
func (h *handler) String() string {
	info := h.sub.Info()
	return fmt.Sprintf("%q for %v at %s:%d", h.name, info.EventType, info.File, info.Line)
}

// check returns an error for a handler that could never work.
func (h *handler) check() error {
	if err := checkName(h.name); err != nil {
		return fmt.Errorf("durable: %w", err)
	}
	if h.keyOf == nil {
		return nil
	}
	if of := h.sub.Info().EventType; !mayBe(of, h.keyOf) {
		return fmt.Errorf("durable: InOrderBy has the key of %v, but the handler %v gets another event: order it by a key of %v", h.keyOf, h, of)
	}
	return nil
}

// mayBe reports whether an event of type typ may be an other. Both may be
// interfaces.
func mayBe(typ, other reflect.Type) bool {
	switch {
	case typ == other:
		return true
	case other.Kind() == reflect.Interface:
		return typ.Kind() == reflect.Interface || typ.Implements(other)
	}
	return typ.Kind() == reflect.Interface && other.Implements(typ)
}

// add registers h for the jobs of its names. A name has one handler.
func (j *Jobs) add(h *handler) error {
	if err := h.check(); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, kind := range h.kinds() {
		if old, known := j.handlers[kind]; known && old.sub.Active() {
			return fmt.Errorf("durable: the handlers %v and %v both work the jobs of %q: give one of them another name or durable.Alias, or Unsubscribe the first", old, h, kind)
		}
		if !j.worked[kind] && j.started && j.workers != nil {
			return fmt.Errorf("durable: the handler %q is subscribed after Start, when River takes no more: subscribe before", h.name)
		}
	}
	for _, kind := range h.kinds() {
		if err := j.addWorkerLocked(kind); err != nil {
			return fmt.Errorf("durable: the handler %q: %w", h.name, err)
		}
	}
	for kind, old := range j.handlers {
		if old.name == h.name { // from an earlier subscription
			delete(j.handlers, kind)
		}
	}
	for _, kind := range h.kinds() {
		j.handlers[kind] = h
	}
	j.ordered = j.ordered || h.key != nil
	return nil
}

// addWorkerLocked makes River pass jobs of that kind to j.
func (j *Jobs) addWorkerLocked(kind string) (err error) {
	if j.workers == nil || j.worked[kind] {
		return nil
	}
	if err := claim(j.workers, j.place); err != nil {
		return err
	}
	// River has no function that adds a worker for a kind known only at run
	// time and returns an error.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("river refuses it: %v: is it the kind of a worker of your own? Give the handler another name", r)
		}
	}()
	river.AddWorkerArgs(j.workers, delivery{kind: kind}, &worker{jobs: j})
	if j.engine.refuses(kind) {
		return fmt.Errorf("the client has other Workers than New was given, and would not work its jobs: pass New those of the client's configuration")
	}
	j.worked[kind] = true
	return nil
}

// handlerOf returns the handler for jobs of that kind.
func (j *Jobs) handlerOf(kind string) (*handler, error) {
	j.mu.RLock()
	defer j.mu.RUnlock()
	h, ok := j.handlers[kind]
	if !ok {
		return nil, fmt.Errorf("durable: no handler is named %q", kind)
	}
	return h, nil
}
