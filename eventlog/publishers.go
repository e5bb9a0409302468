package eventlog

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"weak"
)

// publishers knows the events that were published on a bus with the log, and
// whose transactions have not ended. It counts nothing: the row of each has
// the token of its time, and goes with the transaction. When the garbage
// collector has taken a token, all of that time have ended.
type publishers struct {
	token atomic.Pointer[token]

	mu   sync.Mutex
	held []weak.Pointer[token] // that were replaced, and that the collector has not taken
}

// A token has a pointer in it to be an allocation of its own.
type token struct{ _ *token }

// current returns the token for what is published now.
func (p *publishers) current() *token {
	if t := p.token.Load(); t != nil {
		return t
	}
	p.token.CompareAndSwap(nil, &token{})
	return p.token.Load()
}

// wait returns when the transactions have ended in which something was
// published before it was called, or with ctx.
func (p *publishers) wait(ctx context.Context) error {
	before := p.replace()
	for pause := shortest; ; pause = min(2*pause, time.Second) {
		runtime.GC()
		before = slices.DeleteFunc(before, isTaken)
		if len(before) == 0 {
			return nil
		}
		if err := sleep(ctx, pause); err != nil {
			return fmt.Errorf("eventlog: waiting for the end of transactions in which events were published: %w", err)
		}
	}
}

// replace begins a new time, and returns the tokens of those before.
func (p *publishers) replace() []weak.Pointer[token] {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = slices.DeleteFunc(p.held, isTaken)
	if old := p.token.Swap(&token{}); old != nil {
		p.held = append(p.held, weak.Make(old))
	}
	return slices.Clone(p.held)
}

func isTaken(t weak.Pointer[token]) bool { return t.Value() == nil }
