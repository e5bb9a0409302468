package tidings_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/txtest"
)

func onAccepted(context.Context, proposalAccepted) error { return errDeclined }

func TestHandlerError(t *testing.T) {
	t.Parallel()
	bus := tidings.New()
	tidings.Subscribe(bus, onAccepted)
	event := tidings.Stamp(t.Context(), proposalAccepted{ProposalID: 7})
	err := tidings.Publish(t.Context(), bus, event)
	require.EqualError(t, err, "tidings: tidings_test.onAccepted handling tidings_test.proposalAccepted: card declined")
	require.ErrorIs(t, err, errDeclined)
	var he *tidings.HandlerError
	require.ErrorAs(t, err, &he)
	require.Equal(t, &tidings.HandlerError{Handler: "tidings_test.onAccepted", Event: event, Err: errDeclined}, he)
	require.Equal(t, errDeclined, errors.Unwrap(he))
	require.Equal(t, "tidings: x handling a nil event: card declined", (&tidings.HandlerError{Handler: "x", Err: errDeclined}).Error())
}

func TestAllHandlersRunAndFailuresAreJoined(t *testing.T) {
	t.Parallel()
	bus, d := tidings.New(), &diary{}
	fails := func(name string, err error) {
		tidings.Subscribe(bus, func(context.Context, proposalAccepted) error {
			d.add("%s", name)
			return err
		}, tidings.Named(name))
	}
	fails("crm", nil)
	fails("billing", errDeclined)
	fails("search", &fs.PathError{Op: "open", Path: "index", Err: fs.ErrNotExist})
	tidings.Subscribe(bus, func(context.Context, tidings.Event) error { panic("boom") }, tidings.Named("audit"))
	fails("mail", nil)

	err := tidings.Publish(t.Context(), bus, proposalAccepted{})
	require.Equal(t, []string{"crm", "billing", "search", "mail"}, d.read())
	require.EqualError(t, err, `tidings: billing handling tidings_test.proposalAccepted: card declined
tidings: search handling tidings_test.proposalAccepted: open index: file does not exist
tidings: audit handling tidings_test.proposalAccepted: panic: boom`)
	require.ErrorIs(t, err, errDeclined)
	require.ErrorIs(t, err, fs.ErrNotExist)
	var pathErr *fs.PathError
	require.ErrorAs(t, err, &pathErr)
	var names []string
	for _, he := range handlerErrors(t, err) {
		names = append(names, he.Handler)
		require.IsType(t, proposalAccepted{}, he.Event)
		require.NotEqual(t, uuid.Nil, he.Event.EventID())
	}
	require.Equal(t, []string{"billing", "search", "audit"}, names)
}

func TestFailureInsideANestedPublish(t *testing.T) {
	t.Parallel()
	bus := tidings.New()
	tidings.Subscribe(bus, func(ctx context.Context, _ proposalAccepted) error {
		return tidings.Publish(ctx, bus, clientCreated{})
	}, tidings.Named("clients.onboard"))
	tidings.Subscribe(bus, func(context.Context, clientCreated) error { return errDeclined }, tidings.Named("billing.charge"))
	err := tidings.Publish(t.Context(), bus, proposalAccepted{})
	require.EqualError(t, err, "tidings: clients.onboard handling tidings_test.proposalAccepted: billing.charge handling tidings_test.clientCreated: card declined")
	require.ErrorIs(t, err, errDeclined)
}

func TestPanicsBecomePanicErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		reason  string
		panics  func()
		message string
		is      error
	}{
		{"a string", func() { panic("boom") }, "panic: boom", nil},
		{"an error, which errors.Is finds", func() { panic(fmt.Errorf("charging: %w", errDeclined)) }, "panic: charging: card declined", errDeclined},
		//lint:ignore SA5000 the panic is what the case is about
		{"a mistake", func() { var m map[string]int; m["x"] = 1 }, "panic: assignment to entry in nil map", nil},
		{"nil", func() { panic(nil) }, "panic: " + new(runtime.PanicNilError).Error(), nil},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			bus, d := tidings.New(), &diary{}
			for range 2 {
				tidings.Subscribe(bus, writes[proposalAccepted](d, "runs"))
				tidings.Subscribe(bus, func(context.Context, proposalAccepted) error {
					tt.panics()
					return nil
				}, tidings.Middleware(func(next tidings.HandlerFunc) tidings.HandlerFunc { return next }))
				tidings.Subscribe(bus, func(context.Context, proposalAccepted) error {
					tt.panics()
					return nil
				})
			}
			tidings.Subscribe(bus, writes[proposalAccepted](d, "runs"))
			errs := handlerErrors(t, tidings.Publish(t.Context(), bus, proposalAccepted{}))
			require.Len(t, errs, 4)
			require.Equal(t, []string{"runs", "runs", "runs"}, d.read())
			for _, he := range errs {
				pe, ok := he.Err.(*tidings.PanicError)
				require.True(t, ok, "%T", he.Err)
				require.EqualError(t, pe, tt.message)
				require.Contains(t, string(pe.Stack), "TestPanicsBecomePanicErrors", "the stack leads to the handler")
				require.Equal(t, tt.is != nil, errors.Is(he, errDeclined))
				if value, ok := pe.Value.(error); ok {
					require.Equal(t, value, pe.Unwrap())
				} else {
					require.NoError(t, pe.Unwrap())
				}
			}
		})
	}
}

// failures collects what an error handler gets.
type failures struct {
	mu     sync.Mutex
	errs   []error
	events []tidings.Event // of the contexts
}

func (f *failures) handle(ctx context.Context, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.errs = append(f.errs, err)
	event, _ := tidings.EventFrom(ctx)
	f.events = append(f.events, event)
}

func (f *failures) messages() (messages []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, err := range f.errs {
		messages = append(messages, err.Error())
	}
	return messages
}

// A t.FailNow in a handler ends the goroutine. The other handlers still run,
// and since Publish does not return, the failures are reported.
func TestGoexitInAHandler(t *testing.T) {
	t.Parallel()
	txtest.TimeLimit(t)
	const goexit = "tidings: exits handling tidings_test.proposalAccepted: runtime.Goexit was called (t.FailNow, t.Skip and the like do)"
	const declined = "tidings: declines handling tidings_test.proposalAccepted: card declined"
	exits := func(bus *tidings.EventBus) {
		tidings.Subscribe(bus, func(context.Context, proposalAccepted) error {
			runtime.Goexit()
			return nil
		}, tidings.Named("exits"))
	}
	for _, tt := range []struct {
		reason  string
		wire    func(bus *tidings.EventBus, d *diary)
		ran     []string
		reports []string
	}{
		{"first", func(bus *tidings.EventBus, d *diary) {
			exits(bus)
			tidings.Subscribe(bus, writes[proposalAccepted](d, "runs"))
			tidings.Subscribe(bus, writes[tidings.Event](d, "runs too"))
		}, []string{"runs", "runs too"}, []string{goexit}},
		{"last", func(bus *tidings.EventBus, d *diary) {
			tidings.Subscribe(bus, writes[proposalAccepted](d, "runs"))
			exits(bus)
		}, []string{"runs"}, []string{goexit}},
		{"among failures before and after", func(bus *tidings.EventBus, d *diary) {
			tidings.Subscribe(bus, onAccepted, tidings.Named("declines"))
			exits(bus)
			tidings.Subscribe(bus, func(context.Context, proposalAccepted) error { panic("boom") }, tidings.Named("panics"))
			tidings.Subscribe(bus, writes[proposalAccepted](d, "runs"))
		}, []string{"runs"}, []string{declined, goexit, "tidings: panics handling tidings_test.proposalAccepted: panic: boom"}},
		{"in a nested publish: the outer handler is ended as well", func(bus *tidings.EventBus, d *diary) {
			tidings.Subscribe(bus, func(ctx context.Context, _ clientCreated) error {
				defer d.add("deferred")
				return tidings.Publish(ctx, bus, proposalAccepted{})
			}, tidings.Named("outer"))
			tidings.Subscribe(bus, writes[clientCreated](d, "outer sibling"))
			exits(bus)
			tidings.Subscribe(bus, writes[proposalAccepted](d, "inner sibling"))
		}, []string{"inner sibling", "deferred", "outer sibling"}, []string{goexit,
			strings.NewReplacer("exits", "outer", "proposalAccepted", "clientCreated").Replace(goexit)}},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			f, d := &failures{}, &diary{}
			bus := tidings.New(tidings.WithErrorHandler(f.handle))
			tt.wire(bus, d)
			returned := false
			done := make(chan struct{})
			go func() {
				defer close(done)
				if strings.Contains(tt.reason, "nested") {
					_ = tidings.Publish(context.Background(), bus, clientCreated{}) // does not return
				} else {
					_ = tidings.Publish(context.Background(), bus, proposalAccepted{}) // does not return
				}
				returned = true
			}()
			<-done
			require.False(t, returned)
			require.Equal(t, tt.ran, d.read())
			require.Equal(t, tt.reports, f.messages())
			for i, err := range f.errs {
				var he *tidings.HandlerError
				require.ErrorAs(t, err, &he)
				require.Equal(t, he.Event, f.events[i], "the context is the handler's")
			}

			require.NoError(t, tidings.Publish(t.Context(), bus, projectCreated{}), "the bus is usable")
			tidings.Subscribe(bus, onAny[projectCreated]).Unsubscribe()
			require.NoError(t, bus.Close(t.Context()), "and nothing counts as running")
		})
	}
}

