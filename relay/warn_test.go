package relay_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/relay"
)

// What would go wrong in silence is said once.
func TestWarnings(t *testing.T) {
	t.Parallel()
	const (
		unstarted = "the relay is not started: call Start"
		unheard   = "received events have no handler"
		unmatched = "a handler takes events that are not registered"
		timeout   = "the Timeout of a handler is longer"
	)
	nothing := func(context.Context, ordered) error { return nil }
	for _, tt := range []struct {
		name string
		do   func(*rig)
		want string // "": no warning at all
	}{
		{"fine", func(g *rig) { g.handle("h", nothing); g.start(); g.publish(1) }, ""},
		{"only sends", func(g *rig) { relay.Forward[ordered](g.bus, g.Relay); g.publish(1, 2) }, ""},
		{"not started, and sends", func(g *rig) { g.handle("h", nothing); g.publish(1, 2) }, unstarted},
		{"not started", func(g *rig) { g.handle("h", nothing); time.Sleep(31 * time.Second) }, unstarted},
		{"started late", func(g *rig) { g.handle("h", nothing); time.Sleep(29 * time.Second); g.start() }, ""},
		{"unsubscribed", func(g *rig) { g.handle("h", nothing).Unsubscribe() }, ""},
		{"receives, not started", func(g *rig) { receive[ordered](g, nothing) }, unstarted},
		{"receives", func(g *rig) { receive[ordered](g, nothing); g.start() }, ""},
		{"receives a family", func(g *rig) { receive[item](g, nothing); g.start() }, ""},
		{"receives for nobody", func(g *rig) { receive[tidings.Event](g, nothing); g.start() }, unheard},
		{"no such event", func(g *rig) {
			tidings.Subscribe(g.bus, func(context.Context, rare) error { return nil }, tidings.Named("rare"), tidings.Via(g.Relay))
			g.start()
		}, unmatched},
		{"patient", func(g *rig) { g.handle("h", nothing, tidings.Timeout(29*time.Minute)); g.start() }, ""},
		{"too patient", func(g *rig) { g.handle("h", nothing, tidings.Timeout(30*time.Minute)); g.start() }, timeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := newRig(t)
				tt.do(g)
				if tt.want != unstarted || tt.name != "not started, and sends" {
					pass(time.Minute)
				}
				if tt.want == "" {
					require.NotContains(t, g.logs.String(), "level=WARN")
					return
				}
				require.Equal(t, 1, g.logs.count("level=WARN"), g.logs)
				require.Contains(t, g.logs.String(), tt.want)
			})
		})
	}
}

// A rare event is one that there is none of.
type rare interface {
	tidings.Event
	rare()
}

func receive[E tidings.Event](g *rig, handler func(context.Context, ordered) error) {
	relay.Receive[E](g.bus, g.Relay, "received")
	tidings.Subscribe(g.bus, handler)
}
