package eventlog_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
)

// A model is a read model that notes what it was called for.
type model struct {
	mu     sync.Mutex
	events []Accepted
	replay []bool
	hook   func(ctx context.Context, e Accepted) error
}

func (m *model) build(ctx context.Context, e Accepted) error {
	if m.hook != nil {
		if err := m.hook(ctx, e); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.events = append(m.events, e)
	m.replay = append(m.replay, eventlog.Replaying(ctx))
	return nil
}

func (m *model) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []string
	for _, e := range m.events {
		all = append(all, e.Number)
	}
	return strings.Join(all, " ")
}

const build = "reports.build"

func TestBackfillCallsOneHandlerByItsName(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		fill(t, bus, 1, 3)
		require.NoError(t, tidings.Publish(t.Context(), bus, Created{}))
		m, other := &model{}, &model{}
		wrapped := 0
		tidings.Subscribe(bus, m.build, tidings.Named(build), tidings.Middleware(func(next tidings.HandlerFunc) tidings.HandlerFunc {
			return func(ctx context.Context, d tidings.Delivery) error { wrapped++; return next(ctx, d) }
		}))
		tidings.Subscribe(bus, other.build, tidings.Named("other"))
		report, err := log.Backfill(t.Context(), bus, build)
		require.NoError(t, err)
		require.Equal(t, 3, report.Handled)
		require.Equal(t, "1 2 3", m.String())
		require.Equal(t, 3, wrapped)
		require.Empty(t, other.events)

		fill(t, bus, 4, 4)
		require.Equal(t, "1 2 3 4", m.String(), "live")
		require.Equal(t, []bool{true, true, true, false}, m.replay)
	})
}

func TestBackfillResumes(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		fill(t, bus, 1, 5)
		m := &model{hook: func(_ context.Context, e Accepted) error {
			if e.Number == "3" {
				return errStop
			}
			return nil
		}}
		tidings.Subscribe(bus, m.build, tidings.Named(build))
		report, err := log.Backfill(t.Context(), bus, build, eventlog.Resume(build))
		require.ErrorIs(t, err, errStop)
		require.ErrorContains(t, err, "eventlog: Backfill stopped at position ")
		require.Equal(t, 2, report.Handled)
		m.hook = nil
		_, err = log.Backfill(t.Context(), bus, build, eventlog.Resume(build))
		require.NoError(t, err)
		fill(t, bus, 6, 6)
		report, err = log.Backfill(t.Context(), bus, build, eventlog.Resume(build))
		require.NoError(t, err)
		require.Zero(t, report.Handled, "live events have taken over")
		require.Equal(t, "1 2 3 4 5 6", m.String())
	})
}

func TestBackfillRefuses(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		ctx := t.Context()
		tidings.Subscribe(bus, (&model{}).build, tidings.Named(build), log.CatchUp())
		tidings.Subscribe(bus, func(context.Context, Unknown) error { return nil }, tidings.Named("unregistered"))
		_, err := log.Backfill(ctx, nil, build)
		require.EqualError(t, err, "eventlog: Backfill on a nil *EventBus")
		_, err = log.Backfill(ctx, bus, "nobody")
		require.EqualError(t, err, `eventlog: Backfill: there is no handler named "nobody": Subscribe one with tidings.Named("nobody") first`)
		_, err = log.Backfill(ctx, bus, "unregistered")
		require.ErrorIs(t, err, tidings.ErrUnregistered)
		_, err = log.Backfill(ctx, bus, build, eventlog.Resume("other"))
		require.ErrorContains(t, err, "the cursor has the name of the handler")
		require.NoError(t, h.inTx(ctx, func(ctx context.Context) error {
			_, err := log.Backfill(ctx, bus, build)
			require.ErrorContains(t, err, "eventlog: Backfill inside a transaction")
			return nil
		}))
		fill(t, bus, 1, 1)
		_, err = log.Backfill(ctx, bus, build, eventlog.Progress(func(eventlog.ReplayProgress) {
			_, err := log.Backfill(ctx, bus, build)
			require.EqualError(t, err, `eventlog: Backfill of "reports.build": another one is running`)
		}))
		require.NoError(t, err)
	})
}

