package tidingstest_test

import (
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/tidingstest"
)

type withNumber interface {
	tidings.Event
	proposalNumber() string
}

func (e accepted) proposalNumber() string { return e.Number }

// story is A, B, C, A.
func story(t *testing.T) tidingstest.Events {
	ctx := t.Context()
	return tidingstest.Events{
		tidings.Stamp(ctx, accepted{ProposalID: 7, Number: "PROP-007"}),
		tidings.Stamp(ctx, created{ClientID: 3}),
		tidings.Stamp(ctx, signed{}),
		tidings.Stamp(ctx, accepted{ProposalID: 8, Number: "PROP-008"}),
	}
}

const storyTold = "" +
	"\t1. tidingstest_test.accepted{ProposalID: 7, Number: \"PROP-007\"} …ID\n" +
	"\t2. tidingstest_test.created{ClientID: 3} …ID\n" +
	"\t3. tidingstest_test.signed{} …ID\n" +
	"\t4. tidingstest_test.accepted{ProposalID: 8, Number: \"PROP-008\"} …ID"

const firstTold = "\t1. tidingstest_test.accepted{ProposalID: 7, Number: \"PROP-007\"} …ID"

var shortID = regexp.MustCompile(`…[0-9a-f]{8}`)

// withoutIDs makes messages predictable.
func withoutIDs(messages []string) []string {
	var masked []string
	for _, m := range messages {
		masked = append(masked, shortID.ReplaceAllString(m, "…ID"))
	}
	return masked
}

func has(id int64) func(accepted) bool {
	return func(e accepted) bool { return e.ProposalID == id }
}

func TestRequire(t *testing.T) {
	t.Parallel()
	events := story(t)
	require.Equal(t, events[0], tidingstest.Require[accepted](t, events), "the first of several")
	require.Equal(t, events[3], tidingstest.Require(t, events, has(8)))
	require.Equal(t, events[0], tidingstest.Require[withNumber](t, events))
	require.Equal(t, events[2], tidingstest.Require[tidings.Event](t, events, func(e tidings.Event) bool {
		_, ok := e.(signed)
		return ok
	}))
	require.Equal(t, events[3], tidingstest.Require(t, events, has(8), nil, func(e accepted) bool { return e.Number != "" }))

	tests := []struct {
		name    string
		events  tidingstest.Events
		require func(*fakeTB, tidingstest.Events)
		message string
	}{
		{
			"none of the type",
			events[1:3],
			func(t *fakeTB, e tidingstest.Events) { tidingstest.Require[accepted](t, e) },
			"no tidingstest_test.accepted in these events:\n" +
				"\t1. tidingstest_test.created{ClientID: 3} …ID\n\t2. tidingstest_test.signed{} …ID",
		},
		{
			"none of the interface",
			events[1:2],
			func(t *fakeTB, e tidingstest.Events) { tidingstest.Require[withNumber](t, e) },
			"no tidingstest_test.withNumber in these events:\n\t1. tidingstest_test.created{ClientID: 3} …ID",
		},
		{
			"none that matches",
			events,
			func(t *fakeTB, e tidingstest.Events) { tidingstest.Require(t, e, has(9)) },
			"2 tidingstest_test.accepted, but none that matches, in these events:\n" + storyTold,
		},
		{
			"one of two conditions",
			events[:1],
			func(t *fakeTB, e tidingstest.Events) { tidingstest.Require(t, e, has(7), has(8)) },
			"1 tidingstest_test.accepted, but none that matches, in these events:\n" + firstTold,
		},
		{
			"no events",
			nil,
			func(t *fakeTB, e tidingstest.Events) { tidingstest.Require[tidings.Event](t, e) },
			"no tidings.Event in these events:\n\t(no events)",
		},
		{
			"a nil event",
			tidingstest.Events{nil},
			func(t *fakeTB, e tidingstest.Events) { tidingstest.Require[tidings.Event](t, e) },
			"no tidings.Event in these events:\n\t1. nil",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			returned := false
			messages := try(t, func(t *fakeTB) {
				tt.require(t, tt.events)
				returned = true
			})
			require.Equal(t, []string{tt.message}, withoutIDs(messages))
			require.False(t, returned, "it ends the test")
		})
	}
}

func TestAll(t *testing.T) {
	t.Parallel()
	events := story(t)
	require.Equal(t, []accepted{events[0].(accepted), events[3].(accepted)}, tidingstest.All[accepted](events))
	require.Equal(t, []accepted{events[3].(accepted)}, tidingstest.All(events, has(8)))
	require.Len(t, tidingstest.All[tidings.Event](events), 4)
	require.Empty(t, tidingstest.All(events, has(9)))
	require.Empty(t, tidingstest.All[tidings.Event](nil))
}