func TestErrorHandlerGetsFailuresWithoutACaller(t *testing.T) {
	t.Parallel()
	f := &failures{}
	bus := tidings.New(tidings.WithErrorHandler(f.handle))
	tidings.Subscribe(bus, onAccepted, tidings.Async())
	tidings.Subscribe(bus, func(ctx context.Context, _ clientCreated) error {
		return tidings.Publish(ctx, bus, proposalAccepted{ProposalID: 7})
	})
	require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{}))
	require.NoError(t, bus.Close(t.Context()))
	require.Equal(t, []string{"tidings: tidings_test.onAccepted handling tidings_test.proposalAccepted: card declined"}, f.messages())
	var he *tidings.HandlerError
	require.ErrorAs(t, f.errs[0], &he)
	require.Equal(t, he.Event, f.events[0], "the context carries the event that failed, not that which led to it")

	// With a caller, the caller alone gets it.
	alone := tidings.New(tidings.WithErrorHandler(f.handle))
	tidings.Subscribe(alone, onAccepted)
	require.Error(t, tidings.Publish(t.Context(), alone, proposalAccepted{}))
	require.Len(t, f.messages(), 1)
}

func TestErrorHandlerMayPublish(t *testing.T) {
	t.Parallel()
	txtest.TimeLimit(t)
	type handlerFailed struct {
		tidings.DomainEvent
		Handler string
	}
	var bus *tidings.EventBus
	bus = tidings.New(tidings.WithErrorHandler(func(ctx context.Context, err error) {
		var he *tidings.HandlerError
		if errors.As(err, &he) {
			if err := tidings.Publish(ctx, bus, handlerFailed{Handler: he.Handler}); err != nil {
				t.Error(err)
			}
		}
	}))
	var cause, effect tidings.Event
	tidings.Subscribe(bus, func(_ context.Context, e proposalAccepted) error {
		cause = e
		return errDeclined
	}, tidings.Async())
	tidings.Subscribe(bus, func(_ context.Context, e handlerFailed) error {
		effect = e
		return nil
	})
	require.NoError(t, tidings.Publish(t.Context(), bus, proposalAccepted{}))
	require.NoError(t, bus.Close(t.Context()))
	require.NotNil(t, effect)
	require.Equal(t, cause.EventID(), effect.CausationID())
	require.Equal(t, cause.CorrelationID(), effect.CorrelationID())
}

