package eventlog

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/tidings-go/tidings/internal/txend"
)

// publishers tracks the open transactions that published something on a bus
// with the log.
type publishers struct {
	mu   sync.Mutex
	open map[chan struct{}]bool // a channel for each, closed at its end
}

// add tracks the transaction that ctx is in.
func (p *publishers) add(ctx context.Context) { txend.Notify(ctx, p, p.begin) }

func (p *publishers) begin() (end func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ended := make(chan struct{})
	if p.open == nil {
		p.open = map[chan struct{}]bool{}
	}
	p.open[ended] = true
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.open, ended)
		close(ended)
	}
}

// wait returns when all transactions that published something before the call
// have ended, or when ctx ends.
func (p *publishers) wait(ctx context.Context) error {
	p.mu.Lock()
	open := slices.Collect(maps.Keys(p.open))
	p.mu.Unlock()
	for _, ended := range open {
		select {
		case <-ended:
		case <-ctx.Done():
			return fmt.Errorf("eventlog: waiting for the end of transactions in which events were published: %w", ctx.Err())
		}
	}
	return nil
}
