package eventlog_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
)

// acceptedOf returns an event for each number.
func acceptedOf(numbers ...string) []tidings.Event {
	events := make([]tidings.Event, len(numbers))
	for i, number := range numbers {
		events[i] = Accepted{Number: number}
	}
	return events
}

// streamOf reads all of a stream that filters select.
func streamOf(t *testing.T, log *eventlog.Log, name string, filters ...eventlog.Filter) []eventlog.Recorded {
	t.Helper()
	var records []eventlog.Recorded
	for r, err := range log.ReadStream(t.Context(), name, filters...) {
		require.NoError(t, err)
		records = append(records, r)
	}
	return records
}

// execTx runs a statement in the transaction of ctx.
func execTx(ctx context.Context, t *testing.T, h harness, query string) {
	t.Helper()
	if tx, ok := tidings.TxFrom[pgx.Tx](ctx, h.key); ok {
		_, err := tx.Exec(ctx, query)
		require.NoError(t, err)
		return
	}
	tx, ok := tidings.TxFrom[*sql.Tx](ctx, h.key)
	require.True(t, ok)
	_, err := tx.ExecContext(ctx, query)
	require.NoError(t, err)
}

// waiting waits until a statement of the test waits for another transaction.
func (h harness) waiting(t *testing.T) {
	t.Helper()
	require.True(t, h.postgres())
	// Other tests wait too, in schemas of their own, but on none of this
	// test's tables.
	const query = `SELECT count(*) FROM pg_locks blocked JOIN pg_locks held USING (pid)
		WHERE NOT blocked.granted AND held.relation = 'tidings_events'::regclass`
	require.Eventually(t, func() bool { return h.count(t, query) > 0 }, patience, time.Millisecond)
}

func TestAppendToReturnsWhatIsRead(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log := h.open(t)
		ctx := t.Context()

		first, err := log.AppendTo(ctx, "proposal/1", eventlog.NoStream, Created{Client: "c"}, Accepted{Number: "1", Total: 5})
		require.NoError(t, err)
		other, err := log.AppendTo(ctx, "proposal/2", eventlog.AnyVersion, Accepted{Number: "2"})
		require.NoError(t, err)
		second, err := log.AppendTo(ctx, "proposal/1", 2, Accepted{Number: "3"})
		require.NoError(t, err)

		require.Equal(t, append(first, second...), streamOf(t, log, "proposal/1"))
		require.Equal(t, other, streamOf(t, log, "proposal/2"))
		require.Equal(t, streamOf(t, log, "proposal/1"), all(t, log, eventlog.Stream("proposal/1")))
		require.Equal(t, "c 1 2 3", numbers(all(t, log)))
		for i, r := range streamOf(t, log, "proposal/1") {
			require.EqualValues(t, i+1, r.StreamVersion)
			require.Equal(t, "proposal/1", r.Stream)
			require.NotZero(t, r.Event.EventID())
		}

		version, err := log.StreamVersion(ctx, "proposal/1")
		require.NoError(t, err)
		require.EqualValues(t, 3, version)
		version, err = log.StreamVersion(ctx, "proposal/3")
		require.NoError(t, err)
		require.Equal(t, eventlog.NoStream, version)
	})
}

func TestAppendToStampsInTheWorkflow(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.open(t), tidings.New()
		tidings.Subscribe(bus, func(ctx context.Context, _ Created) error {
			_, err := log.AppendTo(ctx, "s", eventlog.NoStream, Accepted{Number: "1"})
			return err
		})
		cause, stamped := tidings.Stamp(t.Context(), Created{}), tidings.Stamp(t.Context(), Accepted{Number: "2"})
		require.NoError(t, tidings.Publish(t.Context(), bus, cause))
		_, err := log.AppendTo(t.Context(), "s", 1, stamped)
		require.NoError(t, err)

		records := streamOf(t, log, "s")
		require.Equal(t, cause.EventID(), records[0].Event.CausationID())
		require.Equal(t, cause.CorrelationID(), records[0].Event.CorrelationID())
		require.Equal(t, stamped, records[1].Event)
	})
}

