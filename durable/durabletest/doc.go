// Package durabletest tests durable handlers without sleeping: the test decides
// when jobs run and what time it is.
//
//	clock := tidingstest.NewClock(time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC))
//	config := durabletest.Configure(&river.Config{}, clock.Now)
//	client, err := river.NewClient(riversqlite.New(db), config)
//	jobs, err := durable.New(client, config.Workers, tidings.SQL(db), &events, durable.WithClock(clock.Now))
//
//	tidings.Subscribe(bus, mail.welcome, tidings.Named("mail.welcome"), tidings.Via(jobs))
//	require.NoError(t, clients.accept(ctx, 7))        // publishes in a transaction
//	require.NoError(t, durabletest.Drain(ctx, jobs))  // the handler runs, and fails
//	clock.Advance(time.Second)
//	require.NoError(t, durabletest.Drain(ctx, jobs))  // and is tried again
//
// [Drain] runs the jobs with River itself, on the database of the test:
// commits, rollbacks, attempts and waits are the same as in the program.
// [Configure] lists the differences.
//
// # Guarantees
//
//   - Jobs run one at a time, in an order that depends only on what was stored.
//   - When Drain returns nil, no job is due: every handler has run, including
//     those for events that handlers published.
//   - No job runs between two calls.
//   - A job whose attempt failed is not retried before the clock advances.
//   - River does no other work: it inserts no periodic job, deletes no old job
//     and rescues none.
//
// # Several tests
//
// Give each test its own database, since Drain works all jobs that it finds.
// SQLite in a file below t.TempDir costs only the migrations; on Postgres use a
// schema, with River's Config.Schema or the search_path of the connection. A
// transaction that the test rolls back, as with
// [github.com/tidings-go/tidings/tidingstest.Sandbox], does not work: no worker
// sees jobs before they are committed, so Drain refuses it.
//
// A Drain that has a job to run takes some milliseconds.
package durabletest
