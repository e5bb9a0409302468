package eventlog_test

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
)

// firstDay is when the first event of history occurred.
var firstDay = time.Date(2010, 1, 1, 0, 0, 0, 0, time.UTC)

func day(n int) time.Time { return firstDay.AddDate(0, 0, n) }

// history imports an event a day, newest first: Created every third day, and
// every fourth one of a stream.
func history(t *testing.T, log *eventlog.Log, days int) {
	t.Helper()
	var b strings.Builder
	for d := days - 1; d >= 0; d-- {
		name, stream := "crm.accepted", ""
		if d%3 == 0 {
			name = "clients.created"
		}
		if d%4 == 0 {
			stream = fmt.Sprintf(`,"stream":"s","streamversion":%d`, d+1)
		}
		fmt.Fprintf(&b, `{"specversion":"1.0","id":%q,"source":"/x","type":%q,"time":%q,"data":{"number":"%d","client":"%[4]d"}%[5]s}`+"\n",
			id(d+1), name, day(d).Format(time.RFC3339Nano), d, stream)
	}
	report, err := log.Import(t.Context(), strings.NewReader(b.String()))
	require.NoError(t, err)
	require.EqualValues(t, days, report.Imported)
}

func TestDeleteBefore(t *testing.T) {
	t.Parallel()
	small, none := eventlog.BatchSize(2), eventlog.Pause(0)
	tests := []struct {
		before time.Time
		opts   []eventlog.DeleteOption
		want   string
		reason string
	}{
		{day(0), nil, "0 1 2 3 4 5 6 7 8 9 10 11", "nothing is older"},
		{day(5), nil, "0 4 5 6 7 8 9 10 11", "what occurred at that time stays, and so do streams"},
		{day(5).Add(time.Microsecond), nil, "0 4 6 7 8 9 10 11", "to the microsecond"},
		{day(5), []eventlog.DeleteOption{eventlog.IncludeStreams()}, "5 6 7 8 9 10 11", "streams as well, if asked"},
		{day(99), []eventlog.DeleteOption{small, none}, "0 4 8", "several batches, among them rows that stay"},
		{day(99), []eventlog.DeleteOption{small, eventlog.Pause(time.Millisecond), eventlog.IncludeStreams()}, "", "full batches only"},
		{day(99), []eventlog.DeleteOption{eventlog.BatchSize(1), none, eventlog.Matching(eventlog.Types("clients.created"))}, "0 1 2 4 5 7 8 10 11", "of a type"},
		{day(99), []eventlog.DeleteOption{eventlog.Matching(eventlog.Types("clients.created")), eventlog.Matching(eventlog.Since(day(6))), eventlog.IncludeStreams()}, "0 1 2 3 4 5 7 8 10 11", "that all filters select"},
		{day(99), []eventlog.DeleteOption{small, eventlog.Matching(eventlog.Limit(3))}, "0 4 5 6 7 8 9 10 11", "no more than that, oldest first"},
		{day(99), []eventlog.DeleteOption{eventlog.Matching(eventlog.Types())}, "0 1 2 3 4 5 6 7 8 9 10 11", "of no type"},
	}
	each(t, func(t *testing.T, h harness) {
		log := h.open(t)
		for _, tt := range tests {
			h.exec(t, "DELETE FROM tidings_events")
			history(t, log, 12)
			deleted, err := log.DeleteBefore(t.Context(), tt.before, tt.opts...)
			require.NoError(t, err)
			records := all(t, log)
			left := strings.Fields(numbers(records))
			for i, j := 0, len(left)-1; i < j; i, j = i+1, j-1 { // history is newest first
				left[i], left[j] = left[j], left[i]
			}
			require.Equal(t, tt.want, strings.Join(left, " "), tt.reason)
			require.EqualValues(t, 12-len(records), deleted, tt.reason)
		}
	})
}

func TestDeleteBeforeDeletesWhatWasExported(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log := h.open(t)
		history(t, log, 30)
		whole := export(t, log)
		filter := eventlog.Types("clients.created")
		archive := export(t, log, eventlog.Before(day(20)), filter)
		deleted, err := log.DeleteBefore(t.Context(), day(20), eventlog.Matching(filter), eventlog.IncludeStreams())
		require.NoError(t, err)
		require.EqualValues(t, strings.Count(archive, "\n"), deleted)
		left := export(t, log)
		require.ElementsMatch(t, strings.SplitAfter(whole, "\n"), strings.SplitAfter(archive+left, "\n"))
	})
}

func TestDeleteBeforeCanBeInterrupted(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		history(t, log, 12)
		cancelled, cancel := context.WithCancel(t.Context())
		defer cancel()
		ctx := &sleeper{Context: cancelled, sleeps: make(chan struct{})}
		type result struct {
			deleted int64
			err     error
		}
		done := make(chan result)
		go func() {
			deleted, err := log.DeleteBefore(ctx, day(99), eventlog.IncludeStreams(), eventlog.BatchSize(5), eventlog.Pause(time.Hour))
			done <- result{deleted, err}
		}()
		require.Eventually(t, func() bool { return h.count(t, "SELECT count(*) FROM tidings_events") == 7 }, patience, time.Millisecond)
		<-ctx.sleeps // it has read what the database answered
		// Between two batches nobody waits.
		require.NoError(t, h.inTx(t.Context(), func(ctx context.Context) error {
			return tidings.Publish(ctx, bus, Accepted{Number: "meanwhile"})
		}))
		cancel()
		first := <-done
		require.ErrorIs(t, first.err, context.Canceled)
		require.EqualValues(t, 5, first.deleted, "with the error")

		again, err := log.DeleteBefore(t.Context(), day(99), eventlog.IncludeStreams(), eventlog.BatchSize(5))
		require.NoError(t, err)
		require.EqualValues(t, 7, again)

		_, err = log.DeleteBefore(ctx, day(99))
		require.ErrorIs(t, err, context.Canceled)
		h.close()
		_, err = log.DeleteBefore(t.Context(), day(99))
		require.ErrorContains(t, err, "eventlog: deleting events: ")
	})
}

