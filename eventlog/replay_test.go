package eventlog_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
)

var errStop = errors.New("stop")

// Numbered is a family of events: Accepted is one, Created is not.
type Numbered interface {
	tidings.Event
	EventNumber() string
}

func (a Accepted) EventNumber() string { return a.Number }

// recorder collects what a handler is called for.
type recorder struct {
	got  []string
	fail string // the number to fail at
}

func (r *recorder) on(ctx context.Context, e Accepted) error {
	if !eventlog.Replaying(ctx) {
		return errors.New("not replaying")
	}
	if e.Number == r.fail {
		return errStop
	}
	r.got = append(r.got, e.Number)
	return nil
}

func (r *recorder) all() string { return strings.Join(r.got, " ") }

func TestReplayCallsAHandlerInOrder(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		fill(t, bus, 1, 2)
		require.NoError(t, tidings.Publish(t.Context(), bus, Created{Client: "c"}))
		fill(t, bus, 3, 4)
		last, err := log.Last(t.Context())
		require.NoError(t, err)

		r := &recorder{}
		report, err := eventlog.Replay(t.Context(), log, r.on)
		require.NoError(t, err)
		require.Equal(t, "1 2 3 4", r.all())
		require.Equal(t, eventlog.ReplayReport{Handled: 4, Position: last}, report)
		require.False(t, eventlog.Replaying(t.Context()))

		var family []string
		report, err = eventlog.Replay(t.Context(), log, func(_ context.Context, e Numbered) error {
			family = append(family, e.EventNumber())
			return nil
		})
		require.NoError(t, err)
		require.Equal(t, []string{"1", "2", "3", "4"}, family, "of an interface")
		require.Equal(t, 4, report.Handled)

		everything := 0
		_, err = eventlog.Replay(t.Context(), log, func(context.Context, tidings.Event) error { everything++; return nil })
		require.NoError(t, err)
		require.Equal(t, 5, everything)

		r = &recorder{}
		_, err = eventlog.Replay(t.Context(), log, r.on, eventlog.Limit(2), eventlog.After(all(t, log)[0].Position))
		require.NoError(t, err)
		require.Equal(t, "2 3", r.all(), "a Filter is an option")
	})
}

func TestReplayEndsWithWhatWasThereAtTheStart(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		fill(t, bus, 1, 3)
		handled := 0
		_, err := eventlog.Replay(t.Context(), log, func(ctx context.Context, e Accepted) error {
			handled++
			return tidings.Publish(ctx, bus, Accepted{Number: "more"})
		})
		require.NoError(t, err)
		require.Equal(t, 3, handled)
		require.Len(t, all(t, log), 6)
	})
}

func TestReplayGivesTheContextOfAHandler(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		fill(t, bus, 1, 1)
		was := all(t, log)[0].Event.(Accepted)
		nested := false
		tidings.Subscribe(bus, func(ctx context.Context, _ Created) error {
			nested = eventlog.Replaying(ctx)
			return nil
		})
		_, err := eventlog.Replay(t.Context(), log, func(ctx context.Context, e Accepted) error {
			require.Equal(t, was, e, "with the header of then")
			from, ok := tidings.EventFrom(ctx)
			require.True(t, ok)
			require.Equal(t, tidings.Event(e), from)
			return tidings.Publish(ctx, bus, Created{Client: "effect"})
		})
		require.NoError(t, err)
		effect := all(t, log)[1].Event
		require.Equal(t, was.EventID(), effect.CausationID())
		require.Equal(t, was.CorrelationID(), effect.CorrelationID())
		require.True(t, nested)
	})
}

func TestReplayStopsAtAnError(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		fill(t, bus, 1, 4)
		events := all(t, log)
		r := &recorder{fail: "3"}
		report, err := eventlog.Replay(t.Context(), log, r.on)
		require.ErrorIs(t, err, errStop)
		require.ErrorContains(t, err, fmt.Sprintf("eventlog: Replay stopped at position %s, event %s: tidings: ", events[2].Position, events[2].Envelope.ID))
		var failed *tidings.HandlerError
		require.ErrorAs(t, err, &failed)
		require.Contains(t, failed.Handler, "recorder")
		require.Equal(t, eventlog.ReplayReport{Handled: 2, Position: events[1].Position}, report)

		_, err = eventlog.Replay(t.Context(), log, func(context.Context, Accepted) error { panic("broken") })
		var panicked *tidings.PanicError
		require.ErrorAs(t, err, &panicked)
	})
}