func TestBackfillDryRun(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		m := &model{}
		tidings.Subscribe(bus, m.build, tidings.Named(build), log.CatchUp())
		fill(t, bus, 1, 2)
		report, err := log.Backfill(t.Context(), bus, build, eventlog.DryRun())
		require.NoError(t, err)
		require.Equal(t, 2, report.Handled)
		fill(t, bus, 3, 3)
		require.Empty(t, m.events, "it has not caught up")
	})
}

func TestCatchUp(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		fill(t, bus, 1, 2)
		m := &model{}
		tidings.Subscribe(bus, m.build, tidings.Named(build), log.CatchUp())
		fill(t, bus, 3, 4)
		require.Empty(t, m.events, "live events wait for Backfill")
		m.hook = func(ctx context.Context, e Accepted) error {
			if e.Number == "2" { // from outside, and in the course of the Backfill
				fill(t, bus, 5, 5)
				return tidings.Publish(ctx, bus, Accepted{Number: "6"})
			}
			return nil
		}
		report, err := log.Backfill(t.Context(), bus, build)
		require.NoError(t, err)
		require.Equal(t, 6, report.Handled)
		require.Equal(t, "1 2 3 4 5 6", m.String())
		fill(t, bus, 7, 7)
		require.Equal(t, "1 2 3 4 5 6 7", m.String())
		require.Equal(t, []bool{true, true, true, true, true, true, false}, m.replay)

		_, err = log.ReplayTo(t.Context(), bus, eventlog.Limit(1))
		require.NoError(t, err)
		require.Equal(t, "1 2 3 4 5 6 7 1", m.String(), "ReplayTo means it")
	})
}

func TestCatchUpOfAnEmptyLog(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		m := &model{}
		tidings.Subscribe(bus, m.build, tidings.Named(build), log.CatchUp())
		_, err := log.Backfill(t.Context(), bus, build, eventlog.Resume(build))
		require.NoError(t, err)
		fill(t, bus, 1, 2)
		require.Equal(t, "1 2", m.String())

		// The next process.
		next, bus2 := h.open(t), tidings.New()
		next.Attach(bus2)
		m2 := &model{}
		tidings.Subscribe(bus2, m2.build, tidings.Named(build), next.CatchUp())
		fill(t, bus2, 3, 3)
		require.Equal(t, "3", m2.String(), "the cursor says that it is live")
		report, err := next.Backfill(t.Context(), bus2, build, eventlog.Resume(build))
		require.NoError(t, err)
		require.Zero(t, report.Handled)
		fill(t, bus2, 4, 4)
		require.Equal(t, "3 4", m2.String())
	})
}

// Interrupted in one process, and carried on in the next.
func TestCatchUpAcrossProcesses(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		fill(t, bus, 1, 3)
		m := &model{hook: func(_ context.Context, e Accepted) error {
			if e.Number == "2" {
				return errStop
			}
			return nil
		}}
		tidings.Subscribe(bus, m.build, tidings.Named(build), log.CatchUp())
		_, err := log.Backfill(t.Context(), bus, build, eventlog.Resume(build))
		require.ErrorIs(t, err, errStop)
		fill(t, bus, 4, 4)
		require.Equal(t, "1", m.String(), "it is not live")

		next, bus2 := h.open(t), tidings.New()
		next.Attach(bus2)
		m.hook = nil
		tidings.Subscribe(bus2, m.build, tidings.Named(build), next.CatchUp())
		fill(t, bus2, 5, 5)
		_, err = next.Backfill(t.Context(), bus2, build, eventlog.Resume(build))
		require.NoError(t, err)
		fill(t, bus2, 6, 6)
		require.Equal(t, "1 2 3 4 5 6", m.String())
	})
}

