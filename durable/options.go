package durable

import (
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
	"time"

	"github.com/tidings-go/tidings"
)

// A handlerOption is an option for the handlers of [Jobs].
type handlerOption struct {
	name  string
	apply func(*settings)
}

func (o handlerOption) String() string { return "durable." + o.name }

func option(name string, apply func(*settings)) tidings.SubscribeOption {
	return tidings.TransportOption(handlerOption{name, apply})
}

// settings configure one handler.
type settings struct {
	attempts int                             // 0: the client's
	backoff  func(attempt int) time.Duration // nil: the client's
	timeout  time.Duration                   // 0: the client's
	queue    string
	priority int
	outside  bool
	aliases  []string
	key      func(tidings.Event) (string, error) // nil: no order
	keyOf    reflect.Type                        // the event type that key is for
}

func settingsOf(h tidings.Handler) (settings, error) {
	// Capped and not refused: a million attempts means no limit.
	s := settings{attempts: min(h.Attempts, math.MaxInt16), backoff: h.Backoff, timeout: h.Timeout}
	for _, o := range h.Options {
		own, ok := o.(handlerOption)
		if !ok {
			return s, fmt.Errorf("durable: %v is for another transport", o)
		}
		own.apply(&s)
	}
	return s, nil
}

// Queue sets the queue of the handler's jobs, in place of River's "default". A
// client must work it: it is one of the Queues in its configuration.
func Queue(name string) tidings.SubscribeOption {
	if !validQueue.MatchString(name) || len(name) > maxQueue {
		panic(fmt.Sprintf("durable: Queue(%q): River asks for at most %d small letters and digits, with single '_' or '-' between them", name, maxQueue))
	}
	return option("Queue", func(s *settings) { s.queue = name })
}

// Priority sets the priority of the handler's jobs within their queue: from 1,
// the default, which goes first, to 4. It is strict: while a job with a lower
// number is due in the queue, jobs with a higher one do not begin, and may wait
// forever. If that is not acceptable, give the handler its own [Queue].
func Priority(p int) tidings.SubscribeOption {
	if p < 1 || p > 4 {
		panic(fmt.Sprintf("durable: Priority(%d): a priority is between 1, which goes first, and 4", p))
	}
	return option("Priority", func(s *settings) { s.priority = p })
}

// Outside runs the handler without a transaction. Use it if the handler waits
// for other systems and must not hold a connection meanwhile. Its job is marked
// done afterwards, so if the process dies in between, the handler runs again:
// pass on the event's ID as an idempotency key.
func Outside() tidings.SubscribeOption {
	return option("Outside", func(s *settings) { s.outside = true })
}

// Alias makes the handler also work the jobs that are stored under its earlier
// names. With [InOrderBy] put the oldest name last, since lines of jobs keep
// that name: a job under the new name waits for those under the old one. Remove
// an alias when no job stored under it is left to be done.
func Alias(names ...string) tidings.SubscribeOption {
	for _, name := range names {
		if err := checkName(name); err != nil {
			panic(fmt.Sprintf("durable: Alias: %v", err))
		}
	}
	return option("Alias", func(s *settings) { s.aliases = append(slices.Clone(s.aliases), names...) })
}

// InOrderBy runs the events of one key one after another, in the order in which
// their transactions committed: a job waits until the one before it is done,
// even while that fails and is retried, and if it is dead until [Jobs.Retry] or
// [Jobs.Discard] is called for it. Other keys continue. An event with the key
// "" does not wait. The handler subscribes to E, or to events that are E.
//
// A job that has to wait is stored as pending, and costs nothing until the one
// before it makes it available in the transaction that completes it. On
// Postgres the publisher holds an advisory lock for each key from just before
// its commit to its end, so transactions that publish the same key commit one
// after another; a worker holds the lock likewise. A transaction that publishes
// more than 32 keys holds a single lock for the handler instead, since the
// server has a limited number of locks: until its end no other transaction
// stores or completes jobs of that handler. Such transactions must be at READ
// COMMITTED, the default; at a stricter level the commit fails. Transactions
// that publish to several handlers with an order, in different orders, may
// deadlock, and Postgres aborts one of them; so may two attempts of a handler
// that each publish more than 32 keys to that same handler. Call [Jobs.Migrate]
// once: without its index each such job reads the whole table.
//
// A job in line that is cancelled through River is dead, and blocks those
// behind it; a job that River's own JobRetry makes available overtakes. Use
// Retry and Discard of [Jobs] instead.
func InOrderBy[E tidings.Event](key func(E) string) tidings.SubscribeOption {
	if key == nil {
		panic("durable: InOrderBy(nil)")
	}
	return option("InOrderBy", func(s *settings) {
		s.keyOf = reflect.TypeFor[E]()
		s.key = func(event tidings.Event) (string, error) {
			e, ok := event.(E)
			if !ok {
				return "", fmt.Errorf("durable: InOrderBy has the key of %v, but the handler gets %T", reflect.TypeFor[E](), event)
			}
			return key(e), nil
		}
	})
}

// line returns the name under which the jobs of the handler wait in line.
func (s settings) line(handler string) string {
	if n := len(s.aliases); n > 0 {
		return s.aliases[n-1]
	}
	return handler
}

// River's limits for the names of queues and kinds.
const (
	maxQueue = 64
	maxName  = 127
)

var (
	validQueue = regexp.MustCompile(`\A[a-z0-9]+(?:[_-][a-z0-9]+)*\z`)
	validName  = regexp.MustCompile(`\A\w[\w\-\[\]<>/.·:+]+\z`)
)

// checkName returns an error for a name that cannot be the kind of a River job.
func checkName(name string) error {
	if !validName.MatchString(name) || len(name) > maxName {
		return fmt.Errorf("%q cannot be the name of a durable handler: River asks for 2 to %d letters, digits and any of -_[]<>/.·:+, the first one a letter or digit", name, maxName)
	}
	return nil
}