func TestAppendToExpectsAVersion(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log := h.open(t)
		_, err := log.AppendTo(t.Context(), "s", eventlog.NoStream, acceptedOf("1", "2")...)
		require.NoError(t, err)

		for _, expected := range []int64{eventlog.NoStream, 1, 3, 1 << 40} {
			_, err := log.AppendTo(t.Context(), "s", expected, acceptedOf("x", "y")...)
			require.ErrorIs(t, err, eventlog.ErrConflict)
			require.EqualError(t, err, fmt.Sprintf(`eventlog: appending to stream "s": the stream has changed: version %d was expected, but it is at 2`, expected))
		}
		_, err = log.AppendTo(t.Context(), "new", 1, acceptedOf("x")...)
		require.ErrorIs(t, err, eventlog.ErrConflict)
		require.ErrorContains(t, err, "version 1 was expected, but it is at 0")

		_, err = log.AppendTo(t.Context(), "s", 2, acceptedOf("3")...)
		require.NoError(t, err)
		require.Equal(t, "1 2 3", numbers(all(t, log)))
	})
}

func TestAppendToRefusesBadInput(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log := h.open(t)
		twice := tidings.Stamp(t.Context(), Accepted{Number: "1"})
		for _, c := range []struct {
			reason   string
			stream   string
			expected int64
			events   []tidings.Event
			err      string
		}{
			{"no name", "", 0, acceptedOf("1"), "empty name"},
			{"Postgres cannot store it", "a\x00b", 0, acceptedOf("1"), "without NUL"},
			{"nor that", "a\xff", 0, acceptedOf("1"), "UTF-8"},
			{"nothing to do is a mistake", "s", 0, nil, "no events"},
			{"nil", "s", 0, []tidings.Event{Accepted{}, nil}, "nil event"},
			{"no lasting name", "s", 0, []tidings.Event{Accepted{}, Unknown{}}, "not registered"},
			{"a pointer is no event of its own", "s", 0, []tidings.Event{&Accepted{}}, "pointer"},
			{"a nil pointer neither", "s", 0, []tidings.Event{(*Accepted)(nil)}, "pointer"},
			{"not UTF-8", "s", 0, acceptedOf("\xff"), "UTF-8"},
			{"no such constant", "s", -2, acceptedOf("1"), "AnyVersion"},
			{"one ID, two events", "s", 0, []tidings.Event{twice, twice}, `stream "s"`},
		} {
			_, err := log.AppendTo(t.Context(), c.stream, c.expected, c.events...)
			require.ErrorContains(t, err, c.err, c.reason)
			require.NotErrorIs(t, err, eventlog.ErrConflict, c.reason)
		}
		_, err := log.StreamVersion(t.Context(), "")
		require.ErrorContains(t, err, "empty name")
		for _, err = range log.ReadStream(t.Context(), "") {
			require.ErrorContains(t, err, "empty name")
		}
		require.Empty(t, all(t, log))
	})
}

func TestAppendToIsPartOfTheTransaction(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log := h.open(t)
		broken := errors.New("broken")
		ctx := t.Context()
		appendTo := func(ctx context.Context, expected int64, numbers ...string) error {
			_, err := log.AppendTo(ctx, "s", expected, acceptedOf(numbers...)...)
			return err
		}
		logged := tidings.Stamp(ctx, Accepted{Number: "1"})
		_, err := log.AppendTo(ctx, "s", eventlog.NoStream, logged)
		require.NoError(t, err)

		require.ErrorIs(t, h.inTx(ctx, func(ctx context.Context) error {
			require.NoError(t, appendTo(ctx, 1, "rolled back"))
			return broken
		}), broken)
		require.NoError(t, h.inTx(ctx, func(ctx context.Context) error {
			require.NoError(t, appendTo(ctx, 1, "2"))
			require.ErrorIs(t, h.inTx(ctx, func(ctx context.Context) error {
				require.NoError(t, appendTo(ctx, 2, "rolled back"))
				return broken
			}), broken)
			require.ErrorIs(t, appendTo(ctx, 1, "conflict"), eventlog.ErrConflict)

			_, err := log.AppendTo(ctx, "s", 2, Accepted{Number: "with it"}, logged)
			require.Error(t, err, "its ID is in the log")
			require.NotErrorIs(t, err, eventlog.ErrConflict)

			version, err := log.StreamVersion(ctx, "s")
			require.NoError(t, err)
			require.EqualValues(t, 2, version, "its own events count")
			return appendTo(ctx, eventlog.AnyVersion, "3")
		}))
		require.Equal(t, "1 2 3", numbers(streamOf(t, log, "s")))
	})
}

