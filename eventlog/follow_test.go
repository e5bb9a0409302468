package eventlog_test

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
	"github.com/tidings-go/tidings/eventlog/pgxlog"
)

// fill publishes Accepted events with these numbers, one a transaction.
func fill(t *testing.T, bus *tidings.EventBus, from, to int) {
	t.Helper()
	for i := from; i <= to; i++ {
		require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{Number: fmt.Sprint(i)}))
	}
}

func TestFollowReadsWhatIsThereAndThenWhatComes(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		fill(t, bus, 1, 3)

		var got []string
		var last error
		for r, err := range log.Follow(ctx) {
			if last = err; err != nil {
				continue
			}
			n := r.Event.(Accepted).Number
			got = append(got, n)
			switch n {
			case "3", "4", "5":
				require.NoError(t, tidings.Publish(ctx, bus, Accepted{Number: fmt.Sprint(len(got) + 1)}))
			case "6":
				cancel()
			}
		}
		require.Equal(t, []string{"1", "2", "3", "4", "5", "6"}, got)
		require.Equal(t, context.Canceled, last)
	})
}

func TestFollowGoesOnAfterACursor(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		fill(t, bus, 1, 7)
		var cursor eventlog.Position
		var got []string
		for range 4 {
			for r, err := range log.Follow(t.Context(), eventlog.After(cursor)) {
				require.NoError(t, err)
				got = append(got, r.Event.(Accepted).Number)
				cursor = r.Position
				if len(got)%2 == 1 {
					break
				}
			}
		}
		require.Equal(t, []string{"1", "2", "3", "4", "5", "6", "7"}, got)
	})
}

func TestFollowFilters(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		fill(t, bus, 1, 3)
		require.NoError(t, tidings.Publish(t.Context(), bus, Created{Client: "c"}))
		filters := []eventlog.Filter{eventlog.Types("clients.created"), eventlog.Limit(2)}
		for range 2 { // the same filters again
			var got []string
			for r, err := range log.Follow(t.Context(), filters...) {
				require.NoError(t, err)
				got = append(got, r.Event.(Created).Client)
				if len(got) == 1 {
					require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{Number: "4"}))
					require.NoError(t, tidings.Publish(t.Context(), bus, Created{Client: "d"}))
				}
			}
			require.Equal(t, []string{"c", "d"}, got, "the limit ends it")
		}
		for range log.Follow(t.Context(), eventlog.Limit(0)) {
			t.Fatal("a limit of 0")
		}
	})
}

func TestFollowPassesOnWhatCannotBeDecoded(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		fill(t, bus, 1, 3)
		h.exec(t, `UPDATE tidings_events SET version = 7 WHERE position = 2`)
		var seen []string
		for r, err := range log.Follow(t.Context(), eventlog.Limit(3)) {
			if err != nil {
				var undecodable *eventlog.DecodeError
				require.ErrorAs(t, err, &undecodable)
				require.Equal(t, 7, r.Envelope.Version)
				seen = append(seen, "error")
				continue
			}
			seen = append(seen, r.Event.(Accepted).Number)
		}
		require.Equal(t, []string{"1", "error", "3"}, seen)
	})
}

func TestFollowEndsWithTheContext(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		fill(t, bus, 1, 600)
		only := func(ctx context.Context, after int, then func()) (got int, last error) {
			for _, err := range log.Follow(ctx) {
				require.NoError(t, last, "the error is the last thing")
				if last = err; err == nil {
					if got++; got == after {
						then()
					}
				}
			}
			return got, last
		}
		ctx, cancel := context.WithCancel(t.Context())
		got, last := only(ctx, 10, cancel)
		require.Equal(t, 10, got, "also within a page")
		require.Equal(t, context.Canceled, last)

		got, last = only(ctx, 1, nil)
		require.Zero(t, got)
		require.Equal(t, context.Canceled, last)

		late := newDeadline(t)
		got, last = only(late, 600, late.pass)
		require.Equal(t, 600, got)
		require.Equal(t, context.DeadlineExceeded, last)
	})
}

