package durable

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// An order identifies the line in which the jobs of one handler and key wait.
// Its invariant: of the jobs in line that are not completed, only the one with
// the lowest id, the head, can be in another state than pending. A dead head
// stays where it is. Code that adds a job to the line, or removes the head,
// holds the line's lock until the end of its transaction, and calls advance.
//
// The first four bytes identify the handler, see class.
type order [16]byte

func orderOf(handler, key string) (o order) {
	class := sha256.Sum256([]byte(handler))
	line := sha256.Sum256([]byte(handler + "\x00" + key))
	copy(o[:4], class[:])
	copy(o[4:], line[:])
	return o
}

func parseOrder(s string) (o order, err error) {
	n, err := hex.Decode(o[:], []byte(s[:min(len(s), 2*len(o))]))
	if err != nil || n < len(o) {
		return o, fmt.Errorf("durable: %q is not the order of a job", s)
	}
	return o, nil
}

func (o order) String() string { return hex.EncodeToString(o[:]) }

// class is a number for all lines of the handler.
func (o order) class() int32 { return int32(binary.BigEndian.Uint32(o[:4])) }

// key is a number for this line.
func (o order) key() int64 { return int64(binary.BigEndian.Uint64(o[4:12])) }

// maxLines limits how many lines a transaction locks individually. All locks
// are in one table of the server, which has room for 64 per connection
// (max_locks_per_transaction); when it is full, statements of all sessions
// fail. So a transaction that changes more lines locks all lines of their
// handlers.
const maxLines = 32

// lockSQL locks in the order of the array, and returns the isolation level. An
// element is a class with "all", or with "some" before the keys of lines. The
// locks belong to the table, since a database may have one in each schema.
const lockSQL = `
SELECT count(CASE taken ->> 0
	WHEN 'all' THEN pg_advisory_xact_lock('{schema}river_job'::regclass::oid::integer, (taken ->> 1)::integer)::text
	WHEN 'some' THEN pg_advisory_xact_lock_shared('{schema}river_job'::regclass::oid::integer, (taken ->> 1)::integer)::text
	ELSE pg_advisory_xact_lock((taken ->> 1)::bigint # ('{schema}river_job'::regclass::oid::bigint << 32))::text
END), current_setting('transaction_isolation')
FROM jsonb_array_elements($1::text::jsonb) AS taken`

// lock waits until no other transaction works on these orders. SQLite has one
// writer, so there is nothing to wait for.
//
// The statements that follow must see all that was committed before the lock
// was acquired. From REPEATABLE READ on, a transaction sees only what was
// committed before its first statement, so two jobs of a line would run at
// once, or none.
func (j *Jobs) lock(ctx context.Context, tx querier, orders []order) error {
	if j.engine.onSQLite() {
		return nil
	}
	list, err := json.Marshal(locksOf(orders))
	if err != nil {
		return err
	}
	var (
		n     int
		level string
	)
	if err := tx.row(ctx, inSchema(j.engine.schema(), lockSQL), []any{string(list)}, &n, &level); err != nil {
		return fmt.Errorf("locking the lines of %d jobs: %w", len(orders), err)
	}
	if level != "read committed" && level != "read uncommitted" {
		return fmt.Errorf("durable: InOrderBy needs a transaction at READ COMMITTED, and this one is at %s: it does not see what others commit meanwhile", strings.ToUpper(level))
	}
	return nil
}

// locksOf returns the elements of lockSQL: classes before lines, and both
// sorted, so that two transactions do not deadlock.
func locksOf(orders []order) (locks [][2]string) {
	var classes []int32
	var keys []int64
	for _, o := range orders {
		classes, keys = append(classes, o.class()), append(keys, o.key())
	}
	slices.Sort(classes)
	slices.Sort(keys)
	classes, keys = slices.Compact(classes), slices.Compact(keys)
	mode := "some"
	if len(keys) > maxLines {
		mode, keys = "all", nil
	}
	for _, class := range classes {
		locks = append(locks, [2]string{mode, strconv.FormatInt(int64(class), 10)})
	}
	for _, key := range keys { // as text: a JSON number may become a float
		locks = append(locks, [2]string{"line", strconv.FormatInt(key, 10)})
	}
	return locks
}

// advanceSQL makes the heads of the lines in $1 available at the time $2, or
// when they were stored if that is earlier: then a worker whose clock is behind
// takes them too. No index serves its condition on the state, or the planner
// might read all pending jobs; the state has changed by then only if the job
// was cancelled.
var advanceSQL = changing(`
UPDATE {schema}river_job SET state = 'available', scheduled_at = min(scheduled_at, $2)
WHERE +state = 'pending' AND id IN (
	SELECT (SELECT id FROM {schema}river_job AS head WHERE head.metadata ->> 'tidings_order' = line.value AND head.state <> 'completed' ORDER BY id LIMIT 1)
	FROM json_each($1) AS line)
RETURNING queue`, `
UPDATE {schema}river_job SET state = 'available', scheduled_at = least(scheduled_at, $2)
WHERE state::text = 'pending' AND id = ANY (ARRAY(
	SELECT (SELECT id FROM {schema}river_job AS head WHERE head.metadata ->> 'tidings_order' = line AND head.state <> 'completed' ORDER BY id LIMIT 1)
	FROM jsonb_array_elements_text($1::text::jsonb) AS line))
RETURNING queue`)

// advance makes the heads of orders available, if they are not yet.
func (j *Jobs) advance(ctx context.Context, tx transaction, orders []order) error {
	lines := make([]string, len(orders))
	for i, o := range orders {
		lines[i] = o.String()
	}
	slices.Sort(lines)
	list, err := json.Marshal(slices.Compact(lines))
	if err != nil {
		return err
	}
	if _, err := tx.change(ctx, advanceSQL, string(list), j.dbTime()); err != nil {
		return fmt.Errorf("letting the next job in line go: %w", err)
	}
	return nil
}

// repairSQL makes the head of every line available.
var repairSQL = changing(fmt.Sprintf(repairText, "min"), fmt.Sprintf(repairText, "least"))

const repairText = `
UPDATE {schema}river_job SET state = 'available', scheduled_at = %s(scheduled_at, $1)
WHERE state = 'pending' AND id IN (
	SELECT min(id) FROM {schema}river_job
	WHERE metadata ->> 'tidings_order' IS NOT NULL AND state <> 'completed'
	GROUP BY metadata ->> 'tidings_order')
RETURNING queue`

// repairLines repairs the lines, if a handler of this process has some.
func (j *Jobs) repairLines(ctx context.Context) error {
	j.mu.RLock()
	ordered := j.ordered
	j.mu.RUnlock()
	if !ordered {
		return nil
	}
	return j.repair(ctx)
}

// repair releases jobs that wait for a job which was deleted by other means
// than Discard.
func (j *Jobs) repair(ctx context.Context) error {
	return j.transact(ctx, func(ctx context.Context) error {
		tx, err := j.engine.tx(ctx)
		if err != nil {
			return err
		}
		_, err = tx.change(ctx, repairSQL, j.dbTime())
		return err
	})
}
