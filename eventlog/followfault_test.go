package eventlog_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
)

// Writers with transactions of all kinds, and a follower that is stopped and
// started again: it sees what was committed, all of it, once, and each
// transaction in order.
func TestFollowUnderEightWriters(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		total := 20_000
		if !h.postgres() {
			total = 2_000
		}
		log, bus := h.attached(t)
		w := &writers{h: h, bus: bus, committed: map[uuid.UUID]Accepted{}}
		begun := make(chan struct{})
		var wg sync.WaitGroup
		const many = 8
		for id := range many {
			wg.Go(func() { w.write(t.Context(), id, total/many, total/10, begun) })
		}
		<-begun

		f := follower{log: log, seen: map[uuid.UUID]Accepted{}, begun: map[string]bool{}}
		ended := make(chan struct{})
		go func() { wg.Wait(); close(ended) }()
		for restarts := 0; ; restarts++ {
			select {
			case <-ended:
				require.NoError(t, errors.Join(w.errs...))
				f.follow(t, 1+rand.IntN(500), len(w.committed))
			default:
				f.follow(t, 1+rand.IntN(total/20), -1)
				continue
			}
			if len(f.seen) >= len(w.committed) {
				require.Greater(t, restarts, 2)
				break
			}
		}
		require.Equal(t, w.committed, f.seen)
		require.Equal(t, len(w.committed), h.count(t, `SELECT count(*) FROM tidings_events`))
	})
}

type writers struct {
	h   harness
	bus *tidings.EventBus

	mu        sync.Mutex
	written   int
	committed map[uuid.UUID]Accepted
	errs      []error
}

// write publishes about n events, in transactions of 1 to 50. Some are held
// open, some roll back, and some drop a savepoint.
func (w *writers) write(ctx context.Context, writer, n, some int, begun chan struct{}) {
	random := rand.New(rand.NewPCG(uint64(writer), 7))
	for tx := 0; n > 0; tx++ {
		size := min(1+random.IntN(50), n)
		n -= size
		rollBack, slow := random.IntN(10) == 0, random.IntN(5) == 0
		var kept []Accepted
		err := w.h.inTx(ctx, func(ctx context.Context) error {
			kept = nil
			for i := range size {
				e := tidings.Stamp(ctx, Accepted{Number: fmt.Sprintf("%d-%d", writer, tx), Total: int64(i + 1)})
				if random.IntN(25) == 0 {
					err := w.h.inTx(ctx, func(ctx context.Context) error {
						return errors.Join(tidings.Publish(ctx, w.bus, e), errStop)
					})
					if !errors.Is(err, errStop) {
						return err
					}
					continue
				}
				if err := tidings.Publish(ctx, w.bus, e); err != nil {
					return err
				}
				kept = append(kept, e)
			}
			if slow && w.h.postgres() {
				// It has its number, and others with higher ones commit.
				if err := numbered(ctx); err != nil {
					return err
				}
				<-time.After(time.Duration(5+random.IntN(40)) * time.Millisecond)
			}
			if rollBack {
				return errStop
			}
			return nil
		})
		w.mu.Lock()
		switch {
		case err == nil:
			for _, e := range kept {
				w.committed[e.EventID()] = e
			}
		case !errors.Is(err, errStop):
			w.errs = append(w.errs, err)
		}
		before := w.written
		w.written += size
		if before < some && w.written >= some {
			close(begun)
		}
		w.mu.Unlock()
	}
}

// A follower goes on from its cursor.
type follower struct {
	log    *eventlog.Log
	cursor eventlog.Position
	seen   map[uuid.UUID]Accepted
	begun  map[string]bool // transactions
	last   Accepted
}

// follow sees so many events, or as many as there are if that is known.
func (f *follower) follow(t *testing.T, most, all int) {
	t.Helper()
	if len(f.seen) == all {
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	if all >= 0 {
		ctx, cancel = context.WithTimeout(t.Context(), patience)
	}
	defer cancel()
	n := 0
	for r, err := range f.log.Follow(ctx, eventlog.After(f.cursor)) {
		if errors.Is(err, context.DeadlineExceeded) && all < 0 {
			return // the writers are busy
		}
		require.NoError(t, err)
		e := r.Event.(Accepted)
		_, doubled := f.seen[e.EventID()]
		require.False(t, doubled)
		require.Equal(t, -1, f.cursor.Compare(r.Position))
		if e.Number == f.last.Number {
			require.Greater(t, e.Total, f.last.Total, "the order within a transaction")
		} else {
			require.False(t, f.begun[e.Number], "a transaction is in one piece")
			f.begun[e.Number] = true
		}
		f.seen[e.EventID()], f.last, f.cursor = e, e, r.Position
		if n++; n == most || len(f.seen) == all {
			return
		}
	}
}

// numbered gives the transaction of ctx its number.
func numbered(ctx context.Context) error {
	const query = `SELECT pg_current_xact_id()`
	db, _ := tidings.TxDatabase(ctx)
	if tx, ok := tidings.TxFrom[*sql.Tx](ctx, db); ok {
		_, err := tx.ExecContext(ctx, query)
		return err
	}
	tx, _ := tidings.TxFrom[pgx.Tx](ctx, db)
	_, err := tx.Exec(ctx, query)
	return err
}
