package faulttest_test

import (
	"math/rand/v2"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// events is how many events a test sends: few, or what TIDINGS_FAULT_EVENTS says.
func events(t *testing.T) int {
	t.Helper()
	text := os.Getenv("TIDINGS_FAULT_EVENTS")
	if text == "" {
		return 200
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err)
	return n
}

const patience = 2 * time.Minute

func planFor(s server, w *warehouse) plan {
	return plan{
		Dir: w.dir, Broker: s.url(), Prefix: "t" + uuid.NewString()[:8] + ".", Process: "here",
		Timeout: 3 * time.Second, Workers: 2,
	}
}

// The broker is stopped and started again, twice, while the shop places orders.
func TestBrokerStops(t *testing.T) {
	forEach(t, func(t *testing.T, s server) {
		n := events(t)
		w := newWarehouse(t)
		p := planFor(s, w)
		w.workHere(t, p)
		shop := openShop(t, s.url(), p.Prefix, true)
		third := n / 3
		shop.place(t, 0, third, 1)
		w.await(t, third/2, patience)
		s.stop(t)
		shop.place(t, third, third, 1)
		s.start(t)
		w.await(t, third+third/2, patience)
		s.stop(t)
		s.start(t)
		shop.place(t, 2*third, n-2*third, 1)
		w.await(t, n, patience)
		w.require(t, shop.placed(t))
		c := w.count(t)
		t.Logf("%s: %d events, broker stopped twice: %d effects, %d calls", s.name(), n, c.effects, c.calls)
	})
}

// The database commits while the broker is down.
func TestBrokerIsDown(t *testing.T) {
	forEach(t, func(t *testing.T, s server) {
		n := events(t)
		w := newWarehouse(t)
		p := planFor(s, w)
		w.workHere(t, p)
		shop := openShop(t, s.url(), p.Prefix, true)
		s.stop(t)
		shop.place(t, 0, n, 1)
		require.Zero(t, w.count(t).calls)
		s.start(t)
		w.await(t, n, patience)
		w.require(t, shop.placed(t))
		c := w.count(t)
		t.Logf("%s: %d events committed while the broker was down: %d effects, %d calls", s.name(), n, c.effects, c.calls)
	})
}

// Without an outbox events are lost then, and the bus says so of each.
func TestBrokerIsDownWithoutOutbox(t *testing.T) {
	forEach(t, func(t *testing.T, s server) {
		const before, during, after = 20, 2, 20
		w := newWarehouse(t)
		p := planFor(s, w)
		w.workHere(t, p)
		shop := openShop(t, s.url(), p.Prefix, false)
		shop.place(t, 0, before, 1)
		w.await(t, before, patience)
		s.stop(t)
		shop.place(t, before, during, 1)
		s.start(t)
		require.EqualValues(t, during, shop.reported.Load())
		require.Eventually(t, func() bool { // the publisher finds back
			reported := shop.reported.Load()
			shop.place(t, len(shop.placed(t)), 1, 1)
			return shop.reported.Load() == reported
		}, patience, 100*time.Millisecond)
		shop.place(t, len(shop.placed(t)), after, 1)
		// An event whose confirmation was cut off may have arrived nonetheless.
		all := len(shop.placed(t))
		lost := int(shop.reported.Load())
		w.await(t, all-lost, patience)
		c := w.count(t)
		require.LessOrEqual(t, c.events, all)
		t.Logf("%s: %d events, %d reported as not accepted, %d had an effect", s.name(), all, lost, c.effects)
	})
}

// Two processes share the events, and are killed with some in flight.
func TestConsumersKilled(t *testing.T) {
	forEach(t, func(t *testing.T, s server) {
		n := events(t)
		w := newWarehouse(t)
		p := planFor(s, w)
		p.Lasts = 5 * time.Millisecond
		first, second := startProcess(t, p), startProcess(t, p)
		shop := openShop(t, s.url(), p.Prefix, true)
		var killed atomic.Bool
		done := make(chan struct{})
		go func() {
			defer close(done)
			shop.place(t, 0, n, 1)
			for number := n; !killed.Load(); number++ { // so that there are some at every kill
				shop.place(t, number, 1, 1)
				<-time.After(20 * time.Millisecond)
			}
		}()
		defer func() { killed.Store(true); <-done }()
		kills := 0
		for range 3 {
			w.await(t, w.count(t).events+min(10, n/10), patience)
			<-time.After(time.Duration(rand.IntN(20)) * time.Millisecond)
			first.kill(t)
			second.kill(t)
			kills += 2
			first, second = startProcess(t, p), startProcess(t, p)
		}
		killed.Store(true)
		<-done
		began := time.Now()
		n = len(shop.placed(t))
		w.await(t, n, patience)
		w.require(t, shop.placed(t))
		c := w.count(t)
		t.Logf("%s: %d events, %d processes killed: %d effects, %d calls; the last one %.1f s after the last kill",
			s.name(), n, kills, c.effects, c.calls, time.Since(began).Seconds())
	})
}

// Every event is sent three times.
func TestDuplicates(t *testing.T) {
	forEach(t, func(t *testing.T, s server) {
		n := events(t)
		w := newWarehouse(t)
		p := planFor(s, w)
		w.workHere(t, p)
		shop := openShop(t, s.url(), p.Prefix, false)
		shop.place(t, 0, n, 3)
		require.Eventually(t, func() bool { return w.count(t).calls >= 3*n }, patience, 50*time.Millisecond)
		w.require(t, shop.placed(t))
		c := w.count(t)
		t.Logf("%s: %d events sent three times: %d effects, %d calls", s.name(), n, c.effects, c.calls)
	})
}
