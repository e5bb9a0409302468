package bench

import (
	"fmt"
	"runtime/debug"
)

// A Contender is a bus, or the bare loop.
type Contender struct {
	Name        string
	Module      string // where it comes from; empty for the bare loop
	Synchronous bool   // handlers run in the goroutine of the publisher
	Remarks     string
	// Setup makes a bus on which so many handlers wait for [OrderPlaced]. Its
	// runner publishes.
	Setup func(handlers int) (*Runner, error)
}

// Names of the contenders that bars speak of.
const (
	Bare     = "bare"
	Tidings  = "tidings"
	Mediatr  = "go-mediatr"
	Signals  = "signals"
	noModule = ""
)

// Contenders lists who takes part: the bare loop, tidings, the other buses.
func Contenders() []Contender {
	return []Contender{
		{Bare, noModule, true,
			"synchronous; a loop over []func(context.Context, E) error that stops at the first error", setupBare},
		{Signals, "github.com/maniartech/signals", true,
			"synchronous (SyncSignal.TryEmit); stops at the first error; panics escape", setupSignals},
		{Mediatr, "github.com/mehdihadeli/go-mediatr", true,
			"synchronous; stops at the first error; panics escape; one registry for the process, no unsubscribe", setupMediatr},
		{"gookit-event", "github.com/gookit/event", true,
			"synchronous (FireEventCtx); stops at the first error; panics escape; no lock by default", setupGookit},
		{"mustafaturan-bus", "github.com/mustafaturan/bus/v3", true,
			"synchronous; stamps an ID, a transaction ID and the time on every event; handlers return no errors; panics escape", setupMustafaturan},
		{"ebu", "github.com/jilio/ebu", true,
			"synchronous; recovers panics per handler; handlers return no errors", setupEbu},
		{"EventBus", "github.com/asaskevich/EventBus", true,
			"synchronous, by reflection, under one lock; handlers return no errors; panics escape", setupEventBus},
		{"kelindar-event", "github.com/kelindar/event", false,
			"asynchronous, a queue and a goroutine per handler; no context, no errors; time until the last event is delivered", setupKelindar},
		{"watermill-gochannel", "github.com/ThreeDotsLabs/watermill", false,
			"goroutines of the subscribers; carries bytes; Publish waits until every handler has acknowledged", setupWatermill},
	}
}

// Version returns the version of the contender's module that is built into this
// program, or "" where the program does not say or there is no module.
func (c Contender) Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || c.Module == "" {
		return ""
	}
	for _, module := range info.Deps {
		if module.Path == c.Module {
			return module.Version
		}
	}
	return ""
}

// Subject returns the contender with so many handlers.
func (c Contender) Subject(handlers int) Subject {
	return Subject{
		Name: c.Name,
		Note: c.Remarks,
		Setup: func() (*Runner, error) {
			r, err := c.Setup(handlers)
			if err != nil {
				return nil, fmt.Errorf("set up %s with %d handlers: %w", c.Name, handlers, err)
			}
			return r, nil
		},
	}
}
