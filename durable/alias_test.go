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
		}, tidings.Named("new.name"), tidings.Via(after.With(durable.Alias("old.name"), durable.Alias("older.name", "new.name"))))
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
	handle := func(name string, opts ...durable.HandlerOption) error {
		return jobs.With(opts...).Handle(name, func(context.Context, tidings.Event) error { return nil })
	}
	require.NoError(t, handle("one", durable.Alias("uno")))
	require.ErrorContains(t, handle("two", durable.Alias("one")), `durable: the handlers "one" and "two" both work the jobs of "one"`)
	require.ErrorContains(t, handle("uno"), `the handlers "one" and "uno" both work the jobs of "uno"`)
	require.ErrorContains(t, handle("two", durable.Alias("uno")), `both work the jobs of "uno"`)
	require.NoError(t, handle("two"), "nothing is left of what was refused")
	require.NoError(t, handle("one"), "and without its alias,")
	require.NoError(t, handle("uno"), "which is free")
	require.NoError(t, handle("one", durable.Alias("eins")))

	start(t, jobs)
	require.NoError(t, handle("one", durable.Alias("eins")), "again, after Start")
	require.ErrorContains(t, handle("three"), `durable: the handler "three" is subscribed after Start`)
	require.ErrorContains(t, handle("one", durable.Alias("ein")), "after Start")
}

func TestNamesThatRiverRefuses(t *testing.T) {
	t.Parallel()
	h := openSQLite(t)
	jobs := h.jobs(t, river.Config{})
	for _, name := range []string{"", "a", ".a", "with space", "a\n", "é", strings.Repeat("a", 128)} {
		err := jobs.Handle(name, func(context.Context, tidings.Event) error { return nil })
		require.ErrorContains(t, err, "cannot be the name of a durable handler", "%q", name)
		require.ErrorContains(t, err, "durable: ", "%q", name)
		require.Panics(t, func() { durable.Alias(name) }, "%q", name)
	}
	for _, name := range []string{"ab", "clients.welcome_mail", "a/b:c+d<e>[f]·g-h", strings.Repeat("a", 127)} {
		require.NoError(t, jobs.Handle(name, func(context.Context, tidings.Event) error { return nil }), "%q", name)
	}
	bus := tidingstest.NewBus(t)
	require.Panics(t, func() { tidings.Subscribe(bus, nothing[Accepted], tidings.Named("a b"), tidings.Via(jobs)) })
}
