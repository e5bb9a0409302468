package txtest_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/txtest"
	"github.com/tidings-go/tidings/internal/txtest/fakedb"
)

// The bus itself.

type fuzzError string

func (e fuzzError) Error() string { return string(e) }

const (
	fuzzPanic  = fuzzError("panic")
	fuzzBroken = fuzzError("broken")
)

type fuzzHandle int

type actualBus struct {
	run        *fuzzRun[context.Context]
	bus        *tidings.EventBus
	subs       []*tidings.Subscription
	transports map[string]*fuzzTransport
	numbers    map[uuid.UUID]int // of events
	handles    fuzzHandle
	txs        map[*sql.Tx]int
	dbs        [2]*sql.DB
	broken     [2]map[string]bool
}

func newActualBus(t *testing.T, run *fuzzRun[context.Context]) *actualBus {
	b := &actualBus{run: run, numbers: map[uuid.UUID]int{}, txs: map[*sql.Tx]int{}, transports: map[string]*fuzzTransport{}}
	b.bus = tidings.New(tidings.WithMaxDepth(fuzzMaxDepth), tidings.WithErrorHandler(func(_ context.Context, err error) {
		run.reports = append(run.reports, describe(err))
	}))
	for i := range b.dbs {
		var log *fakedb.Log
		b.dbs[i], log = fakedb.Open(t)
		b.broken[i] = map[string]bool{}
		for _, s := range []string{"BEGIN", "SAVEPOINT", "RELEASE", "ROLLBACK TO", "ROLLBACK", "COMMIT"} {
			log.On(s, func() error {
				run.note("%s on %c", s, 'a'+i)
				if b.broken[i][s] {
					delete(b.broken[i], s)
					return fuzzBroken
				}
				return nil
			})
		}
	}
	for phase, name := range map[tidings.Phase]string{
		tidings.InTransaction: "InTransaction", tidings.BeforeCommit: "BeforeCommit", tidings.AfterCommit: "AfterCommit",
	} {
		b.transports["via "+name] = &fuzzTransport{b, phase}
	}
	return b
}

// describe says what failed in the model's words.
func describe(err error) string {
	if err == nil {
		return ""
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []string
		for _, err := range joined.Unwrap() {
			all = append(all, describe(err))
		}
		return join(all)
	}
	if failed := (*tidings.HandlerError)(nil); errors.As(err, &failed) {
		return fmt.Sprintf("%s(%d: %s)", failed.Handler, numberOf(failed.Event), describe(failed.Err))
	}
	var known fuzzError
	switch {
	case errors.As(err, &known):
		return string(known)
	case errors.Is(err, tidings.ErrTxDone):
		return "done"
	case errors.Is(err, tidings.ErrMaxDepth):
		return "too deep"
	case strings.Contains(err.Error(), "recovered a panic"):
		return "recovered"
	case strings.Contains(err.Error(), "without calling its body"):
		return "no body"
	}
	return "unexpected: " + err.Error()
}

// failure is the reverse of describe, for what handlers and fn return.
func failure(failed string) error {
	switch failed {
	case "":
		return nil
	case "panic":
		panic(fuzzPanic)
	}
	return fuzzError(failed)
}

func numberOf(e tidings.Event) int {
	switch e := e.(type) {
	case txtest.Event:
		return e.N
	case txtest.Other:
		return e.N
	case txCart:
		return e.Items[0]
	}
	return -1
}

func (b *actualBus) subscribe(id int, h *fuzzHandler) {
	opts := []tidings.SubscribeOption{tidings.Named(fmt.Sprintf("h%d", id))}
	if h.once {
		opts = append(opts, tidings.Once())
	}
	if t, ok := b.transports[h.how]; ok {
		opts = append(opts, tidings.Via(t))
	}
	for _, phase := range allPhases {
		if phase.String() == h.how {
			opts = append(opts, phase)
		}
	}
	handle := func(ctx context.Context, e tidings.Event) error {
		n := numberOf(e)
		b.numbers[e.EventID()] = n
		if carried, ok := tidings.EventFrom(ctx); !ok || carried.EventID() != e.EventID() || numberOf(carried) != n {
			b.run.note("the context of %v carries %v", e, carried)
		}
		if cart, ok := e.(txCart); ok {
			cart.Items[0] = -1 // its own copy
		}
		return failure(b.run.handle(ctx, id, n, fmt.Sprintf("%s %s cause=%d workflow=%d",
			h.how, b.inTx(ctx), b.numbers[e.CausationID()], b.numbers[e.CorrelationID()])))
	}
	var sub *tidings.Subscription
	switch h.on {
	case "A":
		sub = tidings.Subscribe(b.bus, func(ctx context.Context, e txtest.Event) error { return handle(ctx, e) }, opts...)
	case "B":
		sub = tidings.Subscribe(b.bus, func(ctx context.Context, e txtest.Other) error { return handle(ctx, e) }, opts...)
	case "C":
		sub = tidings.Subscribe(b.bus, func(ctx context.Context, e txCart) error { return handle(ctx, e) }, opts...)
	default:
		sub = tidings.Subscribe(b.bus, handle, opts...)
	}
	b.subs = append(b.subs, sub)
}

