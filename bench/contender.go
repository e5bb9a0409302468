package bench

import (
	"fmt"
	"runtime/debug"
	"strings"
)

// A Contender is a bus, or the bare loop.
type Contender struct {
	Name        string
	Module      string // where it comes from; empty for the bare loop
	Synchronous bool   // handlers run in the goroutine of the publisher
	Errors      string // what becomes of those that handlers return
	Recovers    bool   // a panicking handler does not take the publisher along
	Traces      bool   // a handler's context says which event led to what it publishes
	Note        string // what else a reader must know to compare
	// Setup makes a bus on which so many handlers wait for [OrderPlaced]. Its
	// runner publishes.
	Setup func(handlers int) (*Runner, error)
}

// Names of the contenders that bars speak of.
const (
	Bare     = "bare"
	Mediatr  = "go-mediatr"
	Signals  = "signals"
	errFirst = "stops at the first error"
	errNone  = "handlers return no errors"
)

// Contenders lists who takes part: the bare loop, tidings, the other buses.
func Contenders() []Contender {
	return []Contender{{
		Name: Bare, Synchronous: true, Errors: errFirst,
		Note:  "a loop over []func(context.Context, E) error: no bus at all",
		Setup: setupBare,
	}, {
		Name: Tidings, Module: "github.com/tidings-go/tidings",
		Synchronous: true, Errors: "runs all handlers and joins their errors", Recovers: true, Traces: true,
		Note:  "typed; checks that handlers share no memory; knows transactions and their phases",
		Setup: setupTidings,
	}, {
		Name: Signals, Module: "github.com/maniartech/signals",
		Synchronous: true, Errors: errFirst,
		Note:  "SyncSignal.TryEmit; a signal is one event type, so nothing is looked up",
		Setup: setupSignals,
	}, {
		Name: Mediatr, Module: "github.com/mehdihadeli/go-mediatr",
		Synchronous: true, Errors: errFirst,
		Note:  "one registry for the process; no unsubscribe",
		Setup: setupMediatr,
	}, {
		Name: "gookit-event", Module: "github.com/gookit/event",
		Synchronous: true, Errors: errFirst,
		Note:  "FireEventCtx with an event type of one's own; routes by name; no lock by default",
		Setup: setupGookit,
	}, {
		Name: "mustafaturan-bus", Module: "github.com/mustafaturan/bus/v3",
		Synchronous: true, Errors: errNone,
		Note:  "routes by name; stamps an ID, a transaction ID and the time on every event",
		Setup: setupMustafaturan,
	}, {
		Name: "ebu", Module: "github.com/jilio/ebu",
		Synchronous: true, Errors: errNone, Recovers: true,
		Note:  "typed",
		Setup: setupEbu,
	}, {
		Name: "EventBus", Module: "github.com/asaskevich/EventBus",
		Synchronous: true, Errors: errNone,
		Note:  "routes by name, calls by reflection, holds a lock while handlers run",
		Setup: setupEventBus,
	}, {
		Name: "kelindar-event", Module: "github.com/kelindar/event",
		Errors: errNone,
		Note: "a queue and a goroutine for each handler, served every half a millisecond; handlers get no context; " +
			"the time is that until the last event is delivered",
		Setup: setupKelindar,
	}, {
		Name: "watermill-gochannel", Module: "github.com/ThreeDotsLabs/watermill",
		Errors: "a nack delivers again",
		Note:   "carries bytes; Publish waits until every subscriber has acknowledged",
		Setup:  setupWatermill,
	}}
}

// Remarks sums up what the contender does for its time.
func (c Contender) Remarks() string {
	remarks := []string{"asynchronous"}
	if c.Synchronous {
		remarks[0] = "synchronous"
	}
	remarks = append(remarks, c.Errors)
	if c.Recovers {
		remarks = append(remarks, "recovers panics")
	}
	if c.Traces {
		remarks = append(remarks, "traces causation")
	}
	return strings.Join(remarks, "; ")
}

// Version returns the version of the contender's module that is built into this
// program, or "" where the program does not say (a test's does not) or there is
// no module.
func (c Contender) Version() string {
	if c.Module == "" {
		return ""
	}
	return moduleVersion(c.Module)
}

func moduleVersion(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, module := range info.Deps {
		if module.Path == path {
			return module.Version
		}
	}
	return ""
}

// Subject returns the contender with so many handlers.
func (c Contender) Subject(handlers int) Subject {
	return Subject{
		Name: c.Name,
		Note: c.Remarks(),
		Setup: func() (*Runner, error) {
			r, err := c.Setup(handlers)
			if err != nil {
				return nil, fmt.Errorf("set up %s with %d handlers: %w", c.Name, handlers, err)
			}
			return r, nil
		},
	}
}
