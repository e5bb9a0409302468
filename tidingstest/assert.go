package tidingstest

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/tidings-go/tidings"
)

// All returns the events of type E for which every match is true, in their
// order. It does not fail if there are none. E may be an interface.
func All[E tidings.Event](events Events, match ...func(E) bool) []E {
	var found []E
	for _, event := range events {
		if e, ok := as(event, match); ok {
			found = append(found, e)
		}
	}
	return found
}

// as returns event as an E, if it is one for which every match is true.
func as[E tidings.Event](event tidings.Event, match []func(E) bool) (E, bool) {
	e, ok := event.(E)
	for _, m := range match {
		ok = ok && (m == nil || m(e))
	}
	return e, ok
}

// Require returns the first of events that is an E and for which every match is
// true. The test fails at once if there is none. There may be more: see [All]
// and [RequireSequence]. E may be an interface.
//
//	accepted := tidingstest.Require(t, rec.Delivered(), func(e crm.ProposalAccepted) bool {
//		return e.ProposalID == 7
//	})
func Require[E tidings.Event](t testing.TB, events Events, match ...func(E) bool) E {
	t.Helper()
	for _, event := range events {
		if e, ok := as(event, match); ok {
			return e
		}
	}
	if n := len(All[E](events)); n > 0 {
		t.Fatalf("%d %s, but none that matches, in these events:\n%v", n, reflect.TypeFor[E](), events)
	}
	t.Fatalf("no %s in these events:\n%v", reflect.TypeFor[E](), events)
	var none E
	return none
}

// RequireNone fails the test at once if one of events is an E for which
// every match is true. E may be an interface.
func RequireNone[E tidings.Event](t testing.TB, events Events, match ...func(E) bool) {
	t.Helper()
	for i, event := range events {
		if _, ok := as(event, match); ok {
			t.Fatalf("want no %s, but event %d is one:\n%v", Of(match...), i+1, events)
		}
	}
}

// RequireSequence fails the test at once unless there are as many events as
// Matchers in want, and each event fits the Matcher in its place.
//
//	tidingstest.RequireSequence(t, rec.Delivered(),
//		tidingstest.Of[crm.ProposalAccepted](),
//		tidingstest.Of(func(e clients.ClientCreated) bool { return e.FirmID == 1 }),
//	)
func RequireSequence(t testing.TB, events Events, want ...Matcher) {
	t.Helper()
	for i := range max(len(events), len(want)) {
		switch {
		case i >= len(events):
			t.Fatalf("event %d, %s, is missing; %s", i+1, want[i], compared(events, want))
		case i >= len(want):
			t.Fatalf("event %d was not expected; %s", i+1, compared(events, want))
		case !want[i].matches(events[i]):
			t.Fatalf("event %d is not a %s; %s", i+1, want[i], compared(events, want))
		}
	}
}

// RequireSubsequence fails the test at once unless events contain one that fits
// each Matcher of want, in this order; there may be others before, between and
// after them. It returns the matching events, one for each Matcher.
func RequireSubsequence(t testing.TB, events Events, want ...Matcher) Events {
	t.Helper()
	// The earliest match leaves the most events for the next Matchers.
	var found Events
	last := 0
	for i, event := range events {
		if len(found) < len(want) && want[len(found)].matches(event) {
			found, last = append(found, event), i+1
		}
	}
	if n := len(found); n < len(want) {
		after := ""
		if last > 0 {
			after = fmt.Sprintf(" after event %d", last)
		}
		t.Fatalf("no %s%s; %s", want[n], after, compared(events, want))
	}
	return found
}

func compared(events Events, want []Matcher) string {
	var b strings.Builder
	b.WriteString("want\n")
	for i, m := range want {
		fmt.Fprintf(&b, "\t%d. %s\n", i+1, m)
	}
	if len(want) == 0 {
		b.WriteString("\t(no events)\n")
	}
	fmt.Fprintf(&b, "have\n%v", events)
	return b.String()
}

// A Matcher decides which events fit one place of a sequence. Make one with
// [Of]; the zero Matcher fits no event.
type Matcher struct {
	name  string
	match func(tidings.Event) bool
}

// Of returns a Matcher for events of type E for which every match is true.
// E may be an interface.
func Of[E tidings.Event](match ...func(E) bool) Matcher {
	name := reflect.TypeFor[E]().String()
	if len(match) > 0 {
		name += " that matches"
	}
	return Matcher{name, func(event tidings.Event) bool {
		_, ok := as(event, match)
		return ok
	}}
}

// String returns the type of the events that m fits.
func (m Matcher) String() string {
	if m.match == nil {
		return "(zero Matcher)"
	}
	return m.name
}

func (m Matcher) matches(event tidings.Event) bool { return m.match != nil && m.match(event) }
