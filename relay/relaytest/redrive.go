package relaytest

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/relay"
	"github.com/tidings-go/tidings/relay/internal/testhook"
)

// Redrive applies the verdicts to dead letters, even from another process,
// redelivers them only to their handler, and ends.
func checkRedrive(r *rig) {
	p, other := r.open(), r.open() // other only handles dead letters
	var cured atomic.Bool
	picky, calm := r.tally(), r.tally()
	p.handle("picky", func(ctx context.Context, e counted) error {
		if e.Number > 0 && !cured.Load() {
			return errors.New("not before it is cured")
		}
		return picky.handle(ctx, e)
	}, tidings.Attempts(1))
	p.handle("calm", calm.handle)
	p.start()
	p.send(1, 6)
	p.awaitDead(6)
	calm.await(1, 6)

	var events tidings.Registry
	tidings.Register[counted](&events, countedName, 1)
	number := func(d relay.DeadLetter) int64 {
		e, err := events.Decode(d.Body)
		require.NoError(r, err)
		return e.(counted).Number
	}
	seen := map[int64]int{}
	n := other.redrive("picky", 6, func(d relay.DeadLetter) relay.Verdict {
		seen[number(d)]++
		switch number(d) {
		case 1, 2:
			return relay.Redeliver
		case 3, 4:
			return relay.Discard
		}
		return relay.Keep
	})
	require.Equal(r, 2, n)
	p.awaitDead(8) // two have failed again, with all their attempts
	for number := int64(1); number <= 6; number++ {
		require.NotZero(r, seen[number], "Redrive has left out %d", number)
		if !r.Features.AtLeastOnce {
			require.Equal(r, 1, seen[number], "Redrive goes through the letters once: %d", number)
		}
	}
	require.Empty(r, picky.numbers())

	cured.Store(true)
	again := func(relay.DeadLetter) relay.Verdict { return relay.Redeliver }
	require.Equal(r, 4, p.redrive("picky", 4, again)) // 1 and 2 again, and the kept ones
	picky.await(1, 2)
	picky.await(5, 6)
	p.settle(picky, calm)
	picky.wantEachOf(1, 2, 5, 6)
	calm.wantEach(1, 6)

	require.Zero(r, other.redrive("picky", 0, again), "all of them have been redriven or discarded")
}

// A decision that outlasts the AckWait of the dead letters is requested once,
// and applied once.
func checkRedriveSlowly(r *rig) {
	const ackWait, letters = 2 * time.Second, 3
	p, cured := r.open(), r.open()
	testhook.SetDeadAckWait(p.Relay, ackWait)
	testhook.SetDeadAckWait(cured.Relay, ackWait)
	p.handle("picky", func(context.Context, counted) error { return errors.New("no") }, tidings.Attempts(1))
	p.start()
	p.send(1, letters)
	p.awaitDead(letters)
	p.close()
	asked, got := map[string]int{}, r.tally()
	n := cured.redrive("picky", letters, func(d relay.DeadLetter) relay.Verdict {
		asked[d.ID]++
		time.Sleep(2 * ackWait)
		return relay.Redeliver
	})
	cured.handle("picky", got.handle)
	cured.start()
	got.wantEach(1, letters)
	if !r.Features.AtLeastOnce {
		require.Equal(r, letters, n)
		for id, times := range asked {
			require.Equal(r, 1, times, "asked for the letter %s", id)
		}
	}
	require.Len(r, asked, letters)
	if r.Features.AtLeastOnce { // the acknowledgement of a decision may have been lost
		cured.redrive("picky", 0, func(relay.DeadLetter) relay.Verdict { return relay.Redeliver })
	}
	require.Empty(r, cured.letters("picky", 0))
}
