package durable_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
	"github.com/tidings-go/tidings/eventlog"
)

// The handlers of these tests. Each writes a row of the table effects.
const (
	effectHandler  = "fault.effect"  // in the transaction of its job
	orderedHandler = "fault.ordered" // the same, by InOrderBy the Number
	outsideHandler = "fault.outside" // by itself, and Outside
	inboxHandler   = "fault.inbox"   // behind eventlog's Inbox; for Created
)

var allHandlers = []string{effectHandler, orderedHandler, outsideHandler, inboxHandler}

// faultTables makes the tables of these tests: orders has a row for each
// event whose transaction committed, and effects one for each effect. Nothing
// keeps a second effect out of it.
func faultTables(t testing.TB, h harness) {
	t.Helper()
	serial := "integer PRIMARY KEY AUTOINCREMENT"
	if h.postgres() {
		serial = "bigserial PRIMARY KEY"
	}
	for _, query := range []string{
		"CREATE TABLE orders (event_id text PRIMARY KEY, event text)",
		"CREATE TABLE effects (seq " + serial + ", event_id text, handler text, process text, number text, total integer)",
	} {
		require.NoError(t, h.exec(t.Context(), query))
	}
	_, err := eventlog.Open(t.Context(), h.log, newRegistry()) // for its inbox
	require.NoError(t, err)
}

// A faultWorker is the durable handlers of one process.
type faultWorker struct {
	plan  faultPlan
	jobs  *durable.Jobs
	bus   *tidings.EventBus
	calls atomic.Int64

	hung     atomic.Int64
	released atomic.Bool
}

// newFaultWorker returns the handlers, on a bus that publishes to them.
func newFaultWorker(t testing.TB, h harness, plan faultPlan, handlers ...string) *faultWorker {
	t.Helper()
	w := &faultWorker{plan: plan}
	config := river.Config{JobTimeout: plan.JobTimeout, RescueStuckJobsAfter: plan.RescueAfter}
	if plan.Workers > 0 {
		config.Queues = map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: plan.Workers}}
	}
	opts := []durable.Option{durable.WithLogger(slog.New(tellsLog{slog.DiscardHandler}))}
	if plan.Clock != 0 {
		clock := skewed(plan.Clock)
		config.Test.Time = clock
		opts = append(opts, durable.WithClock(clock.Now))
	}
	run := h.transactor.Run
	h.transactor.Run = func(ctx context.Context, body func(context.Context) error) error {
		if plan.HangAt == atBegin {
			w.hang(atBegin)
		}
		return run(ctx, body)
	}
	w.jobs, w.bus = h.jobs(t, config, opts...), tidings.New()

	effect := func(ctx context.Context, handler string, event tidings.Event, number string, total int64) error {
		w.calls.Add(1)
		err := h.exec(ctx, "INSERT INTO effects (event_id, handler, process, number, total) VALUES ($1, $2, $3, $4, $5)",
			event.EventID().String(), handler, plan.Name, number, total)
		if err != nil {
			return err
		}
		if plan.HangAt == atHandler {
			w.hang(handler)
		}
		if plan.Works > 0 {
			<-time.After(plan.Works)
		}
		return ctx.Err()
	}
	common := tidings.SubscribeOptions{tidings.Attempts(1000), tidings.Backoff(func(int) time.Duration { return 10 * time.Millisecond })}
	options := map[string]tidings.SubscribeOptions{
		orderedHandler: {durable.InOrderBy(func(e Accepted) string { return e.Number })},
		outsideHandler: {durable.Outside()},
	}
	for _, name := range handlers {
		via := tidings.SubscribeOptions{tidings.Via(w.jobs), common, options[name]}
		if name == inboxHandler {
			log, err := eventlog.Open(t.Context(), h.log, newRegistry())
			require.NoError(t, err)
			tidings.Subscribe(w.bus, func(ctx context.Context, e Created) error { return effect(ctx, name, e, e.Client, 0) },
				tidings.Named(name), via, log.Inbox())
			continue
		}
		tidings.Subscribe(w.bus, func(ctx context.Context, e Accepted) error { return effect(ctx, name, e, e.Number, e.Total) },
			tidings.Named(name), via)
	}
	return w
}

// hang waits for the parent, or for the end, if it is time to.
func (w *faultWorker) hang(where string) {
	if w.released.Load() || w.hung.Add(1) <= int64(w.plan.HangAfter) {
		return
	}
	say("hung", where)
	await("go")
	w.released.Store(true)
}

// faultWork works until it is told to stop.
func faultWork(t *testing.T, h harness, plan faultPlan) {
	if plan.Handlers == nil {
		plan.Handlers = allHandlers
	}
	w := newFaultWorker(t, h, plan, plan.Handlers...)
	say("ready")
	await("work")
	start(t, w.jobs)
	await("stop")
	stop(t, w.jobs)
	say("calls", w.calls.Load())
}