func TestAppendToManyInOrder(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log := h.open(t)
		var events []tidings.Event
		for i := range 5432 { // more than a statement takes, and than a page
			events = append(events, Accepted{Number: fmt.Sprint(i), Total: int64(i)})
		}
		want, err := log.AppendTo(t.Context(), "s", eventlog.NoStream, events...)
		require.NoError(t, err)
		require.Equal(t, want, streamOf(t, log, "s"))

		// One that the log has, at the end: nothing is left of the others.
		events = append(acceptedOf("x"), events...)
		events[len(events)-1] = want[7].Event
		_, err = log.AppendTo(t.Context(), "s", 5432, events...)
		require.Error(t, err)
		require.Equal(t, want, streamOf(t, log, "s"))
	})
}

// One of the events of AppendTo that a faster transaction has appended
// already must not be left out alone.
func TestAppendToLosesToAConcurrentTransaction(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		if !h.postgres() {
			t.Skip("SQLite has one writer")
		}
		log := h.open(t)
		ctx := t.Context()
		appended, release, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
		go func() {
			done <- h.inTx(ctx, func(ctx context.Context) error {
				_, err := log.AppendTo(ctx, "s", eventlog.NoStream, acceptedOf("1")...)
				close(appended)
				<-release
				return err
			})
		}()
		<-appended
		lost := make(chan error, 1)
		var errs [3]error
		go func() {
			lost <- h.inTx(ctx, func(ctx context.Context) error {
				_, errs[0] = log.AppendTo(ctx, "other", eventlog.NoStream, acceptedOf("before")...)
				_, errs[1] = log.AppendTo(ctx, "s", eventlog.NoStream, acceptedOf("x", "y", "z")...)
				_, errs[2] = log.AppendTo(ctx, "other", 1, acceptedOf("after")...) // the transaction goes on
				return nil
			})
		}()
		h.waiting(t)
		close(release)
		require.NoError(t, <-done)
		require.NoError(t, <-lost)
		require.NoError(t, errs[0])
		require.ErrorIs(t, errs[1], eventlog.ErrConflict)
		require.ErrorContains(t, errs[1], "version 0 was expected, but it is at 1")
		require.NoError(t, errs[2])
		require.Equal(t, "1", numbers(streamOf(t, log, "s")))
		require.Equal(t, "before after", numbers(streamOf(t, log, "other")))
	})
}

func TestAppendToKeepsStreamsInTheOrderOfTheLog(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		if !h.postgres() {
			t.Skip("SQLite has one writer")
		}
		log := h.open(t)
		outside := t.Context()
		require.NoError(t, h.inTx(outside, func(ctx context.Context) error {
			_, err := log.AppendTo(ctx, "other", eventlog.NoStream, acceptedOf("the older transaction")...)
			require.NoError(t, err)
			_, err = log.AppendTo(outside, "s", eventlog.NoStream, acceptedOf("1")...)
			require.NoError(t, err)

			for _, expected := range []int64{1, eventlog.AnyVersion} {
				_, err = log.AppendTo(ctx, "s", expected, acceptedOf("x")...)
				require.ErrorIs(t, err, eventlog.ErrConflict)
				require.ErrorContains(t, err, "began after this one")
			}
			_, err = log.AppendTo(outside, "s", 1, acceptedOf("2")...)
			require.NoError(t, err)
			_, err = log.AppendTo(ctx, "other", 1, acceptedOf("goes on")...)
			return err
		}))
		require.Equal(t, "1 2", numbers(streamOf(t, log, "s")))
		require.Equal(t, all(t, log, eventlog.Stream("s")), streamOf(t, log, "s"))
		require.Equal(t, "the older transaction goes on 1 2", numbers(all(t, log)))
	})
}

func TestAppendToInATransactionThatSeesNothingNew(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		if !h.postgres() {
			t.Skip("SQLite has one writer")
		}
		log := h.open(t)
		outside := t.Context()
		for _, level := range []string{"REPEATABLE READ", "SERIALIZABLE"} {
			for _, expected := range []int64{0, eventlog.AnyVersion} {
				name := fmt.Sprint(level, expected)
				require.NoError(t, h.inTx(outside, func(ctx context.Context) error {
					execTx(ctx, t, h, "SET TRANSACTION ISOLATION LEVEL "+level)
					version, err := log.StreamVersion(ctx, name) // takes the snapshot
					require.NoError(t, err)
					require.Zero(t, version)
					_, err = log.AppendTo(outside, name, 0, acceptedOf("1")...)
					require.NoError(t, err)
					_, err = log.AppendTo(ctx, name, expected, acceptedOf("x")...)
					require.ErrorIs(t, err, eventlog.ErrConflict)
					_, err = log.AppendTo(ctx, name+"other", expected, acceptedOf("goes on")...)
					return err
				}))
				require.Equal(t, "1", numbers(streamOf(t, log, name)))
			}
		}
	})
}