// inTx says which transactions ctx is in.
func (b *actualBus) inTx(ctx context.Context) string {
	handle, _ := tidings.TxFrom[fuzzHandle](ctx, txtest.Database)
	txA, _ := tidings.TxFrom[*sql.Tx](ctx, b.dbs[dbA])
	txB, _ := tidings.TxFrom[*sql.Tx](ctx, b.dbs[dbB])
	return fmt.Sprintf("handle=%d a=%d b=%d", handle, b.txs[txA], b.txs[txB])
}

func (b *actualBus) unsubscribe(id int) { b.subs[id].Unsubscribe() }

func (b *actualBus) live() (ids []int) {
	for _, info := range b.bus.Subscriptions() {
		var id int
		if _, err := fmt.Sscanf(info.Handler, "h%d", &id); err != nil {
			b.run.note("no name: %v", info)
		}
		ids = append(ids, id)
	}
	return ids
}

func (b *actualBus) breakNext(db int, statement string) { b.broken[db][statement] = true }

func (b *actualBus) publish(ctx context.Context, how string, n int) string {
	switch how {
	case "A":
		return describe(tidings.Publish(ctx, b.bus, txtest.Event{N: n}))
	case "B":
		return describe(tidings.Publish(ctx, b.bus, txtest.Other{N: n}))
	case "C":
		return describe(tidings.Publish(ctx, b.bus, txCart{Items: []int{n}}))
	case "boxed A":
		return describe(tidings.Publish[tidings.Event](ctx, b.bus, txtest.Event{N: n}))
	case "boxed B":
		return describe(tidings.Publish[tidings.Event](ctx, b.bus, txtest.Other{N: n}))
	}
	return describe(tidings.Publish[tidings.Event](ctx, b.bus, txCart{Items: []int{n}}))
}

func (b *actualBus) onCommit(ctx context.Context, fn func(context.Context)) string {
	return describe(tidings.OnCommit(ctx, b.bus, func(ctx context.Context) error {
		fn(ctx)
		return nil
	}))
}

func (b *actualBus) scope(ctx context.Context, how string, fn func(context.Context) string) (result string) {
	defer func() {
		if p := recover(); p == fuzzPanic {
			result = "panic"
		} else if p != nil {
			panic(p)
		}
	}()
	switch how {
	case "by hand":
		return describe(b.byHand(ctx, fn))
	case "InTx a", "InTx b":
		return describe(b.runInTx(ctx, how, func(ctx context.Context) error { return failure(fn(ctx)) }))
	case "over InTx a", "over InTx b":
		over := tidings.Transactor{DB: b.dbs[how[len(how)-1]-'a'], Run: func(ctx context.Context, body func(context.Context) error) error {
			return b.runInTx(ctx, how, body)
		}}
		return describe(tidings.Transact(ctx, over, func(ctx context.Context) error { return failure(fn(ctx)) }))
	}
	return describe(tidings.Transact(ctx, txtest.On(func(ctx context.Context, body func(context.Context) error) (err error) {
		attempt := func() error {
			b.handles++
			return body(tidings.WithTx(ctx, txtest.Database, b.handles))
		}
		switch how {
		case "never":
			return nil
		case "failing commit":
			if err := attempt(); err != nil {
				return err
			}
			return fuzzError("commit failed")
		case "swallow":
			_ = attempt()
			return nil
		case "recover":
			defer func() { _ = recover() }()
		case "twice":
			_ = attempt()
		case "retry":
			if err := attempt(); err == nil {
				return nil
			}
		}
		return attempt()
	}), func(ctx context.Context) error { return failure(fn(ctx)) }))
}

func (b *actualBus) runInTx(ctx context.Context, how string, fn func(context.Context) error) error {
	return tidings.InTx(ctx, b.dbs[how[len(how)-1]-'a'], nil, func(ctx context.Context, tx *sql.Tx) error {
		if b.txs[tx] == 0 {
			b.txs[tx] = len(b.txs) + 1
		}
		return fn(ctx)
	})
}

func (b *actualBus) byHand(ctx context.Context, fn func(context.Context) string) error {
	ctx, hook := tidings.NewTxHook(ctx, txtest.Database)
	defer hook.Rollback(ctx)
	b.handles++
	ctx = tidings.WithTx(ctx, txtest.Database, b.handles)
	if err := failure(fn(ctx)); err != nil {
		return err
	}
	if err := hook.Prepare(ctx); err != nil {
		return err
	}
	return hook.Commit(ctx)
}

// A fuzzTransport notes what is sent.
type fuzzTransport struct {
	bus   *actualBus
	phase tidings.Phase
}

func (t *fuzzTransport) Phase() tidings.Phase { return t.phase }

func (t *fuzzTransport) Encode(context.Context, tidings.Outgoing) (any, error) { return nil, nil }

func (t *fuzzTransport) Handle(tidings.Handler) (func(), error) { return nil, nil }

func (t *fuzzTransport) Send(ctx context.Context, out []tidings.Outgoing) error {
	var deliveries []string
	for _, d := range out {
		deliveries = append(deliveries, fmt.Sprintf("%d to %s", numberOf(d.Event), strings.Join(d.Handlers, "+")))
	}
	return failure(t.bus.run.send(t.phase.String(), deliveries, t.bus.inTx(ctx)))
}