// logged runs fn with a logger and returns what was logged.
func logged(t *testing.T, fn func(*slog.Logger)) (records []map[string]any) {
	t.Helper()
	var buf bytes.Buffer
	fn(slog.New(slog.NewJSONHandler(&buf, nil)))
	for dec := json.NewDecoder(&buf); dec.More(); {
		var record map[string]any
		require.NoError(t, dec.Decode(&record))
		delete(record, "time")
		records = append(records, record)
	}
	return records
}

func TestFailuresAreLoggedByDefault(t *testing.T) {
	t.Parallel()
	event := tidings.Stamp(tidings.WithCorrelationID(t.Context(), uuid.New()), proposalAccepted{})
	records := logged(t, func(logger *slog.Logger) {
		bus := tidings.New(tidings.WithLogger(logger))
		tidings.Subscribe(bus, onAccepted, tidings.Async(), tidings.Named("crm.accept"))
		require.NoError(t, tidings.Publish(t.Context(), bus, event))
		require.NoError(t, bus.Close(t.Context()))
	})
	require.Equal(t, []map[string]any{{
		"level": "ERROR", "msg": "event handler failed",
		"error":          "tidings: crm.accept handling tidings_test.proposalAccepted: card declined",
		"handler":        "crm.accept",
		"event_type":     "tidings_test.proposalAccepted",
		"event_id":       event.EventID().String(),
		"correlation_id": event.CorrelationID().String(),
	}}, records)

	records = logged(t, func(logger *slog.Logger) {
		bus := tidings.New(tidings.WithLogger(logger))
		tidings.Subscribe(bus, func(context.Context, proposalAccepted) error { panic("boom") }, tidings.Async())
		require.NoError(t, tidings.Publish(t.Context(), bus, event))
		require.NoError(t, bus.Close(t.Context()))
	})
	require.Len(t, records, 1)
	require.Contains(t, records[0]["stack"], "TestFailuresAreLoggedByDefault")
	require.Contains(t, records[0]["error"], "panic: boom")
}

func TestTheDefaultLoggerIsThatOfTheTimeOfLogging(t *testing.T) {
	bus := tidings.New()
	tidings.Subscribe(bus, onAccepted, tidings.Async())
	was := slog.Default()
	t.Cleanup(func() { slog.SetDefault(was) })
	records := logged(t, func(logger *slog.Logger) {
		slog.SetDefault(logger)
		require.NoError(t, tidings.Publish(t.Context(), bus, proposalAccepted{}))
		require.NoError(t, bus.Close(t.Context()))
	})
	require.Len(t, records, 1)
}

func TestAnErrorHandlerThatPanicsLosesNothing(t *testing.T) {
	t.Parallel()
	calls := 0
	records := logged(t, func(logger *slog.Logger) {
		bus := tidings.New(tidings.WithLogger(logger), tidings.WithErrorHandler(func(context.Context, error) {
			calls++
			panic("no metrics")
		}))
		tidings.Subscribe(bus, onAccepted, tidings.Async(), tidings.Named("crm.accept"))
		for range 2 {
			require.NoError(t, tidings.Publish(t.Context(), bus, proposalAccepted{}))
		}
		require.NoError(t, bus.Close(t.Context()))
	})
	require.Equal(t, 2, calls)
	var messages []any
	for _, r := range records {
		messages = append(messages, r["error"])
	}
	const declined, panicked = "tidings: crm.accept handling tidings_test.proposalAccepted: card declined", "tidings: the error handler panicked: no metrics"
	require.Equal(t, []any{declined, panicked, declined, panicked}, messages)
}