func TestAppendToConcurrently(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log := h.open(t)
		const writers, times = 8, 20
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for i := range times {
					if w%2 == 0 {
						_, err := log.AppendTo(t.Context(), "s", eventlog.AnyVersion, acceptedOf("any", "any")...)
						if err != nil {
							t.Error(err)
						}
						continue
					}
					for {
						version, err := log.StreamVersion(t.Context(), "s")
						if err != nil {
							t.Error(err)
							return
						}
						number := fmt.Sprintf("%d.%d", w, i)
						if _, err = log.AppendTo(t.Context(), "s", version, acceptedOf(number, number)...); err == nil {
							break
						}
						if !errors.Is(err, eventlog.ErrConflict) {
							t.Error(err)
							return
						}
					}
				}
			})
		}
		wg.Wait()
		records := streamOf(t, log, "s")
		require.Len(t, records, writers*times*2)
		for i, r := range records {
			require.EqualValues(t, i+1, r.StreamVersion)
			if i%2 == 1 {
				require.Equal(t, r.Event.(Accepted).Number, records[i-1].Event.(Accepted).Number, "two at a time")
			}
			if i > 0 {
				require.Positive(t, r.Position.Compare(records[i-1].Position), "versions follow positions")
			}
		}
	})
}

func TestAppendToAndPublish(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		var handled []string
		tidings.Subscribe(bus, func(_ context.Context, e Accepted) error {
			handled = append(handled, e.Number)
			return nil
		})
		ctx := t.Context()
		publish := func(ctx context.Context, stream string) error {
			records, err := log.AppendTo(ctx, stream, eventlog.NoStream, acceptedOf(stream, stream)...)
			require.NoError(t, err)
			for _, r := range records {
				require.NoError(t, tidings.Publish(ctx, bus, r.Event))
			}
			return tidings.Publish(ctx, bus, Created{Client: "c"})
		}
		require.NoError(t, h.inTx(ctx, func(ctx context.Context) error { return publish(ctx, "inside") }))
		require.NoError(t, publish(ctx, "outside"))
		require.NoError(t, h.inTx(ctx, func(ctx context.Context) error { // published first
			e := tidings.Stamp(ctx, Accepted{Number: "first"})
			require.NoError(t, tidings.Publish(ctx, bus, e))
			_, err := log.AppendTo(ctx, "late", eventlog.NoStream, e)
			return err
		}))
		require.Equal(t, "inside inside c outside outside c first", numbers(all(t, log)))
		require.Equal(t, "inside inside", numbers(streamOf(t, log, "inside")))
		require.Equal(t, "outside outside", numbers(streamOf(t, log, "outside")))
		require.Equal(t, "first", numbers(streamOf(t, log, "late")))
		require.Equal(t, []string{"inside", "inside", "outside", "outside", "first"}, handled)
	})
}

// On another server, whose transactions have lower numbers.
func TestAppendToAfterRebase(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		if !h.postgres() {
			t.Skip("SQLite has no numbers of transactions")
		}
		log := h.open(t)
		_, err := log.AppendTo(t.Context(), "s", eventlog.NoStream, acceptedOf("1")...)
		require.NoError(t, err)
		h.exec(t, fmt.Sprintf("UPDATE tidings_events SET tx = tx + %d", 1<<40))
		require.NoError(t, eventlog.Rebase(t.Context(), h.db))
		for i, number := range []string{"2", "3"} {
			_, err = log.AppendTo(t.Context(), "s", int64(i+1), acceptedOf(number)...)
			require.NoError(t, err)
		}
		require.Equal(t, "1 2 3", numbers(all(t, log, eventlog.Stream("s"))))
	})
}

// The event that waits to be appended as new is appended before, to a stream.
func TestAppendToOfTheEventBeingPublished(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		tidings.Subscribe(bus, func(ctx context.Context, e Accepted) error {
			_, err := log.AppendTo(ctx, "proposal/"+e.Number, eventlog.NoStream, e)
			return err
		}, tidings.InTransaction)
		require.NoError(t, h.inTx(t.Context(), func(ctx context.Context) error {
			return tidings.Publish(ctx, bus, Accepted{Number: "1"})
		}))
		records := all(t, log)
		require.Equal(t, "1", numbers(records))
		require.Equal(t, "proposal/1", records[0].Stream)
	})
}
