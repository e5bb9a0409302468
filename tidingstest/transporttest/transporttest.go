// Package transporttest checks a [tidings.Transport]: that events and handlers behave
// behind it as they do without one.
//
//	func Test(t *testing.T) {
//		transporttest.Test(t, transporttest.Features{}, func(t *testing.T) transporttest.Subject {
//			jobs := newJobs(t)
//			return transporttest.Subject{Via: tidings.Via(jobs), Start: jobs.Start}
//		})
//	}
package transporttest

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tidings-go/tidings"
)

// Features lists what a transport does not promise, so that [Test] does not
// require it. The zero Features requires everything.
type Features struct {
	Unordered   bool // events may overtake each other on their way to a handler
	AtLeastOnce bool // an event may reach a handler twice, although it did not fail
	NoRetry     bool // a handler that fails is not called again for that event, whatever its Attempts

	// NoDrain reports that Close of the bus does not wait for sent events. It
	// waits only for [tidings.Async].
	NoDrain bool

	// NeedsTx reports that events can be published only inside of Subject.InTx.
	NeedsTx bool

	// OneWriter reports that no other publisher can publish while a transaction
	// that has published is open, as on SQLite.
	OneWriter bool

	// Patience limits the wait for one event; 0 means ten seconds. Retries must
	// happen within it.
	Patience time.Duration
}

// A Subject is a transport under test, opened for one subtest.
type Subject struct {
	// Via makes the transport run a handler: Async(), or Via(t).
	Via tidings.SubscribeOption

	// InTx runs fn in a transaction that the transport can take part in: with
	// [tidings.InTx] or [tidings.Transact], so inside of another one in a
	// savepoint. It is required if the transport sends before the commit; nil
	// means a transaction without a database.
	InTx func(ctx context.Context, fn func(context.Context) error) error

	// Start, unless nil, is called when all handlers of the subtest are
	// subscribed, and before any event is published.
	Start func(ctx context.Context) error
}

// Counted is the event of most subtests of [Test]. A transport that
// encodes events must know this type, and [Described].
type Counted struct {
	tidings.DomainEvent
	Number int64
}

// Described is an event of [Test] with fields of many kinds.
type Described struct {
	tidings.DomainEvent
	Number   int64
	Text     string
	Amount   float64
	Urgent   bool
	Due      time.Time
	Ref      uuid.UUID
	Lines    tidings.List[string]
	Shipping struct {
		Street string
		Code   int32
	}
}

func (Counted) ofSuite()   {}
func (Described) ofSuite() {}

// Test checks that a transport does what [tidings.Transport] requires,
// and that handlers and events behave as without it. Each requirement is a
// subtest, for which open is called anew; open must stop what it starts with
// t.Cleanup.
//
// The transport may still store events of an earlier run, which are ignored;
// two runs at once need separate stores. The names of handlers, which begin
// with "transporttest.", are the same in each run.
func Test(t *testing.T, features Features, open func(t *testing.T) Subject) {
	t.Helper()
	if features.Patience == 0 {
		features.Patience = 10 * time.Second
	}
	for _, c := range transportChecks {
		if c.skip != nil && c.skip(features) {
			continue
		}
		t.Run(c.name, func(t *testing.T) { c.run(newRig(t, c.name, features, open)) })
	}
}

type transportCheck struct {
	name string
	run  func(*rig)
	skip func(Features) bool // nil: it applies to all
}

var transportChecks = []transportCheck{
	{name: "intact", run: checkIntact},
	{name: "every handler", run: checkEveryHandler},
	{name: "handler fails", run: checkHandlerFails},
	{name: "handler panics", run: checkHandlerPanics},
	{name: "attempts", run: checkAttempts, skip: func(f Features) bool { return f.NoRetry }},
	{name: "timeout", run: checkTimeout, skip: func(f Features) bool { return f.NoRetry }},
	{name: "option of another", run: checkForeignOption},
	{name: "commit", run: checkCommit},
	{name: "rollback", run: checkRollback},
	{name: "failed commit", run: checkFailedCommit},
	{name: "savepoint", run: checkSavepoint},
	{name: "order", run: checkOrder, skip: func(f Features) bool { return f.Unordered }},
	{name: "causation", run: checkCausation},
	{name: "context", run: checkContext},
	{name: "interfaces", run: checkInterfaces},
	{name: "unsubscribe", run: checkUnsubscribe},
	{name: "subscribe again", run: checkSubscribeAgain},
	{name: "parallel", run: checkParallel},
	{name: "close", run: checkClose, skip: func(f Features) bool { return f.NoDrain }},
}
