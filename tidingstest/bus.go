package tidingstest

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/testhook"
)

// patience limits the wait for handlers that should end.
const patience = 10 * time.Second

// NewBus returns a bus that is closed at the end of the test. The test fails if
// the handlers do not end within ten seconds then, and for every failure that
// has no caller left: from a handler that ran after a commit or rollback, or
// asynchronously. A [tidings.WithErrorHandler] among opts gets these failures
// instead.
func NewBus(t testing.TB, opts ...tidings.Option) *tidings.EventBus {
	t.Helper()
	r := &reporter{t: t}
	bus := tidings.New(append([]tidings.Option{tidings.WithErrorHandler(r.report)}, opts...)...)
	t.Cleanup(func() {
		defer r.end()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := bus.Close(ctx); err != nil {
			t.Errorf("closing the bus at the end of the test: %v%s", err, running())
		}
	})
	return bus
}

// A reporter fails its test for the errors that a bus reports.
type reporter struct {
	mu    sync.Mutex
	t     testing.TB
	ended bool // t.Errorf panics once the test has ended
}

func (r *reporter) report(ctx context.Context, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	stack := ""
	if pe := (*tidings.PanicError)(nil); errors.As(err, &pe) {
		stack = "\n" + string(pe.Stack)
	}
	if r.ended {
		slog.ErrorContext(ctx, "event handler failed after the end of the test", "test", r.t.Name(), "error", err, "stack", stack)
		return
	}
	r.t.Errorf("%v%s", err, stack)
}

func (r *reporter) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
}

// Drain waits until no handler of bus runs and no queue of an [tidings.Async]
// handler holds an event. The test fails at once if that takes longer than ten
// seconds. Do not call it inside a handler, because it would wait for that
// handler, nor while the test holds what a handler needs.
func Drain(t testing.TB, bus *tidings.EventBus) {
	t.Helper()
	if bus == nil {
		t.Fatal("tidingstest: Drain with a nil *EventBus")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := testhook.Drain(ctx, bus); err != nil {
		t.Fatalf("handlers did not end: %v%s", err, running())
	}
}

// running returns the stacks of the goroutines that are inside a handler of any
// bus, to show what they wait for.
func running() string {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var b strings.Builder
	for stack := range strings.SplitSeq(string(buf), "\n\n") {
		// The method that calls the handlers.
		if strings.Contains(stack, "/tidings.(*run).pass(") || strings.Contains(stack, "/tidings.handlerFuncs[") {
			b.WriteString("\n\n" + stack)
		}
	}
	return b.String()
}