// startWorking starts a process that works the jobs.
func startWorking(t *testing.T, h harness, plan faultPlan) *faultChild {
	t.Helper()
	plan.Do = "work"
	c := startFault(t, h, plan)
	c.hear(t, "ready")
	c.tell("work")
	return c
}

// order publishes event and notes it, in one transaction.
func (w *faultWorker) order(ctx context.Context, h harness, event tidings.Event, publish ...func(context.Context) error) error {
	kind := map[bool]string{true: "accepted", false: "created"}[is[Accepted](event)]
	return h.transact(ctx, func(ctx context.Context) error {
		if err := h.exec(ctx, "INSERT INTO orders (event_id, event) VALUES ($1, $2)", event.EventID().String(), kind); err != nil {
			return err
		}
		for _, p := range publish {
			if err := p(ctx); err != nil {
				return err
			}
		}
		return tidings.Publish(ctx, w.bus, event)
	})
}

func is[E tidings.Event](event tidings.Event) bool { _, ok := event.(E); return ok }

// tellsLog tells the parent what is logged.
type tellsLog struct{ slog.Handler }

func (tellsLog) Enabled(context.Context, slog.Level) bool { return os.Getenv(faultPlanOf) != "" }

func (tellsLog) Handle(_ context.Context, r slog.Record) error {
	say("logged", r.Message)
	return nil
}

// skewed is a clock that is ahead by so much.
type skewed time.Duration

func (s skewed) Now() time.Time { return time.Now().Add(time.Duration(s)) }
func (s skewed) NowOrNil() *time.Time {
	now := s.Now().UTC()
	return &now
}

// A ledger is what has become of the events for one handler.
type ledger struct {
	handler   string
	committed int // events whose transaction committed
	effects   int
	missing   int // events without an effect
	doubled   int // events with more than one
	phantom   int // effects without an event that committed
}

func (l ledger) String() string {
	return fmt.Sprintf("%s: %d committed, %d effects, %d missing, %d doubled, %d of nothing", l.handler, l.committed, l.effects, l.missing, l.doubled, l.phantom)
}

func ledgerOf(t testing.TB, h harness, handler string) ledger {
	t.Helper()
	event := "accepted"
	if handler == inboxHandler {
		event = "created"
	}
	l := ledger{handler: handler}
	const mine = "FROM effects WHERE effects.handler = '%s'"
	for query, dest := range map[string]*int{
		"SELECT count(*) FROM orders WHERE event = '" + event + "'": &l.committed,
		"SELECT count(*) " + mine:                                   &l.effects,
		"SELECT count(*) FROM orders WHERE event = '" + event + "' AND NOT EXISTS (SELECT 1 " + mine + " AND effects.event_id = orders.event_id)":        &l.missing,
		"SELECT count(*) FROM (SELECT event_id " + mine + " GROUP BY event_id HAVING count(*) > 1) AS doubled":                                           &l.doubled,
		"SELECT count(*) " + mine + " AND NOT EXISTS (SELECT 1 FROM orders WHERE orders.event_id = effects.event_id AND orders.event = '" + event + "')": &l.phantom,
	} {
		*dest = h.count(t, strings.ReplaceAll(query, "%s", handler))
	}
	return l
}

// balanced requires that every event that committed has had its effect, once,
// and says the counts. What is Outside may have had it more often.
func balanced(t testing.TB, h harness, committed int, handlers ...string) {
	t.Helper()
	for _, handler := range handlers {
		l := ledgerOf(t, h, handler)
		t.Log(h.name, l)
		if committed >= 0 && handler != inboxHandler {
			require.Equal(t, committed, l.committed)
		}
		require.Positive(t, l.committed)
		require.Zero(t, l.missing, l)
		require.Zero(t, l.phantom, l)
		if handler != outsideHandler {
			require.Zero(t, l.doubled, l)
			require.Equal(t, l.committed, l.effects, l)
		}
	}
	require.Zero(t, h.count(t, `SELECT count(*) FROM effects AS early JOIN effects AS late ON early.number = late.number AND early.handler = late.handler
		WHERE early.handler = '`+orderedHandler+`' AND early.seq < late.seq AND early.total > late.total`), "out of order")
}

// unfinished returns how many jobs are not completed, and -1 if the database
// does not answer.
func unfinished(h harness) (n int) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := faultScan(ctx, h, "SELECT count(*) FROM river_job WHERE state <> 'completed'", &n); err != nil {
		return -1
	}
	return n
}

// allDone waits until all jobs are completed, and does something meanwhile.
func allDone(t testing.TB, h harness, meanwhile ...func()) {
	t.Helper()
	left := -1
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); <-time.After(20 * time.Millisecond) {
		for _, do := range meanwhile {
			do()
		}
		if left = unfinished(h); left == 0 {
			return
		}
	}
	t.Fatalf("%s: %d jobs are not done", h.name, left)
}

// withoutLeader ends the lease of a leader that was killed, which lasts 15 s.
func withoutLeader(t testing.TB, h harness) {
	t.Helper()
	require.NoError(t, h.exec(t.Context(), "DELETE FROM river_leader"))
}
