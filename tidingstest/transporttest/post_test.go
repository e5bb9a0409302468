package transporttest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/tidingstest/transporttest"
)

// A post is a transport in memory: a worker for each name, which takes one
// event after the other. Its phase decides whether it takes part in the
// publisher's transaction. It is sound, but for the sin it may be given.
type post struct {
	phase   tidings.Phase
	retries bool
	sin     string

	mu      sync.Mutex
	boxes   map[string]*box
	sent    int
	stopped bool
	workers sync.WaitGroup
}

type box struct {
	handler tidings.Handler
	letters []letter
	filled  sync.Cond // on post.mu
}

type letter struct {
	ctx      context.Context
	event    tidings.Event
	name     string
	attempts int // so far
}

var errNoTx = errors.New("not in a transaction")

// A postTx is a transaction of a post, or a savepoint in one.
type postTx struct{ letters []letter }

func newPost(t *testing.T, phase tidings.Phase, retries bool, sin string) *post {
	p := &post{phase: phase, retries: retries, sin: sin, boxes: map[string]*box{}}
	t.Cleanup(p.stop)
	return p
}

func (p *post) subject() transporttest.Subject {
	s := transporttest.Subject{Via: tidings.Via(p)}
	if p.phase != tidings.AfterCommit {
		s.InTx = p.inTx
	}
	return s
}

func (p *post) inTx(ctx context.Context, fn func(context.Context) error) error {
	return tidings.Transact(ctx, tidings.Transactor{DB: p, Run: func(ctx context.Context, body func(context.Context) error) error {
		outer, nested := tidings.TxFrom[*postTx](ctx, p)
		tx := &postTx{}
		if err := body(tidings.WithTx(ctx, p, tx)); err != nil {
			return err
		}
		if nested {
			outer.letters = append(outer.letters, tx.letters...)
		} else {
			p.deposit(tx.letters)
		}
		return nil
	}}, fn)
}

func (p *post) Phase() tidings.Phase { return p.phase }

func (p *post) Encode(context.Context, tidings.Outgoing) (any, error) { return nil, nil }

func (p *post) Handle(h tidings.Handler) (func(), error) {
	if len(h.Options) > 0 && p.sin != "takes any option" {
		return nil, fmt.Errorf("%v is not an option of a post", h.Options[0])
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if b := p.boxes[h.Name]; b != nil {
		if p.sin != "keeps the first handler of a name" {
			b.handler = h
		}
		return nil, nil
	}
	b := &box{handler: h}
	if p.sin == "has leftovers" { // which is none
		event := tidings.Stamp(context.Background(), transporttest.Counted{Number: 1})
		b.letters = []letter{{context.Background(), event, h.Name, 0}}
	}
	b.filled.L = &p.mu
	p.boxes[h.Name] = b
	p.workers.Go(func() { p.work(b) })
	return nil, nil
}

func (p *post) Send(ctx context.Context, deliveries []tidings.Outgoing) error {
	tx, inside := tidings.TxFrom[*postTx](ctx, p)
	if p.phase != tidings.AfterCommit && !inside {
		return errNoTx
	}
	if p.sin != "leaks the context" {
		ctx = context.Background()
	}
	var letters []letter
	for _, d := range deliveries {
		event := p.tampered(d.Event)
		for _, name := range p.addressees(d.Handlers) {
			if p.sin == "delivers inside Send" {
				if err := p.boxOf(name).handler.Deliver(ctx, event); err != nil {
					return err
				}
				continue
			}
			letters = append(letters, letter{ctx, event, name, 0})
		}
	}
	if p.phase != tidings.AfterCommit && p.sin != "sends before the commit" {
		tx.letters = append(tx.letters, letters...)
		return nil
	}
	p.deposit(letters)
	return nil
}

func (p *post) addressees(names []string) []string {
	if p.sin == "serves one handler only" {
		return names[:1]
	}
	return names
}

func (p *post) tampered(event tidings.Event) tidings.Event {
	sent, ok := event.(transporttest.Described)
	switch {
	case !ok:
	case p.sin == "rounds":
		sent.Due = sent.Due.Truncate(1e6)
		return sent
	case p.sin == "stamps anew":
		sent.DomainEvent = tidings.DomainEvent{}
		return tidings.Stamp(tidings.WithCorrelationID(context.Background(), event.CorrelationID()), sent)
	case p.sin == "forgets the type":
		return tidings.Stamp(context.Background(), transporttest.Counted{Number: sent.Number})
	}
	return event
}

func (p *post) boxOf(name string) *box {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.boxes[name]
}

func (p *post) deposit(letters []letter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range letters {
		p.sent++
		times := 1
		switch {
		case p.sin == "loses" && p.sent%7 == 0:
			times = 0
		case p.sin == "doubles" && p.sent%7 == 0:
			times = 2
		}
		b := p.boxes[l.name]
		for range times {
			if p.sin == "reorders" {
				b.letters = slices.Insert(b.letters, len(b.letters)/2, l)
			} else {
				b.letters = append(b.letters, l)
			}
		}
		b.filled.Signal()
	}
}

func (p *post) stop() {
	p.mu.Lock()
	p.stopped = true
	for _, b := range p.boxes {
		b.filled.Signal()
	}
	p.mu.Unlock()
	p.workers.Wait()
}

// work delivers until the post stops. What is left then stays undelivered.
func (p *post) work(b *box) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		for len(b.letters) == 0 && !p.stopped {
			b.filled.Wait()
		}
		if p.stopped {
			return
		}
		l := b.letters[0]
		b.letters = b.letters[1:]
		h := b.handler
		p.mu.Unlock()
		err := p.attempt(l, h)
		p.mu.Lock()
		l.attempts++
		switch {
		case err == nil:
		case p.sin == "stops at a failure":
			return
		case p.sin == "retries another event" && len(b.letters) > 0:
			b.letters = append(b.letters, b.letters[0])
		case p.retries && (h.Attempts == 0 || l.attempts < h.Attempts || p.sin == "tries for ever"):
			if h.Backoff != nil && p.sin != "does not ask how long to wait" {
				h.Backoff(l.attempts)
			}
			b.letters = append(b.letters, l)
		}
	}
}

func (p *post) attempt(l letter, h tidings.Handler) error {
	ctx := l.ctx
	if h.Timeout > 0 && p.sin != "has no time limit" {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, h.Timeout)
		defer cancel()
	}
	return h.Deliver(ctx, l.event)
}