func TestRequireNone(t *testing.T) {
	t.Parallel()
	events := story(t)
	tidingstest.RequireNone[signed](t, events[:2])
	tidingstest.RequireNone(t, events, has(9))
	tidingstest.RequireNone[withNumber](t, events[1:3])
	tidingstest.RequireNone[tidings.Event](t, nil)

	messages := try(t, func(t *fakeTB) { tidingstest.RequireNone[created](t, events) })
	require.Equal(t, []string{"want no tidingstest_test.created, but event 2 is one:\n" + storyTold}, withoutIDs(messages))
	messages = try(t, func(t *fakeTB) { tidingstest.RequireNone(t, events, has(8)) })
	require.Equal(t, []string{"want no tidingstest_test.accepted that matches, but event 4 is one:\n" + storyTold}, withoutIDs(messages))
	require.Len(t, try(t, func(t *fakeTB) { tidingstest.RequireNone[tidings.Event](t, events) }), 1)
}

func TestRequireSequence(t *testing.T) {
	t.Parallel()
	events := story(t)
	a, b, c := tidingstest.Of[accepted](), tidingstest.Of[created](), tidingstest.Of[signed]()
	tidingstest.RequireSequence(t, events, a, b, c, a)
	tidingstest.RequireSequence(t, events, tidingstest.Of(has(7)), b, tidingstest.Of[tidings.Event](), tidingstest.Of[withNumber]())
	tidingstest.RequireSequence(t, nil)

	tests := []struct {
		name    string
		events  tidingstest.Events
		want    []tidingstest.Matcher
		message string
	}{
		{
			"wrong order",
			events, []tidingstest.Matcher{a, c, b, a},
			"event 2 is not a tidingstest_test.signed; want\n" +
				"\t1. tidingstest_test.accepted\n\t2. tidingstest_test.signed\n\t3. tidingstest_test.created\n\t4. tidingstest_test.accepted\n" +
				"have\n" + storyTold,
		},
		{
			"does not match",
			events[:1], []tidingstest.Matcher{tidingstest.Of(has(8))},
			"event 1 is not a tidingstest_test.accepted that matches; want\n\t1. tidingstest_test.accepted that matches\nhave\n" + firstTold,
		},
		{
			"one too few",
			events[1:2], []tidingstest.Matcher{b, c},
			"event 2, tidingstest_test.signed, is missing; want\n\t1. tidingstest_test.created\n\t2. tidingstest_test.signed\n" +
				"have\n\t1. tidingstest_test.created{ClientID: 3} …ID",
		},
		{
			"one too many",
			events[1:3], []tidingstest.Matcher{b},
			"event 2 was not expected; want\n\t1. tidingstest_test.created\n" +
				"have\n\t1. tidingstest_test.created{ClientID: 3} …ID\n\t2. tidingstest_test.signed{} …ID",
		},
		{
			"none wanted",
			events[2:3], nil,
			"event 1 was not expected; want\n\t(no events)\nhave\n\t1. tidingstest_test.signed{} …ID",
		},
		{
			"zero matcher",
			events[2:3], []tidingstest.Matcher{{}},
			"event 1 is not a (zero Matcher); want\n\t1. (zero Matcher)\nhave\n\t1. tidingstest_test.signed{} …ID",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			messages := try(t, func(t *fakeTB) { tidingstest.RequireSequence(t, tt.events, tt.want...) })
			require.Equal(t, []string{tt.message}, withoutIDs(messages))
		})
	}
}

func TestRequireSubsequence(t *testing.T) {
	t.Parallel()
	events := story(t)
	a, b, c := tidingstest.Of[accepted](), tidingstest.Of[created](), tidingstest.Of[signed]()
	require.Equal(t, events, tidingstest.RequireSubsequence(t, events, a, b, c, a))
	require.Equal(t, tidingstest.Events{events[0], events[2]}, tidingstest.RequireSubsequence(t, events, a, c))
	require.Equal(t, tidingstest.Events{events[1], events[3]}, tidingstest.RequireSubsequence(t, events, b, a))
	require.Equal(t, events[3:], tidingstest.RequireSubsequence(t, events, tidingstest.Of(has(8))))
	require.Empty(t, tidingstest.RequireSubsequence(t, events))

	tests := []struct {
		name    string
		want    []tidingstest.Matcher
		message string
	}{
		{
			"wrong order",
			[]tidingstest.Matcher{c, b},
			"no tidingstest_test.created after event 3; want\n\t1. tidingstest_test.signed\n\t2. tidingstest_test.created\nhave\n" + storyTold,
		},
		{
			"an event counts once",
			[]tidingstest.Matcher{b, b},
			"no tidingstest_test.created after event 2; want\n\t1. tidingstest_test.created\n\t2. tidingstest_test.created\nhave\n" + storyTold,
		},
		{
			"not there at all",
			[]tidingstest.Matcher{tidingstest.Of(has(9))},
			"no tidingstest_test.accepted that matches; want\n\t1. tidingstest_test.accepted that matches\nhave\n" + storyTold,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			messages := try(t, func(t *fakeTB) { tidingstest.RequireSubsequence(t, events, tt.want...) })
			require.Equal(t, []string{tt.message}, withoutIDs(messages))
		})
	}
}