// A sleeper is a context that closes sleeps when the log waits with it between two batches.
type sleeper struct {
	context.Context
	once   sync.Once
	sleeps chan struct{}
}

func (s *sleeper) Done() <-chan struct{} {
	if strings.Contains(string(debug.Stack()), "eventlog.sleep(") {
		s.once.Do(func() { close(s.sleeps) })
	}
	return s.Context.Done()
}

func TestDeleteBeforeLetsWritersThrough(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		history(t, log, 200)
		done := make(chan error)
		go func() {
			deleted, err := log.DeleteBefore(t.Context(), day(200), eventlog.BatchSize(5), eventlog.IncludeStreams())
			if err == nil && deleted != 200 {
				err = fmt.Errorf("%d were deleted", deleted)
			}
			done <- err
		}()
		for i := range 50 {
			require.NoError(t, h.inTx(t.Context(), func(ctx context.Context) error {
				return tidings.Publish(ctx, bus, Accepted{Number: fmt.Sprint(i)})
			}))
		}
		require.NoError(t, <-done)
		require.Len(t, all(t, log), 50)
	})
}

func TestRetentionIsRefusedInATransaction(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log := h.open(t)
		history(t, log, 3)
		require.NoError(t, h.inTx(t.Context(), func(ctx context.Context) error {
			_, err := log.DeleteBefore(ctx, day(99))
			require.ErrorContains(t, err, "eventlog: deleting events: not inside a transaction")
			_, err = log.ForgetHandledBefore(ctx, day(99))
			require.ErrorContains(t, err, "eventlog: forgetting what was handled: not inside a transaction")
			return nil
		}))
		require.Len(t, all(t, log), 3)

		_, err := log.DeleteBefore(t.Context(), day(99), nil)
		require.ErrorContains(t, err, "nil DeleteOption")
		_, err = log.ForgetHandledBefore(t.Context(), day(99), nil)
		require.EqualError(t, err, "eventlog: ForgetHandledBefore with a nil DeleteOption")
		_, err = log.DeleteBefore(t.Context(), day(99), eventlog.OfHandlers("a"))
		require.ErrorContains(t, err, "eventlog: DeleteBefore with OfHandlers, which is for ForgetHandledBefore")
		for _, opt := range []eventlog.DeleteOption{eventlog.IncludeStreams(), eventlog.Matching(eventlog.Limit(1))} {
			_, err = log.ForgetHandledBefore(t.Context(), day(99), opt)
			require.ErrorContains(t, err, "eventlog: ForgetHandledBefore with Matching or IncludeStreams, which are for DeleteBefore")
		}
		require.Len(t, all(t, log), 3, "nothing was deleted")
		require.PanicsWithValue(t, "eventlog: BatchSize(0): must be at least 1", func() { eventlog.BatchSize(0) })
	})
}

func TestForgetHandledBefore(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		calls := map[string]int{}
		for _, name := range []string{"a", "b"} {
			tidings.Subscribe(bus, func(context.Context, Accepted) error {
				calls[name]++
				return nil
			}, tidings.Named(name), log.Inbox())
		}
		begin := time.Now().Truncate(time.Microsecond)
		events := []Accepted{accepted(t, "1"), accepted(t, "2"), accepted(t, "3")}
		publish := func() {
			for _, e := range events {
				require.NoError(t, tidings.Publish(t.Context(), bus, e))
			}
		}
		forget := func(want int64, before time.Time, opts ...eventlog.DeleteOption) {
			t.Helper()
			n, err := log.ForgetHandledBefore(t.Context(), before, opts...)
			require.NoError(t, err)
			require.Equal(t, want, n)
		}
		publish()
		forget(0, begin)
		publish()
		require.Equal(t, map[string]int{"a": 3, "b": 3}, calls)

		soon := time.Now().Add(time.Minute)
		forget(0, soon, eventlog.OfHandlers())
		forget(0, soon, eventlog.OfHandlers("c"))
		forget(3, soon, eventlog.OfHandlers("c", "b"), eventlog.BatchSize(2))
		publish()
		require.Equal(t, map[string]int{"a": 3, "b": 6}, calls, "b handles them again")

		forget(6, soon, eventlog.BatchSize(3), eventlog.Pause(0))
		publish()
		require.Equal(t, map[string]int{"a": 6, "b": 9}, calls)

		h.close()
		_, err := log.ForgetHandledBefore(t.Context(), soon)
		require.ErrorContains(t, err, "eventlog: forgetting what was handled: ")
	})
}