func TestReplayOfWhatCannotBeDecoded(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		fill(t, bus, 1, 4)
		require.NoError(t, tidings.Publish(t.Context(), bus, Created{Client: "c"}))
		events := all(t, log)
		h.exec(t, `UPDATE tidings_events SET version = 9 WHERE id = $1`, events[1].Envelope.ID.String())
		h.exec(t, `UPDATE tidings_events SET version = 9 WHERE id = $1`, events[4].Envelope.ID.String())

		r := &recorder{}
		report, err := eventlog.Replay(t.Context(), log, r.on)
		var undecodable *eventlog.DecodeError
		require.ErrorAs(t, err, &undecodable)
		require.ErrorIs(t, err, tidings.ErrUnregistered)
		require.ErrorContains(t, err, events[1].Envelope.ID.String())
		require.Equal(t, 1, report.Handled)

		var skipped []string
		r = &recorder{}
		report, err = eventlog.Replay(t.Context(), log, r.on, eventlog.SkipUndecodable(func(err *eventlog.DecodeError) {
			skipped = append(skipped, err.Recorded.Envelope.ID.String())
		}))
		require.NoError(t, err)
		require.Equal(t, "1 3 4", r.all())
		require.Equal(t, []string{events[1].Envelope.ID.String()}, skipped, "the Created is none of its business")
		require.Equal(t, eventlog.ReplayReport{Handled: 3, Undecodable: 1, Position: events[3].Position}, report)

		_, err = eventlog.Replay(t.Context(), log, r.on, eventlog.DryRun())
		require.ErrorAs(t, err, &undecodable, "a dry run decodes")
	})
}

func TestReplayProgress(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		require.NoError(t, h.inTx(t.Context(), func(ctx context.Context) error {
			for i := range 1200 {
				require.NoError(t, tidings.Publish(ctx, bus, Accepted{Number: fmt.Sprint(i)}))
			}
			return nil
		}))
		next := 1
		var last eventlog.Position
		report, err := eventlog.Replay(t.Context(), log, func(context.Context, Accepted) error { return nil },
			eventlog.Progress(func(p eventlog.ReplayProgress) {
				require.Equal(t, next, p.Done)
				require.Equal(t, 1200, p.Total)
				require.Equal(t, -1, last.Compare(p.Position))
				last = p.Position
				next++
			}))
		require.NoError(t, err)
		require.Equal(t, 1201, next)
		require.Equal(t, eventlog.ReplayReport{Handled: 1200, Position: last}, report)
	})
}

func TestReplayDryRunStoresNothing(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		fill(t, bus, 1, 3)
		called := false
		handler := func(context.Context, Accepted) error { called = true; return nil }
		report, err := eventlog.Replay(t.Context(), log, handler, eventlog.DryRun(), eventlog.Resume("c"))
		require.NoError(t, err)
		require.Equal(t, 3, report.Handled)
		require.False(t, called)
		require.Zero(t, h.count(t, `SELECT count(*) FROM tidings_cursors`))
	})
}

