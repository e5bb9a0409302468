package main

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/pharmacy/events"
)

// An account is a log of what happened.
type account struct {
	mu    sync.Mutex
	lines []string
	last  events.PrescriptionRequestApproved
}

func (a *account) note(format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lines = append(a.lines, fmt.Sprintf(format, args...))
}

// watch is the middleware of all handlers.
func (a *account) watch(next tidings.HandlerFunc) tidings.HandlerFunc {
	return func(ctx context.Context, d tidings.Delivery) error {
		a.note("  %T -> %s", d.Event(), d.Handler())
		if e, ok := d.Event().(events.PrescriptionRequestApproved); ok {
			a.mu.Lock()
			a.last = e
			a.mu.Unlock()
		}
		return next(ctx, d)
	}
}

// failed is the error handler of the bus.
func (a *account) failed(_ context.Context, err error) { a.note("  reported: %v", err) }

func (a *account) lastApproval() events.PrescriptionRequestApproved {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last
}

// String returns the lines, indented.
func (a *account) String() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var b strings.Builder
	for _, line := range a.lines {
		b.WriteString("   " + line + "\n")
	}
	return b.String()
}
