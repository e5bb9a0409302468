// Package durabletest tests durable handlers without sleeping: a test says
// when jobs run, and what time it is.
//
//	clock := tidingstest.NewClock(time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC))
//	config := durabletest.Configure(&river.Config{}, clock.Now)
//	client, err := river.NewClient(riversqlite.New(db), config)
//	jobs, err := durable.New(client, config.Workers, durable.InTx(db), &events, durable.WithClock(clock.Now))
//
//	tidings.Subscribe(bus, mail.welcome, tidings.Named("mail.welcome"), tidings.Via(jobs))
//	require.NoError(t, clients.accept(ctx, 7))        // publishes in a transaction
//	require.NoError(t, durabletest.Drain(ctx, jobs))  // the handler runs, and fails
//	clock.Advance(time.Second)
//	require.NoError(t, durabletest.Drain(ctx, jobs))  // and is tried again
//
// [Drain] runs the jobs with River itself, on the database of the test: what
// commits and what rolls back, the attempts and the waits are those of the
// program. What differs is said at [Configure].
//
// # Guarantees
//
//   - Jobs run one at a time, in an order that depends on what was stored and
//     on nothing else.
//   - When Drain returns nil nothing is due: every handler has run, also those
//     for events that handlers published.
//   - Nothing runs between two calls.
//   - A job whose attempt failed is not tried again before the clock advances.
//   - No other work of River's happens: no periodic job is inserted, no old
//     job is deleted, none is rescued.
//
// # Several tests
//
// A test has a database of its own, since Drain works all that it finds.
// SQLite in a file below t.TempDir is one at the cost of its migrations; on
// Postgres a schema is, with River's Config.Schema or the search_path of the
// connection. A transaction that the test rolls back, as of
// [github.com/tidings-go/tidings/tidingstest.Sandbox], will not do: no worker sees jobs before they are
// committed, and Drain refuses that.
//
// A Drain that has a job to run takes some milliseconds.
package durabletest