func TestReplayResumes(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		fill(t, bus, 1, 5)
		// The effect of a handler, in its transaction.
		effect := func(ctx context.Context, e Accepted) {
			execTx(ctx, t, h, fmt.Sprintf(`INSERT INTO tidings_inbox (handler, event_id, recorded_at) VALUES ('%s', '%s', %s)`,
				e.Number, e.EventID(), map[bool]string{true: "now()", false: "0"}[h.postgres()]))
		}
		effects := func() int { return h.count(t, `SELECT count(*) FROM tidings_inbox`) }
		r := &recorder{fail: "3"}
		handler := func(ctx context.Context, e Accepted) error {
			effect(ctx, e)
			return r.on(ctx, e)
		}
		_, err := eventlog.Replay(t.Context(), log, handler, eventlog.Resume("model"))
		require.ErrorIs(t, err, errStop)
		require.Equal(t, 2, effects(), "that of 3 rolled back")
		r.fail = "4"
		_, err = eventlog.Replay(t.Context(), log, handler, eventlog.Resume("model"))
		require.ErrorIs(t, err, errStop)
		r.fail = ""
		report, err := eventlog.Replay(t.Context(), log, handler, eventlog.Resume("model"))
		require.NoError(t, err)
		require.Equal(t, 2, report.Handled)
		require.Equal(t, "1 2 3 4 5", r.all())
		require.Equal(t, 5, effects())

		report, err = eventlog.Replay(t.Context(), log, handler, eventlog.Resume("model"))
		require.NoError(t, err)
		require.Zero(t, report.Handled)
		fill(t, bus, 6, 6)
		_, err = eventlog.Replay(t.Context(), log, handler, eventlog.Resume("model"))
		require.NoError(t, err)
		require.Equal(t, "1 2 3 4 5 6", r.all())
	})
}

// What is skipped does not come again, although no handler moved the cursor.
func TestReplayResumesAfterWhatWasSkipped(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		fill(t, bus, 1, 1)
		require.NoError(t, tidings.Publish(t.Context(), bus, Created{}))
		handler := func(context.Context, Numbered) error { return nil }
		done := 0
		progress := eventlog.Progress(func(eventlog.ReplayProgress) { done++ })
		for range 2 {
			_, err := eventlog.Replay(t.Context(), log, handler, eventlog.Resume("c"), progress)
			require.NoError(t, err)
			require.Equal(t, 2, done)
		}
	})
}

func TestReplayWithACursorThatIsInUse(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		fill(t, bus, 1, 4)
		var got []string
		inner := func(_ context.Context, e Accepted) error { got = append(got, "inner "+e.Number); return nil }
		outer := func(ctx context.Context, e Accepted) error { got = append(got, "outer "+e.Number); return nil }
		report, err := eventlog.Replay(t.Context(), log, outer, eventlog.Resume("c"), eventlog.Progress(func(p eventlog.ReplayProgress) {
			if p.Done == 2 {
				_, err := eventlog.Replay(t.Context(), log, inner, eventlog.Resume("c"), eventlog.Limit(1))
				require.NoError(t, err)
			}
		}))
		require.ErrorContains(t, err, `the cursor "c" has moved`)
		require.Equal(t, 2, report.Handled)
		require.Equal(t, []string{"outer 1", "outer 2", "inner 3"}, got)
	})
}

func TestReplayEndsWithTheContext(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		fill(t, bus, 1, 4)
		ctx, cancel := context.WithCancel(t.Context())
		report, err := eventlog.Replay(ctx, log, func(_ context.Context, e Accepted) error {
			if e.Number == "2" {
				cancel()
			}
			return nil
		}, eventlog.Resume("c"))
		require.ErrorIs(t, err, context.Canceled)
		resumed, err := eventlog.Replay(t.Context(), log, func(context.Context, Accepted) error { return nil }, eventlog.Resume("c"))
		require.NoError(t, err)
		require.Equal(t, 4, report.Handled+resumed.Handled)
	})
}

// On Postgres a transaction that began earlier may still put events first.
func TestReplayWaitsForEarlierTransactions(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		if !h.postgres() {
			t.Skip("SQLite has one writer")
		}
		log, bus := h.attached(t)
		began, commit, done := make(chan struct{}), make(chan struct{}), make(chan error)
		go func() {
			done <- h.inTx(t.Context(), func(ctx context.Context) error {
				if err := errors.Join(numbered(ctx), tidings.Publish(ctx, bus, Accepted{Number: "early"})); err != nil {
					return err
				}
				close(began)
				<-commit
				return nil
			})
		}()
		<-began
		fill(t, bus, 1, 1)
		short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		r := &recorder{}
		_, err := eventlog.Replay(short, log, r.on)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Empty(t, r.got)
		close(commit)
		require.NoError(t, <-done)
		_, err = eventlog.Replay(t.Context(), log, r.on)
		require.NoError(t, err)
		require.Equal(t, "early 1", r.all())
	})
}

func TestReplayRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openSQLite(t)
		log, bus := h.attached(t)
		fill(t, bus, 1, 21)
		r := &recorder{}
		start := time.Now()
		_, err := eventlog.Replay(t.Context(), log, r.on, eventlog.Rate(4))
		require.NoError(t, err)
		require.Len(t, r.got, 21)
		require.Equal(t, 5*time.Second, time.Since(start), "the first at once")

		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second+time.Millisecond)
		defer cancel()
		report, err := eventlog.Replay(ctx, log, r.on, eventlog.Rate(0.5))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 2, report.Handled)
		require.NoError(t, bus.Close(t.Context()))
		h.close()
	})
}

func TestReplayRefuses(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, ctx := h.open(t), t.Context()
		handler := func(context.Context, Accepted) error { return nil }
		for _, tt := range []struct {
			name string
			err  func() error
			want string
		}{
			{"a nil log", func() error { _, err := eventlog.Replay(ctx, nil, handler); return err }, "eventlog: Replay with a nil Log or handler"},
			{"a nil handler", func() error { _, err := eventlog.Replay[Accepted](ctx, log, nil); return err }, "eventlog: Replay with a nil Log or handler"},
			{"a nil option", func() error { _, err := eventlog.Replay(ctx, log, handler, nil); return err }, "eventlog: Replay with a nil ReplayOption"},
			{"no rate", func() error { _, err := eventlog.Replay(ctx, log, handler, eventlog.Rate(0)); return err }, "eventlog: Replay with Rate(0): must be more than 0 events per second"},
			{"no name", func() error { _, err := eventlog.Replay(ctx, log, handler, eventlog.Resume("")); return err }, `eventlog: Replay with Resume(""): give the cursor a name`},
			{"a nil bus", func() error { _, err := log.ReplayTo(ctx, nil); return err }, "eventlog: ReplayTo a nil *EventBus"},
			{"a type of its own", func() error {
				_, err := eventlog.Replay(ctx, log, func(context.Context, Unknown) error { return nil })
				require.ErrorIs(t, err, tidings.ErrUnregistered)
				return err
			}, "eventlog: Replay: eventlog_test.Unknown is not registered: the log has events that are registered"},
		} {
			require.EqualError(t, tt.err(), tt.want, tt.name)
		}
		require.NoError(t, h.inTx(ctx, func(ctx context.Context) error {
			_, err := eventlog.Replay(ctx, log, handler)
			require.ErrorContains(t, err, "eventlog: Replay inside a transaction")
			_, err = log.ReplayTo(ctx, tidings.New())
			require.ErrorContains(t, err, "eventlog: ReplayTo inside a transaction")
			return nil
		}))
	})
}

func TestReplayToPublishesAgain(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		fill(t, bus, 1, 2)
		require.NoError(t, tidings.Publish(t.Context(), bus, Created{Client: "c"}))
		before := all(t, log)
		var again []tidings.Event
		tidings.Subscribe(bus, func(ctx context.Context, e tidings.Event) error {
			require.True(t, eventlog.Replaying(ctx))
			again = append(again, e)
			return nil
		})
		report, err := log.ReplayTo(t.Context(), bus)
		require.NoError(t, err)
		require.Equal(t, 3, report.Handled)
		require.Equal(t, []tidings.Event{before[0].Event, before[1].Event, before[2].Event}, again)
		require.Equal(t, before, all(t, log), "nothing was appended")

		again = nil
		_, err = log.ReplayTo(t.Context(), bus, eventlog.Resume("again"), eventlog.Limit(1))
		require.NoError(t, err)
		_, err = log.ReplayTo(t.Context(), bus, eventlog.Resume("again"))
		require.NoError(t, err)
		require.Len(t, again, 3)

		tidings.Subscribe(bus, func(context.Context, Created) error { return errStop })
		report, err = log.ReplayTo(t.Context(), bus)
		require.ErrorIs(t, err, errStop)
		require.ErrorContains(t, err, "eventlog: ReplayTo stopped at position "+before[2].Position.String())
		require.Equal(t, 2, report.Handled)
	})
}
