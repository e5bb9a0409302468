package durable_test

import (
	"context"
	"strings"
	"testing"

	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
	"github.com/tidings-go/tidings/tidingstest"
)

// A handler that was renamed works what is stored under its old names.
func TestAlias(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs := h.jobs(t, river.Config{})
		bus := tidingstest.NewBus(t)
		old := tidings.Subscribe(bus, nothing[Accepted], tidings.Named("old.name"), tidings.Via(jobs))
		older := tidings.Subscribe(bus, nothing[Accepted], tidings.Named("older.name"), tidings.Via(jobs))
		require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{Number: "1"}))
		old.Unsubscribe()
		older.Unsubscribe()

		after := h.jobs(t, river.Config{})
		bus = tidingstest.NewBus(t)
		got := make(chan string, 10)
		tidings.Subscribe(bus, func(_ context.Context, e Accepted) error {
			got <- e.Number
			return nil
		}, tidings.Named("new.name"), tidings.Via(after), durable.Alias("old.name"), durable.Alias("older.name", "new.name"))
		start(t, after)
		require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{Number: "2"}))
		awaitJobs(t, h, 3, "state = 'completed'")
		require.ElementsMatch(t, []string{"1", "1", "2"}, []string{<-got, <-got, <-got})
		require.Empty(t, got)
		require.Equal(t, 1, storedJobs(t, h, "kind = 'new.name'"), "new jobs have the new name alone")
	})
}

// A name has one handler.
func TestNamesAndAliasesInConflict(t *testing.T) {
	t.Parallel()
	h := openSQLite(t)
	jobs := h.jobs(t, river.Config{})
	bus := tidingstest.NewBus(t)
	subs := map[string]*tidings.Subscription{}
	// handle subscribes a handler, in place of an earlier one of that name, and returns
	// why that is refused.
	handle := func(name string, opts ...tidings.SubscribeOption) string {
		if sub := subs[name]; sub != nil {
			sub.Unsubscribe()
		}
		return panicOf(func() {
			subs[name] = tidings.Subscribe(bus, nothing[Accepted], append(opts, tidings.Named(name), tidings.Via(jobs))...)
		})
	}
	const at = ` for durable_test.Accepted at \S+:\d+`
	require.Empty(t, handle("one", durable.Alias("uno")))
	require.Regexp(t, `durable: the handlers "one"`+at+` and "two"`+at+` both work the jobs of "one"`, handle("two", durable.Alias("one")))
	require.Regexp(t, `the handlers "one"`+at+` and "uno"`+at+` both work the jobs of "uno"`, handle("uno"))
	require.Contains(t, handle("two", durable.Alias("uno")), `both work the jobs of "uno"`)
	require.Empty(t, handle("two"), "nothing is left of what was refused")
	require.Empty(t, handle("one"), "and without its alias,")
	require.Empty(t, handle("uno"), "which is free")
	require.Empty(t, handle("one", durable.Alias("eins")))

	start(t, jobs)
	require.Empty(t, handle("one", durable.Alias("eins")), "again, after Start")
	require.Contains(t, handle("three"), `durable: the handler "three" is subscribed after Start`)
	require.Contains(t, handle("one", durable.Alias("ein")), "after Start")
}

func TestNamesThatRiverRefuses(t *testing.T) {
	t.Parallel()
	h := openSQLite(t)
	jobs := h.jobs(t, river.Config{})
	bus := tidingstest.NewBus(t)
	subscribe := func(name string) string {
		return panicOf(func() { tidings.Subscribe(bus, nothing[Accepted], tidings.Named(name), tidings.Via(jobs)) })
	}
	for _, name := range []string{"a", ".a", "with space", "a b", "a\n", "é", strings.Repeat("a", 128)} {
		refused := subscribe(name)
		require.Contains(t, refused, "cannot be the name of a durable handler", "%q", name)
		require.Contains(t, refused, "durable: ", "%q", name)
		require.Panics(t, func() { durable.Alias(name) }, "%q", name)
	}
	require.Panics(t, func() { durable.Alias("") })
	for _, name := range []string{"ab", "clients.welcome_mail", "a/b:c+d<e>[f]·g-h", strings.Repeat("a", 127)} {
		require.Empty(t, subscribe(name), "%q", name)
	}
}