// An event that was delivered before the handler was live, and that the
// transport brings again, or late, was handled.
func TestCatchUpDropsWhatBackfillHasHandled(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		m := &model{}
		tidings.Subscribe(bus, m.build, tidings.Named(build), log.CatchUp())
		fill(t, bus, 1, 2)
		open := tidings.Stamp(t.Context(), Accepted{Number: "open"}) // before the Backfill, to be committed after it
		_, err := log.Backfill(t.Context(), bus, build, eventlog.Resume(build))
		require.NoError(t, err)
		late := all(t, log)[1].Event
		require.NoError(t, bus.Deliver(t.Context(), build, late))
		require.NoError(t, tidings.Publish(t.Context(), bus, open))
		foreign := uuid.MustParse("ffffffff-ffff-4fff-bfff-ffffffffffff")
		h.exec(t, `UPDATE tidings_events SET id = $1 WHERE id = $2`, foreign.String(), late.EventID().String())
		require.NoError(t, bus.Deliver(t.Context(), build, all(t, log)[1].Event), "an ID from elsewhere, that looks new")
		require.Equal(t, "1 2 open", m.String())

		next, bus2 := h.open(t), tidings.New()
		tidings.Subscribe(bus2, m.build, tidings.Named(build), next.CatchUp())
		require.NoError(t, bus2.Deliver(t.Context(), build, all(t, log)[0].Event))
		require.Equal(t, "1 2 open", m.String(), "nor in the next process")
	})
}

// An event that was published before the handler was subscribed, in a
// transaction that commits after that, never comes live.
func TestCatchUpOfWhatWasPublishedBefore(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		m := &model{}
		published, commit, done := make(chan struct{}), make(chan struct{}), make(chan error, 2)
		go func() {
			done <- h.inTx(t.Context(), func(ctx context.Context) error {
				if err := tidings.Publish(ctx, bus, Accepted{Number: "before"}); err != nil {
					return err
				}
				close(published)
				<-commit
				return tidings.Publish(ctx, bus, Accepted{Number: "after"})
			})
		}()
		<-published
		tidings.Subscribe(bus, m.build, tidings.Named(build), log.CatchUp())
		late := newDeadline(t)
		late.in = "(*publishers).wait"
		_, err := log.Backfill(late, bus, build)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "waiting for the end of transactions")
		go func() {
			_, err := log.Backfill(t.Context(), bus, build)
			done <- err
		}()
		close(commit)
		require.NoError(t, errors.Join(<-done, <-done))
		require.Equal(t, "before after", m.String())
	})
}

func TestCatchUpBeginsAnewWithoutResume(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		m := &model{}
		tidings.Subscribe(bus, m.build, tidings.Named(build), log.CatchUp())
		fill(t, bus, 1, 2)
		_, err := log.Backfill(t.Context(), bus, build, eventlog.Resume(build))
		require.NoError(t, err)
		fill(t, bus, 3, 3)
		m.hook = func(context.Context, Accepted) error { return errStop }
		_, err = log.Backfill(t.Context(), bus, build)
		require.ErrorIs(t, err, errStop)
		m.hook = nil
		fill(t, bus, 4, 4)
		require.Equal(t, "1 2 3", m.String(), "it waits again")
		_, err = log.Backfill(t.Context(), bus, build, eventlog.Resume(build))
		require.ErrorContains(t, err, "call it without Resume again")
		_, err = log.Backfill(t.Context(), bus, build)
		require.NoError(t, err)
		require.Equal(t, "1 2 3 1 2 3 4", m.String())
	})
}

func TestCatchUpWithALimitIsNotLive(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		m := &model{}
		tidings.Subscribe(bus, m.build, tidings.Named(build), log.CatchUp())
		fill(t, bus, 1, 3)
		_, err := log.Backfill(t.Context(), bus, build, eventlog.Resume(build), eventlog.Limit(2))
		require.NoError(t, err)
		fill(t, bus, 4, 4)
		require.Equal(t, "1 2", m.String())
		_, err = log.Backfill(t.Context(), bus, build, eventlog.Resume(build))
		require.NoError(t, err)
		require.Equal(t, "1 2 3 4", m.String())
	})
}

