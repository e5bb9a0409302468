package durable

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/riverqueue/river"

	"github.com/tidings-go/tidings"
)

// A survey finds jobs that would wait forever, and the causes, when the workers
// start. It logs each finding once.
type survey struct {
	jobs     *Jobs
	handlers map[string]*handler // the subscribed ones, by kind; nil: nothing is logged
	queues   map[string]queue
	own      map[string]bool // the queues that this client works
	waiting  []waiting
	err      error

	unindexed bool // and some handler has an order
	said      map[string]bool
}

const (
	// surveyAfter is the time until the workers look again: by then a process
	// that no longer works a queue has not reported it for two of River's
	// intervals of ten minutes.
	surveyAfter   = 25 * time.Minute
	surveyTimeout = 10 * time.Second // a long backlog is no reason to start late
)

// newSurvey looks at waiting jobs before the workers start, since they take
// them then. It fails if River's tables are missing.
func (j *Jobs) newSurvey(ctx context.Context) (*survey, error) {
	queues, err := j.queues(ctx)
	if err != nil {
		return nil, err
	}
	s := &survey{jobs: j, own: map[string]bool{}, said: map[string]bool{}}
	if !j.draining.Load() { // Drain itself reports what it does not work
		s.look(ctx, queues)
	}
	return s, nil
}

// look records which jobs wait.
func (s *survey) look(ctx context.Context, queues map[string]queue) {
	s.handlers, s.queues = s.jobs.subscribed(), queues
	ctx, cancel := context.WithTimeout(ctx, surveyTimeout)
	defer cancel()
	s.unindexed, s.err = s.jobs.unindexed(ctx)
	if s.err != nil {
		return
	}
	s.waiting, s.err = s.jobs.waiting(ctx, slices.Sorted(maps.Keys(s.handlers)), slices.Sorted(maps.Keys(worked(queues))))
}

// started logs what was found, once the workers have started.
func (s *survey) started(ctx context.Context) {
	if s.handlers == nil {
		return
	}
	queues, err := s.jobs.queues(ctx)
	for name, q := range queues {
		// A client reports at its start what it works. River has no other list.
		if old, known := s.queues[name]; !known || !old.UpdatedAt.Equal(q.UpdatedAt) {
			s.own[name] = true
		}
	}
	s.queues = queues
	if err != nil {
		s.err = err
	}
	s.say(ctx)
}

// again looks once more when due, unless ctx ends or River stops before.
func (s *survey) again(ctx context.Context, stopped <-chan struct{}, due <-chan time.Time) {
	if s.handlers == nil {
		return
	}
	select {
	case <-ctx.Done():
	case <-stopped:
	case <-due:
		queues, err := s.jobs.queues(ctx)
		s.look(ctx, queues)
		if err != nil {
			s.err = err
		}
		s.say(ctx)
	}
}

func (s *survey) say(ctx context.Context) {
	s.sayEvents(ctx)
	if s.err != nil {
		if ctx.Err() == nil {
			s.warn(ctx, "error", "durable: cannot check for jobs that no process works", slog.Any("error", s.err))
		}
		return
	}
	s.sayNames(ctx)
	s.sayQueues(ctx)
	if s.unindexed {
		s.warn(ctx, "index", "durable: the index for InOrderBy is missing or not valid, so each job in order reads the whole table: call Jobs.Migrate")
	}
}

// subscribed returns the handlers that are still subscribed, by kind.
func (j *Jobs) subscribed() map[string]*handler {
	j.mu.RLock()
	defer j.mu.RUnlock()
	handlers := map[string]*handler{}
	for kind, h := range j.handlers {
		if h.sub.Active() {
			handlers[kind] = h
		}
	}
	return handlers
}

// sayEvents warns of handlers that no event can reach.
func (s *survey) sayEvents(ctx context.Context) {
	for _, kind := range slices.Sorted(maps.Keys(s.handlers)) {
		h := s.handlers[kind]
		if h.name != kind {
			continue
		}
		typ := h.sub.Info().EventType
		attrs := []slog.Attr{slog.String("handler", kind), slog.String("event", typ.String())}
		if !s.registered(typ) {
			s.warn(ctx, "event "+kind, "durable: the event of a handler is not registered, so that publishing one fails: register it, in the Registry that New was given, before anybody publishes", attrs...)
		}
		if s.jobs.config.bus == nil && slices.Contains(ownEvents, typ) {
			s.warn(ctx, "bus "+kind, "durable: a handler waits for an event that these Jobs do not publish: give New the option WithBus", attrs...)
		}
	}
}

var ownEvents = []reflect.Type{reflect.TypeFor[JobDied](), reflect.TypeFor[JobRetried](), reflect.TypeFor[JobDiscarded]()}

// registered reports whether some registered event is a typ.
func (s *survey) registered(typ reflect.Type) bool {
	return slices.ContainsFunc(s.jobs.registry.Registrations(), func(r tidings.RegistrationInfo) bool {
		return r.EventType == typ || typ.Kind() == reflect.Interface && r.EventType.Implements(typ)
	})
}

// sayNames warns of jobs that fail here, since no handler has their name.
func (s *survey) sayNames(ctx context.Context) {
	for _, w := range s.waiting {
		if s.own[w.Queue] && s.handlers[w.Handler] == nil {
			s.warn(ctx, "name "+w.Handler, "durable: jobs wait for a handler that this process does not subscribe, and fail here: subscribe it, with durable.Alias if it has another name now",
				slog.String("handler", w.Handler), slog.Int("jobs", w.N), slog.Time("oldest", w.Oldest), slog.String("queue", w.Queue))
		}
	}
}

// sayQueues warns of queues from which no job is taken.
func (s *survey) sayQueues(ctx context.Context) {
	worked := worked(s.queues)
	idle := map[string]*idleQueue{}
	of := func(name string) *idleQueue {
		if idle[name] == nil {
			idle[name] = &idleQueue{handlers: map[string]bool{}}
		}
		return idle[name]
	}
	for _, h := range s.handlers {
		if name := cmp.Or(h.queue, river.QueueDefault); !worked[name] {
			of(name).handlers[h.name] = true
		}
	}
	for _, w := range s.waiting {
		if !worked[w.Queue] {
			of(w.Queue).add(w)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(idle)) {
		q := idle[name]
		attrs := []slog.Attr{slog.String("queue", name), slog.Any("handlers", slices.Sorted(maps.Keys(q.handlers))), slog.Int("jobs", q.n)}
		if q.n > 0 {
			attrs = append(attrs, slog.Time("oldest", q.oldest))
		}
		s.warn(ctx, "queue "+name, "durable: no process works a queue at present: add it to the Queues of this client, unless another process is to work it", attrs...)
	}
	for _, name := range slices.Sorted(maps.Keys(s.own)) {
		if s.queues[name].Paused {
			s.warn(ctx, "paused "+name, "durable: a queue is paused, and its jobs wait until it is resumed through River", slog.String("queue", name))
		}
	}
}

// An idleQueue is a queue that no process works.
type idleQueue struct {
	handlers map[string]bool
	n        int
	oldest   time.Time
}

func (q *idleQueue) add(w waiting) {
	q.handlers[w.Handler] = true
	if q.n == 0 || w.Oldest.Before(q.oldest) {
		q.oldest = w.Oldest
	}
	q.n += w.N
}

// warn logs what it has not logged before.
func (s *survey) warn(ctx context.Context, what, text string, attrs ...slog.Attr) {
	if !s.said[what] {
		s.said[what] = true
		s.jobs.logger().LogAttrs(ctx, slog.LevelWarn, text, attrs...)
	}
}
