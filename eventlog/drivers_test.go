package eventlog_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
)

// What drivers do in their own ways: the log does one thing.

// Microseconds count, and what is smaller is cut off: lib/pq would round it.
// Of the zero time pgdriver would make NULL.
func TestTimesThroughEveryDriver(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log := h.open(t)
		times := []time.Time{
			time.Date(2026, 3, 1, 9, 30, 0, 123456000, time.UTC),
			time.Date(1890, 3, 1, 9, 30, 0, 1000, time.UTC),
			time.Date(1, 1, 1, 0, 0, 0, 1000, time.UTC),
			time.Date(9999, 12, 31, 23, 59, 59, 999999000, time.UTC),
		}
		const format = `{"specversion":"1.0","id":"%s","source":"/x","type":"crm.accepted","time":"%s","recordedat":"%s","data":{"number":"%d"}}` + "\n"
		at := func(number int, nanoseconds time.Duration) string {
			text := times[number].Add(nanoseconds).Format(time.RFC3339Nano)
			return fmt.Sprintf(format, uuid.New(), text, text, number)
		}
		var lines []string
		for i := range times {
			lines = append(lines, at(i, 999))
		}
		for _, one := range []string{lines[0], lines[1], lines[2], lines[3], strings.Join([]string{at(0, 500), at(1, 500), at(2, 500), at(3, 500)}, "")} {
			_, err := log.Import(t.Context(), strings.NewReader(one))
			require.NoError(t, err)
		}
		got := all(t, log)
		require.Len(t, got, 8)
		for i, r := range got {
			require.Equal(t, times[i%4], r.Event.OccurredAt(), "event %d", i)
			require.Equal(t, times[i%4], r.RecordedAt, "event %d", i)
		}

		filtered := func(filters ...eventlog.Filter) string { return numbers(all(t, log, filters...)) }
		almost := 999 * time.Nanosecond
		for _, test := range []struct {
			reason string
			filter eventlog.Filter
			want   string
		}{
			{"it is its microsecond", eventlog.Since(times[0].Add(almost)), "0 3 0 3"},
			{"the next one is later", eventlog.Since(times[0].Add(time.Microsecond)), "3 3"},
			{"it is not before its microsecond", eventlog.Before(times[0].Add(almost)), "1 2 1 2"},
			{"no time is before all", eventlog.Since(time.Time{}), "0 1 2 3 0 1 2 3"},
			{"before the year 1", eventlog.Since(time.Date(-43, 3, 15, 12, 0, 0, 0, time.UTC)), "0 1 2 3 0 1 2 3"},
			{"nothing is before no time", eventlog.Before(time.Time{}), ""},
			{"another zone", eventlog.Since(times[0].In(time.FixedZone("", -11*3600-1800))), "0 3 0 3"},
			{"after the year 9999", eventlog.Before(time.Date(12026, 3, 1, 0, 0, 0, 0, time.UTC)), "0 1 2 3 0 1 2 3"},
		} {
			require.Equal(t, test.want, filtered(test.filter), test.reason)
		}
		n, err := log.DeleteBefore(t.Context(), times[0].Add(almost), eventlog.BatchSize(1))
		require.NoError(t, err)
		require.EqualValues(t, 4, n)
		require.Equal(t, "0 3 0 3", filtered())
	})
}

// A text that no database takes is none that an event has.
func TestTextThroughEveryDriver(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		for _, number := range []string{"", `'`, `\'; $1 -- ? {"`, "é\x00\n", "\u2028\U0001f600"} {
			e := tidings.Stamp(t.Context(), Accepted{Number: number})
			require.NoError(t, tidings.Publish(t.Context(), bus, e))
			require.Equal(t, []tidings.Event{e}, events(all(t, log, eventlog.ID(e.EventID()))))
			stream := "s" + strings.ReplaceAll(number, "\x00", "")
			records, err := log.AppendTo(t.Context(), stream, eventlog.NoStream, Accepted{Number: number}, Accepted{Number: number})
			require.NoError(t, err)
			require.Equal(t, records, streamOf(t, log, stream))
		}
		for _, filter := range []eventlog.Filter{
			eventlog.Types("crm.accepted\x00"), eventlog.Types("crm\x00.accepted", "\xff"),
			eventlog.Stream("s\x00"), eventlog.Stream("\xffs"),
		} {
			require.Empty(t, all(t, log, filter))
		}
		require.NotEmpty(t, all(t, log, eventlog.Types("\x00", "crm.accepted")))
	})
}

// A transaction that fails because of another one is a conflict, whether the
// statement fails or the commit.
func TestConflictThroughEveryDriver(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		if !h.postgres() {
			t.Skip("SQLite has one writer")
		}
		for _, level := range []string{"repeatable read", "serializable"} {
			// A setting of the database's own, so that AppendTo begins in it.
			strict := openAt(t, h.name, h.url+"&default_transaction_isolation="+strings.ReplaceAll(level, " ", "%20"))
			log := strict.open(t)
			appended, conflicts := 0, 0
			errs := make(chan error)
			for writer := range 4 {
				go func() {
					for range 25 {
						_, err := log.AppendTo(t.Context(), level, eventlog.AnyVersion, Accepted{Number: fmt.Sprint(writer)})
						errs <- err
					}
				}()
			}
			for range 100 {
				if err := <-errs; err == nil {
					appended++
				} else {
					require.ErrorIs(t, err, eventlog.ErrConflict)
					conflicts++
				}
			}
			require.Len(t, streamOf(t, log, level), appended)
			t.Logf("%s: %d appended, %d conflicts", level, appended, conflicts)
		}
	})
}
