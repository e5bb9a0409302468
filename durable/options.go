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

// An Option is a setting of one handler, for [Jobs.With].
type Option interface{ apply(*settings) }

type optionFunc func(*settings)

func (f optionFunc) apply(s *settings) { f(s) }

// settings are those of a handler.
type settings struct {
	attempts int // 0: the client's
	backoff  func(attempt int) time.Duration
	timeout  time.Duration // 0: the client's
	queue    string
	priority int
	outside  bool
	aliases  []string
	key      func(tidings.Event) (string, error) // nil: no order
	keyOf    reflect.Type                        // the event that key is for
}

// Attempts is how often a handler is called for an event before its job is
// dead, at least 1. The default is the MaxAttempts of the River client; where
// a *sql.Tx on Postgres stores the job for a client of another driver, it is
// [river.MaxAttemptsDefault], which is 25. More than 32,767 is that many, the
// most that the table has room for: with River's waits for ever.
func Attempts(n int) Option {
	if n < 1 {
		panic(fmt.Sprintf("durable: Attempts(%d): a handler is called at least once", n))
	}
	// Capped and not refused: a million stands for no limit.
	return optionFunc(func(s *settings) { s.attempts = min(n, math.MaxInt16) })
}

// Backoff is the time to wait after an attempt has failed; attempts count
// from 1. The default is the RetryPolicy of the River client, which unless
// configured waits 1 s, 16 s, 81 s and so on: the fourth power of the attempt.
// A handler can say otherwise with [RetryAfter].
func Backoff(wait func(attempt int) time.Duration) Option {
	if wait == nil {
		panic("durable: Backoff(nil)")
	}
	return optionFunc(func(s *settings) { s.backoff = wait })
}

// Timeout is when the ctx of an attempt ends. The default is the JobTimeout of
// the River client, which unless configured is a minute.
func Timeout(d time.Duration) Option {
	if d <= 0 {
		panic(fmt.Sprintf("durable: Timeout(%v): a timeout is positive", d))
	}
	return optionFunc(func(s *settings) { s.timeout = d })
}

// Queue is the queue of the handler's jobs, in place of River's "default". A
// client has to work it: it is one of the Queues in its configuration.
func Queue(name string) Option {
	if !validQueue.MatchString(name) || len(name) > maxQueue {
		panic(fmt.Sprintf("durable: Queue(%q): River asks for at most %d small letters and digits, with single '_' or '-' between them", name, maxQueue))
	}
	return optionFunc(func(s *settings) { s.queue = name })
}

// Priority is that of the handler's jobs within their queue: from 1, the
// default, which goes first, to 4. It is strict: as long as the queue has a job
// of a lower number that is due, none of a higher one begins, and may wait
// without end. Where that cannot be accepted, give the handler a [Queue].
func Priority(p int) Option {
	if p < 1 || p > 4 {
		panic(fmt.Sprintf("durable: Priority(%d): a priority is between 1, which goes first, and 4", p))
	}
	return optionFunc(func(s *settings) { s.priority = p })
}

// Outside runs the handler without a transaction, for one that waits for
// other systems and must not hold a connection meanwhile. Its job is marked
// done afterwards, so if the process dies between the two the handler runs
// again: hand the event's ID on as an idempotency key.
func Outside() Option { return optionFunc(func(s *settings) { s.outside = true }) }

// Alias lets the handler work the jobs that are stored under a name that it
// had earlier. With [InOrderBy] the oldest name comes last, since the lines of
// jobs keep that one: a job under the new name waits for those under the old.
// Give up an alias when no job that was stored with it is left to be done.
func Alias(names ...string) Option {
	for _, name := range names {
		if err := checkName(name); err != nil {
			panic(fmt.Sprintf("durable: Alias: %v", err))
		}
	}
	return optionFunc(func(s *settings) { s.aliases = append(slices.Clone(s.aliases), names...) })
}

// InOrderBy runs the events of one key one after another, in the order in
// which their transactions committed: the next one waits until the one before
// is done, also while that fails and is tried again, and if it is dead until
// somebody calls [Jobs.Retry] or [Jobs.Discard] for it. Other keys go on. An
// event whose key is "" waits for nobody. The handler subscribes to E, or to
// events that are E.
//
// A job that has to wait is stored as pending, and costs nothing until the one
// before it makes it available in the transaction that completes it. On
// Postgres the publisher holds an advisory lock for each key from just before
// its commit to its end, so transactions that publish the same key commit one
// after another; a worker holds it likewise. One that publishes more than 32
// keys holds a single lock for the handler instead, since the server has a
// fixed number of them: until its end no other transaction stores or completes
// jobs of that handler. Such transactions have to be at READ COMMITTED, the
// default; at a stricter level the commit fails. Those that go to several
// handlers with an order, in different orders, may deadlock, of which Postgres
// ends one; and so may two attempts of a handler that each publish more than 32
// keys to that same handler. Call [Jobs.Migrate] once: without its index each
// such job reads the whole table.
//
// A job in line that is cancelled through River is dead, and holds up those
// behind it; one that River's own JobRetry makes available overtakes. Use Retry
// and Discard of [Jobs] instead.
func InOrderBy[E tidings.Event](key func(E) string) Option {
	if key == nil {
		panic("durable: InOrderBy(nil)")
	}
	return optionFunc(func(s *settings) {
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

// What River asks of the names of queues and of kinds.
const (
	maxQueue = 64
	maxName  = 127
)

var (
	validQueue = regexp.MustCompile(`\A[a-z0-9]+(?:[_-][a-z0-9]+)*\z`)
	validName  = regexp.MustCompile(`\A\w[\w\-\[\]<>/.·:+]+\z`)
)

// checkName returns nil for what can be the kind of River's jobs.
func checkName(name string) error {
	if !validName.MatchString(name) || len(name) > maxName {
		return fmt.Errorf("%q cannot be the name of a durable handler: River asks for 2 to %d letters, digits and any of -_[]<>/.·:+, the first one a letter or digit", name, maxName)
	}
	return nil
}