func TestFollowEndsWithTheDatabase(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, err := eventlog.Open(t.Context(), h.db, newRegistry())
		require.NoError(t, err)
		h.close()
		for _, err := range log.Follow(t.Context()) {
			require.ErrorContains(t, err, "eventlog: ")
			require.NoError(t, t.Context().Err())
		}
	})
}

func TestFollowInATransactionIsAnError(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log := h.open(t)
		seen := 0
		require.NoError(t, h.inTx(t.Context(), func(ctx context.Context) error {
			for _, err := range log.Follow(ctx) {
				seen++
				require.ErrorContains(t, err, "eventlog: Follow inside a transaction")
			}
			return nil
		}))
		require.Equal(t, 1, seen)
	})
}

// The trap of tailing a table: a transaction that began earlier commits later.
func TestFollowWaitsForEarlierTransactions(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		if !h.postgres() {
			t.Skip("SQLite has one writer")
		}
		log, bus := h.attached(t)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		began, commit, done := make(chan struct{}), make(chan struct{}), make(chan error)
		go func() {
			done <- h.inTx(ctx, func(ctx context.Context) error {
				if err := tidings.Publish(ctx, bus, Accepted{Number: "early"}); err != nil {
					return err
				}
				if err := numbered(ctx); err != nil {
					return err
				}
				close(began)
				<-commit
				return nil
			})
		}()
		<-began
		require.NoError(t, tidings.Publish(ctx, bus, Accepted{Number: "late"}))
		var got []string
		looked := make(chan struct{})
		go func() {
			defer close(looked)
			for r, err := range log.Follow(ctx, eventlog.Limit(2)) {
				if err != nil {
					return
				}
				got = append(got, r.Event.(Accepted).Number)
			}
		}()
		require.Equal(t, "late", numbers(all(t, log)), "committed, as Read sees it")
		select {
		case <-looked:
			t.Fatal("the follower did not wait")
		case <-time.After(50 * time.Millisecond): // it may look as often as it likes
		}
		close(commit)
		require.NoError(t, <-done)
		<-looked
		require.Equal(t, []string{"early", "late"}, got)
	})
}

// An hour is longer than the test: nothing but a wake-up lets a follower look.
func TestFollowIsWokenInItsProcess(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log := h.open(t, eventlog.WithPollInterval(time.Hour))
		bus := tidings.New()
		log.Attach(bus)
		publish := func(ctx context.Context, number string) error {
			return tidings.Publish(ctx, bus, Accepted{Number: number})
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		writes := []func() error{
			func() error { return publish(ctx, "outside of a transaction") },
			func() error {
				return h.inTx(ctx, func(ctx context.Context) error { return publish(ctx, "in a transaction") })
			},
			func() error {
				return h.inTx(ctx, func(ctx context.Context) error {
					return h.inTx(ctx, func(ctx context.Context) error { return publish(ctx, "in a savepoint") })
				})
			},
			func() error {
				_, err := log.AppendTo(ctx, "s", eventlog.AnyVersion, Accepted{Number: "to a stream"})
				return err
			},
			func() error {
				return h.inTx(ctx, func(ctx context.Context) error {
					_, err := log.AppendTo(ctx, "s", eventlog.AnyVersion, Accepted{Number: "to a stream in a transaction"})
					return err
				})
			},
			func() error {
				_, err := log.Import(ctx, strings.NewReader(line("imported")))
				return err
			},
		}
		fill(t, bus, 1, 1)
		var seen []string
		for r, err := range log.Follow(ctx) {
			require.NoError(t, err)
			seen = append(seen, r.Event.(Accepted).Number)
			if len(seen) > len(writes) {
				break
			}
			require.NoError(t, writes[len(seen)-1]())
		}
		require.Equal(t, []string{"1", "outside of a transaction", "in a transaction", "in a savepoint", "to a stream", "to a stream in a transaction", "imported"}, seen)
	})
}

// line is an event to import.
func line(number string) string {
	return fmt.Sprintf(`{"specversion":"1.0","id":"%s","source":"/x","type":"crm.accepted","time":"2026-03-01T09:30:00Z","data":{"number":"%s"}}`, uuid.New(), number)
}

