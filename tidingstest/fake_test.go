package tidingstest_test

import (
	"context"
	"database/sql"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/txtest/fakedb"
)

type accepted struct {
	tidings.DomainEvent
	ProposalID int64
	Number     string
}

type created struct {
	tidings.DomainEvent
	ClientID int64
}

type signed struct{ tidings.DomainEvent }

// A fakeTB is a test that may fail.
type fakeTB struct {
	testing.TB // of the test it is part of; for what is not here

	mu       sync.Mutex
	messages []string
	cleanups []func()
	over     bool
}

// try runs fn as the function of a test of its own, with its cleanups, and
// returns how it failed.
func try(t *testing.T, fn func(t *fakeTB)) []string {
	t.Helper()
	fake := &fakeTB{TB: t}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer fake.cleanUp()
		fn(fake)
	}()
	<-ended
	fake.mu.Lock()
	defer fake.mu.Unlock()
	fake.over = true
	return fake.messages
}

func (f *fakeTB) cleanUp() {
	for _, fn := range slices.Backward(f.cleanups) {
		fn()
	}
}

func (f *fakeTB) Helper()                  {}
func (f *fakeTB) Cleanup(fn func())        { f.cleanups = append(f.cleanups, fn) }
func (f *fakeTB) Context() context.Context { return f.TB.Context() }

func (f *fakeTB) Errorf(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over {
		panic("Errorf after the test")
	}
	f.messages = append(f.messages, fmt.Sprintf(format, args...))
}

func (f *fakeTB) Fatalf(format string, args ...any) {
	f.Errorf(format, args...)
	runtime.Goexit()
}

func (f *fakeTB) Fatal(args ...any) { f.Fatalf("%s", fmt.Sprint(args...)) }

// exampleT stands for the t of a test, in examples.
func exampleT() testing.TB { return &printingTB{fakeTB{TB: &testing.T{}}} }

// A printingTB spoils the output of its example.
type printingTB struct{ fakeTB }

func (p *printingTB) Context() context.Context          { return context.Background() }
func (p *printingTB) Errorf(format string, args ...any) { fmt.Printf(format+"\n", args...) }
func (p *printingTB) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (p *printingTB) Fatal(args ...any)                 { panic(fmt.Sprint(args...)) }

// exampleDB stands for the database of a test, in examples.
func exampleDB() *sql.DB {
	db, _ := fakedb.Open(exampleT())
	return db
}
