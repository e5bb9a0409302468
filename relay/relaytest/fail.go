package relaytest

import (
	"context"
	"errors"
	"maps"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/relay"
	"github.com/tidings-go/tidings/relay/internal/testhook"
)

// redrive calls Redrive for a handler that has letters dead letters, and
// returns how many were redelivered. For users, Redrive ends when none has
// arrived for some seconds, but a slow machine may need longer for the next
// one. This one waits patiently until it has seen that many, and then checks
// for a while whether there are more.
//
// Without order a kept letter may overtake others. Redrive holds it until it
// ends, and gets no others from a broker that delivers one at a time. So
// redrive repeats it until it has seen that many; it does not call decide
// twice.
func (p *process) redrive(handler string, letters int, decide func(relay.DeadLetter) relay.Verdict) (redelivered int) {
	p.rig.Helper()
	const while = 2 * time.Second
	patience, unordered := p.rig.Features.Patience, p.rig.Features.Unordered
	type key struct{ id, body string } // a message that is not an event may have no ID
	seen := map[key]bool{}
	for ctx := within(p.rig.T, 4*patience); ; {
		first, next := patience, patience
		if letters == 0 {
			first = while
		}
		if letters == len(seen) || unordered {
			next = while
		}
		testhook.SetIdle(p.Relay, first, next)
		before := maps.Clone(seen)
		n, err := p.Redrive(ctx, handler, func(d relay.DeadLetter) relay.Verdict {
			letter := key{d.ID, string(d.Body)}
			seen[letter] = true
			if len(seen) == letters {
				testhook.SetIdle(p.Relay, first, while)
			}
			if before[letter] {
				return relay.Keep
			}
			return decide(d)
		})
		require.NoError(p.rig, err)
		redelivered += n
		if !unordered || len(seen) >= letters {
			return redelivered
		}
	}
}

// letters lists the dead letters of a handler, of which there should be want.
// All of them stay.
func (p *process) letters(handler string, want int) []relay.DeadLetter {
	p.rig.Helper()
	var letters []relay.DeadLetter
	n := p.redrive(handler, want, func(d relay.DeadLetter) relay.Verdict {
		letters = append(letters, d)
		return relay.Keep
	})
	require.Zero(p.rig, n)
	return letters
}

// dead returns how many messages of the process became dead letters.
func (p *process) dead() int {
	return strings.Count(p.log.String(), "relay: a message is a dead letter")
}

// awaitDead waits until the process has n dead letters.
func (p *process) awaitDead(n int) {
	p.rig.Helper()
	require.Eventually(p.rig, func() bool { return p.dead() >= n }, p.rig.Features.Patience, 10*time.Millisecond, "want %d dead letters", n)
}

// An event that always fails is retried with a backoff, blocks no other event,
// and becomes a dead letter that says why.
func checkPoison(r *rig) {
	const wait = 300 * time.Millisecond
	p, others := r.open(), r.tally()
	var mu sync.Mutex
	var attempts []time.Time
	var poisonID string
	p.handle("poisoned", func(ctx context.Context, e counted) error {
		if e.Number != 0 {
			return others.handle(ctx, e)
		}
		mu.Lock()
		attempts = append(attempts, time.Now())
		last := len(attempts) == 3
		poisonID = e.EventID().String()
		mu.Unlock()
		if last && !others.awaitSome(ctx) { // while this attempt lasts, for a machine that was busy until now
			r.Error("no event is handled between the attempts for the one that fails")
		}
		return errors.New("no stock:\n\tZoë’s \"fish\" <7> 🐟")
	}, tidings.Attempts(3), tidings.Backoff(func(int) time.Duration { return wait }))
	p.start()
	began := time.Now()
	p.send(0, 50)
	others.await(1, 50)
	p.awaitDead(1)
	mu.Lock()
	defer mu.Unlock()
	if !r.Features.AtLeastOnce {
		require.Len(r, attempts, 3)
	}
	require.GreaterOrEqual(r, attempts[1].Sub(attempts[0]), wait)
	require.GreaterOrEqual(r, attempts[2].Sub(attempts[1]), wait)
	others.wantEach(1, 50)

	letters := p.letters("poisoned", 1)
	require.Len(r, letters, 1)
	letter := letters[0]
	require.Equal(r, "poisoned", letter.Handler)
	require.Equal(r, countedName, letter.Type())
	require.Contains(r, letter.Reason, `no stock:  Zoë’s "fish" <7> 🐟`)
	require.NotContains(r, letter.Reason, "\n")
	require.Equal(r, p.topic(countedName), letter.Origin)
	require.Equal(r, poisonID, letter.ID)
	require.Equal(r, 3, letter.Attempts)
	require.WithinRange(r, letter.FailedAt, began, time.Now())
}

// What a handler does besides returning an error.
func checkHandlersVerdict(r *rig) {
	p, tried, done := r.open(), r.tally(), r.tally()
	p.handle("moody", func(ctx context.Context, e counted) error {
		first := tried.add(e.Number) == 1
		switch {
		case e.Number == 1:
			return tidings.Permanent(errors.New("hopeless"))
		case e.Number == 2 && first:
			runtime.Goexit()
		case e.Number == 3 && first:
			panic("what?")
		case e.Number == 4 && first:
			return errors.New("not yet")
		}
		return done.handle(ctx, e)
	})
	p.start()
	p.send(1, 8)
	done.await(2, 8)
	p.awaitDead(1)
	letters := p.letters("moody", 1)
	require.Len(r, letters, 1)
	require.Equal(r, 1, letters[0].Attempts)
	require.Contains(r, letters[0].Reason, "hopeless")
	done.wantEach(2, 8)
	require.NotContains(r, done.numbers(), int64(1))
}