// Another log on another pool is what another process has.
func TestFollowIsToldOfOtherProcesses(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		if !h.postgres() {
			t.Skip("SQLite tells nobody")
		}
		_, bus := h.attached(t)
		pool, err := pgxpool.New(t.Context(), h.url)
		require.NoError(t, err)
		defer pool.Close()
		log, err := eventlog.Open(t.Context(), pgxlog.Postgres(pool), newRegistry(), eventlog.WithPollInterval(time.Hour))
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		fill(t, bus, 1, 1)
		seen := 0
		for _, err := range log.Follow(ctx) {
			require.NoError(t, err, "an hour is longer than the test")
			if seen++; seen == 5 {
				break
			}
			require.NoError(t, h.inTx(ctx, func(ctx context.Context) error { return tidings.Publish(ctx, bus, Accepted{}) }))
		}
		require.Eventually(t, func() bool { return pool.Stat().AcquiredConns() == 0 }, patience, time.Millisecond,
			"the connection that listens is given back")
	})
}

// The connection that listens may break.
func TestFollowSurvivesTheEndOfListening(t *testing.T) {
	t.Parallel()
	h := pgxAt(t, postgresSchema(t)+"&application_name="+t.Name())
	log, bus := h.attached(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	fill(t, bus, 1, 1)
	seen := 0
	for _, err := range log.Follow(ctx) {
		require.NoError(t, err)
		if seen++; seen == 3 {
			return
		}
		require.Eventually(t, func() bool { // it may be about to connect again
			killed := h.count(t, `SELECT count(*) FROM (SELECT pg_terminate_backend(pid) FROM pg_stat_activity
				WHERE query LIKE 'LISTEN "tidings_events"%' AND application_name = $1) killed`, t.Name())
			return killed == 1
		}, patience, 10*time.Millisecond)
		require.NoError(t, tidings.Publish(ctx, bus, Accepted{}))
	}
}

func TestFollowHoldsNoConnection(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		if h.name != "sqlite" {
			t.Skip("pools of one connection are for SQLite")
		}
		db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: filepath.ToSlash(h.url)}).EscapedPath()+"?_txlock=immediate")
		require.NoError(t, err)
		defer db.Close()
		db.SetMaxOpenConns(1)
		log, err := eventlog.Open(t.Context(), eventlog.SQLite(db), newRegistry())
		require.NoError(t, err)
		bus := tidings.New()
		log.Attach(bus)
		fill(t, bus, 1, 1)
		seen := 0
		for _, err := range log.Follow(t.Context(), eventlog.Limit(3)) {
			require.NoError(t, err)
			seen++
			fill(t, bus, 1, 1)
		}
		require.Equal(t, 3, seen)
	})
}

func TestPollIntervalPanics(t *testing.T) {
	t.Parallel()
	require.PanicsWithValue(t, "eventlog: WithPollInterval(0s): must be positive", func() { eventlog.WithPollInterval(0) })
}

// A poll that is the only thing to wake the follower.
func TestPollInterval(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log := h.open(t, eventlog.WithPollInterval(time.Millisecond))
		_, bus := h.attached(t) // another log, which wakes nobody here
		fill(t, bus, 1, 1)
		seen := 0
		for _, err := range log.Follow(t.Context(), eventlog.Limit(20)) {
			require.NoError(t, err)
			if seen++; seen < 20 {
				fill(t, bus, 1, 1)
			}
		}
		require.Equal(t, 20, seen)
	})
}

func TestPollIntervalIsHowOftenItLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openSQLite(t)
		log := h.open(t, eventlog.WithPollInterval(time.Hour))
		_, bus := h.attached(t) // another log, which wakes nobody here
		fill(t, bus, 1, 1)
		start := time.Now()
		var looks []time.Duration
		for _, err := range log.Follow(t.Context(), eventlog.Limit(3)) {
			require.NoError(t, err)
			looks = append(looks, time.Since(start))
			time.AfterFunc(time.Minute, func() { fill(t, bus, 1, 1) })
		}
		require.Equal(t, []time.Duration{0, time.Hour, 2 * time.Hour}, looks)
		time.Sleep(2 * time.Minute)
		h.close()
	})
}
