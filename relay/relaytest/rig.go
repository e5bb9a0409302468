package relaytest

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/relay"
	"github.com/tidings-go/tidings/relay/internal/testhook"
	"github.com/tidings-go/tidings/tidingstest/transporttest"
)

// The events of the suite.
type (
	counted   = transporttest.Counted
	described = transporttest.Described
)

const (
	countedName   = "suite.counted"
	describedName = "suite.described"
)

// A rig is a broker for one subtest.
type rig struct {
	*testing.T
	Server
	prefix string // of topics and groups
}

// A process has what a real one has: a relay and a bus.
type process struct {
	*relay.Relay
	rig *rig
	bus *tidings.EventBus
	log *logs
}

// open starts a process with its own connection. It ends with the test.
func (r *rig) open(opts ...relay.Option) *process {
	r.Helper()
	return r.openWith(new(tidings.Registry), opts...)
}

func (r *rig) openWith(registry *tidings.Registry, opts ...relay.Option) *process {
	r.Helper()
	tidings.Register[counted](registry, countedName, 1)
	tidings.Register[described](registry, describedName, 1)
	p := &process{rig: r, log: &logs{}}
	r.Cleanup(func() { // last, after Close
		if r.Failed() {
			r.Logf("log of a process:\n%s", p.log.String())
		}
	})
	opened, err := relay.Open(r.Context(), r.URL, registry, append([]relay.Option{
		relay.WithPrefix(r.prefix),
		relay.WithLogger(slog.New(slog.NewTextHandler(p.log, &slog.HandlerOptions{Level: slog.LevelDebug}))),
	}, opts...)...)
	require.NoError(r, err)
	p.Relay = opened
	r.Cleanup(func() { require.NoError(r, p.Close(within(r.T, closeWithin))) })
	p.bus = tidings.New(tidings.WithErrorHandler(p.unexpected))
	return p
}

// unexpected is the error handler of buses: the broker accepts everything. The
// bus also reports the error of a handler that ends its goroutine.
func (p *process) unexpected(_ context.Context, err error) {
	if !strings.Contains(err.Error(), "runtime.Goexit") {
		p.rig.Errorf("the bus reports: %v", err)
	}
}

// started returns a process that has called Start.
func (r *rig) started(opts ...relay.Option) *process {
	r.Helper()
	p := r.open(opts...)
	p.start()
	return p
}

func (p *process) start() {
	p.rig.Helper()
	require.NoError(p.rig, p.Start(p.rig.Context()))
}

// closeWithin is more than Close needs.
const closeWithin = time.Minute

// close shuts the process down gracefully.
func (p *process) close() {
	p.rig.Helper()
	require.NoError(p.rig, p.Close(within(p.rig.T, closeWithin)))
}

// broker returns the broker itself.
func (p *process) broker() relay.Broker { return testhook.Broker(p.Relay).(relay.Broker) }

// topic returns the topic of events of that name.
func (p *process) topic(event string) string { return p.broker().Topic(p.rig.prefix + event) }

// handle subscribes a handler of Counted through the broker.
func (p *process) handle(name string, handler func(context.Context, counted) error, opts ...tidings.SubscribeOption) *tidings.Subscription {
	opts = append(tidings.SubscribeOptions{quick}, opts...)
	return tidings.Subscribe(p.bus, handler, tidings.Named(name), tidings.Via(p.Relay), tidings.SubscribeOptions(opts))
}

// forward lets the process send Counted without a handler here.
func (p *process) forward() { relay.Forward[counted](p.bus, p.Relay) }

// send publishes Counted with these numbers.
func (p *process) send(from, to int64) {
	p.rig.Helper()
	for n := from; n <= to; n++ {
		require.NoError(p.rig, tidings.Publish(p.rig.Context(), p.bus, counted{Number: n}))
	}
}

// logs collects what a relay logs.
type logs struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// wantNoFailures fails the test if a handler of the process has failed.
func (p *process) wantNoFailures() {
	p.rig.Helper()
	log := p.log.String()
	require.NotContains(p.rig, log, "relay: an attempt has failed")
	require.NotContains(p.rig, log, "relay: a message is a dead letter")
}
