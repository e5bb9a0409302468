package relaytest

import (
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/relay"
)

// Messages of other programs become dead letters, and block no other message.
func checkGarbage(r *rig) {
	p, got := r.open(relay.WithMaxSize(10_000)), r.tally()
	p.handle("careful", got.handle, tidings.Attempts(2))
	p.start()

	var registry tidings.Registry
	tidings.Register[counted](&registry, countedName, 1)
	tidings.Register[described](&registry, describedName, 1)
	tidings.Register[stranger](&registry, "suite.stranger", 1)
	unknown := body(r, &registry, stranger{})
	known := body(r, &registry, counted{Number: 1})
	other := body(r, &registry, described{Number: 1})
	garbage := []struct{ body, reason string }{
		{`what is this?`, ""},
		{`{"specversion":"1.0"}`, ""},
		{`[1,2,3]`, ""},
		{unknown, "suite.stranger"},
		{other, "does not belong in the topic"},
		{strings.Replace(known, `"dataversion":1`, `"dataversion":2`, 1), "2"},
		{strings.Replace(known, `"Number":1`, `"Number":"x"`, 1), ""},
		{strings.Repeat("x", 20_000), "the limit is 10000"},
	}
	if !r.TextOnly {
		garbage = append(garbage, []struct{ body, reason string }{{"", ""}, {"\x00\xff\xfe\x80binary\r\n\x01", ""}}...)
	}
	topic := p.topic(countedName)
	p.send(1, 3)
	for i, g := range garbage {
		require.NotEqual(r, known, g.body, "the replacement in number %d has no effect", i)
		m := &relay.Message{Body: []byte(g.body)} // as from a program that has no such IDs
		require.NoError(r, p.broker().Publish(r.Context(), topic, m), "%.40q", g.body)
	}
	p.send(4, 6)
	got.wantEach(1, 6)
	p.awaitDead(len(garbage))
	letters := p.letters("careful", len(garbage))
	require.Len(r, letters, len(garbage))
	for _, g := range garbage {
		found := false
		for _, letter := range letters {
			if string(letter.Body) != g.body {
				continue
			}
			found = true
			require.NotEmpty(r, letter.Reason)
			require.Contains(r, letter.Reason, g.reason)
			require.Equal(r, topic, letter.Origin)
		}
		require.True(r, found, "no dead letter has the body %.40q", g.body)
	}
}

// A stranger is an event that the handler's process does not know.
type stranger struct{ tidings.DomainEvent }

// body returns the CloudEvent of an event.
func body[E tidings.Event](r *rig, registry *tidings.Registry, event E) string {
	r.Helper()
	e, err := registry.Wrap(tidings.Stamp(r.Context(), event))
	require.NoError(r, err)
	body, err := e.MarshalJSON()
	require.NoError(r, err)
	return string(body)
}