// Leaving an event to Backfill that will never be in the log would lose it.
func TestCatchUpRefusesWhatIsNotInTheLog(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		m := &model{}
		sub := tidings.Subscribe(bus, m.build, tidings.Named(build), log.CatchUp(), tidings.InTransaction)
		err := tidings.Publish(t.Context(), bus, Accepted{})
		require.ErrorContains(t, err, "is not in the log, so Backfill would miss it")
		sub.Unsubscribe()
		require.Empty(t, m.events)
	})
}

// A module may open a log of its own on the same database. Where that would
// lose something it is said.
func TestBackfillByAnotherLog(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		other := h.open(t)
		m := &model{}
		sub := tidings.Subscribe(bus, m.build, tidings.Named(build), log.CatchUp())
		require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{Number: "1"}))
		_, err := other.Backfill(t.Context(), bus, build)
		require.ErrorContains(t, err, "the log that is attached to the bus is another *Log")
		sub.Unsubscribe()
		tidings.Subscribe(bus, m.build, tidings.Named(build), other.CatchUp())
		_, err = log.Backfill(t.Context(), bus, build)
		require.ErrorContains(t, err, "use one *Log for both")
		require.Empty(t, m.events)
	})
}

// The hand-over under load: each event once, for each publisher in order, and
// what is handled by Backfill in the order of positions.
func TestCatchUpWhileOthersPublish(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		options []eventlog.ReplayOption
		async   bool
	}{
		{name: "inline"},
		{name: "resume", options: []eventlog.ReplayOption{eventlog.Resume(build)}},
		{name: "async", async: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			each(t, func(t *testing.T, h harness) {
				log, bus := h.attached(t)
				m := &model{}
				fill(t, bus, 1, 100)
				options := []tidings.SubscribeOption{tidings.Named(build), log.CatchUp()}
				if tt.async {
					options = append(options, tidings.Async())
				}

				const publishers = 4
				stop, running := make(chan struct{}), make(chan struct{}, publishers)
				published := make([]int, publishers)
				errs := make([]error, publishers)
				var wg sync.WaitGroup
				for p := range publishers {
					wg.Go(func() {
						for n := 0; errs[p] == nil && n < 400; n++ {
							select {
							case <-stop:
								return
							default:
							}
							e := func() Accepted {
								published[p]++
								return Accepted{Number: fmt.Sprint(p), Total: int64(published[p])}
							}
							if n%3 == 0 { // outside a transaction, and several in one
								errs[p] = tidings.Publish(t.Context(), bus, e())
							} else {
								errs[p] = h.inTx(t.Context(), func(ctx context.Context) error {
									return errors.Join(tidings.Publish(ctx, bus, e()), tidings.Publish(ctx, bus, e()))
								})
							}
							if n == 5 {
								running <- struct{}{}
							}
						}
					})
				}
				for range publishers {
					<-running
				}
				tidings.Subscribe(bus, m.build, options...) // while they publish
				for range publishers {
					// Some more come before the Backfill.
					require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{Number: "main"}))
				}
				_, err := log.Backfill(t.Context(), bus, build, tt.options...)
				require.NoError(t, err)
				fill(t, bus, 1, 20) // live
				close(stop)
				wg.Wait()
				require.NoError(t, errors.Join(errs...))
				require.NoError(t, bus.Close(t.Context()))

				records := all(t, log)
				position := map[uuid.UUID]eventlog.Position{}
				for _, r := range records {
					position[r.Envelope.ID] = r.Position
				}
				seen := map[uuid.UUID]bool{}
				last := map[string]int64{}
				for _, e := range m.events {
					require.False(t, seen[e.EventID()], "%s %d twice", e.Number, e.Total)
					seen[e.EventID()] = true
					require.NotZero(t, position[e.EventID()])
					if e.Total > 0 {
						require.Equal(t, last[e.Number]+1, e.Total, "publisher %s", e.Number)
						last[e.Number] = e.Total
					}
				}
				require.Len(t, seen, len(records), "missed")
				live := 0
				for _, replayed := range m.replay {
					if !replayed {
						live++
					}
				}
				require.Positive(t, live, "the test is about both")
			})
		})
	}
}
