package relaytest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/relay"
)

// A novelty is an event that the older version of a program does not know.
type novelty struct {
	tidings.DomainEvent
	Number int64
}

// While a new version is deployed, the old one has the same queues and does not
// know all events in them. None is lost.
func checkRollingDeployment(r *rig) {
	const events = 40
	registry := new(tidings.Registry)
	tidings.Register[novelty](registry, "suite.novelty", 1)
	older, newer := r.open(), r.openWith(registry)
	var mu sync.Mutex
	tried, done := map[int64]bool{}, map[int64]bool{}
	audit := func(_ context.Context, e tidings.Event) error {
		n, ok := e.(novelty)
		if !ok {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		if !tried[n.Number] {
			tried[n.Number] = true
			return errors.New("not yet")
		}
		done[n.Number] = true
		return nil
	}
	for _, p := range []*process{older, newer} {
		tidings.Subscribe(p.bus, audit, tidings.Named("audit"), tidings.Via(p.Relay), quick)
		p.start()
	}
	for n := range int64(events) {
		require.NoError(r, tidings.Publish(r.Context(), newer.bus, novelty{Number: n}))
	}
	require.Eventually(r, func() bool {
		mu.Lock()
		n := len(done)
		mu.Unlock()
		return n+older.dead()+newer.dead() >= events
	}, r.Redelivery+2*r.Features.Patience, 50*time.Millisecond)
	letters := map[string]bool{}
	if dead := older.dead() + newer.dead(); dead > 0 {
		for _, letter := range older.letters("audit", dead) {
			require.Equal(r, "suite.novelty", letter.Type())
			letters[letter.ID] = true
		}
	}
	mu.Lock()
	defer mu.Unlock()
	require.GreaterOrEqual(r, len(done)+len(letters), events, "events that neither took effect nor are dead letters are lost")
	require.Greater(r, len(done), events/2)
}

// A leftover event that its handler does not take any more finally becomes a
// dead letter, and is not acknowledged.
func checkHandlerOfAnotherEvent(r *rig) {
	failing := r.open()
	failing.handle("fickle", func(context.Context, counted) error { return errors.New("no") }, tidings.Attempts(1))
	failing.start()
	failing.send(1, 3)
	failing.awaitDead(3)
	failing.close()

	other := r.open()
	tidings.Subscribe(other.bus, func(context.Context, described) error { return nil }, tidings.Named("fickle"), tidings.Via(other), quick)
	other.start()
	again := func(relay.DeadLetter) relay.Verdict { return relay.Redeliver }
	require.Equal(r, 3, other.redrive("fickle", 3, again))
	other.awaitDead(3)
	ids := map[string]bool{}
	for _, letter := range other.letters("fickle", 3) {
		require.Contains(r, letter.Reason, `does not handle "suite.counted" in this process`)
		ids[letter.ID] = true
	}
	require.Len(r, ids, 3)
}
