package eventlog

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/tidings-go/tidings/eventlog/internal/backend"
)

// A cursor says how far a reader has come, in the table tidings_cursors. To
// move it, a reader must give its current place: of two readers that use one
// cursor at once, one fails.
type cursor struct {
	log      *Log
	name     string
	stored   string // the text in the table; "": no row
	at       Position
	finished bool // live events have taken over
}

const finishedMark = " finished"

func (l *Log) loadCursor(ctx context.Context, q backend.Querier, name string) (*cursor, error) {
	c := &cursor{log: l, name: name}
	_, err := backend.One(ctx, q, bind(l.dialect, `SELECT cursor FROM tidings_cursors WHERE name = ?`), []any{name}, &c.stored)
	if err == nil && c.stored != "" {
		var position string
		position, c.finished = strings.CutSuffix(c.stored, finishedMark)
		c.at, err = ParsePosition(position)
	}
	if err != nil {
		return nil, fmt.Errorf("eventlog: reading the cursor %q: %w", name, err)
	}
	return c, nil
}

// move writes the new place in the transaction of q. Call moved after the
// commit to update c.
func (c *cursor) move(ctx context.Context, q backend.Querier, to Position, finished bool) (moved func(), err error) {
	text := to.String()
	if finished {
		text += finishedMark
	}
	now := dbTime(c.log.dialect, time.Now())
	var n int64
	if c.stored == "" {
		n, err = q.Exec(ctx, bind(c.log.dialect, `INSERT INTO tidings_cursors (name, cursor, recorded_at) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING`), c.name, text, now)
	} else {
		n, err = q.Exec(ctx, bind(c.log.dialect, `UPDATE tidings_cursors SET cursor = ?, recorded_at = ? WHERE name = ? AND cursor = ?`), text, now, c.name, c.stored)
	}
	if err != nil {
		return nil, fmt.Errorf("moving the cursor %q: %w", c.name, err)
	}
	if n == 0 {
		return nil, fmt.Errorf("the cursor %q has moved: another process replays with it at the same time", c.name)
	}
	return func() { c.stored, c.at, c.finished = text, to, finished }, nil
}
