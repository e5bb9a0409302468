// Package durable runs handlers as jobs that survive the process. It is a
// [tidings.Transport] on River (github.com/riverqueue/river): for each event
// and handler a job is stored in the transaction that publishes the event, and
// any process that works the queue runs the handler later. The database is
// SQLite or Postgres, the one that your modules write to.
//
//	config := durable.Configure(&river.Config{
//		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 10}},
//	})
//	client, err := river.NewClient(riversqlite.New(db), config)
//	...
//	jobs, err := durable.New(client, config.Workers, durable.InTx(db), &registry)
//	...
//	tidings.Subscribe(bus, clients.SendWelcomeMail, tidings.Named("clients.welcome_mail"), tidings.Via(jobs))
//	...
//	err = jobs.Start(ctx) // once all handlers are subscribed
//	defer jobs.Stop(ctx)
//
// The option Via is the only thing that makes a handler durable. What it needs
// is a name, since jobs are stored under it, and events in the
// [tidings.Registry], since they are stored as CloudEvents. A name, or an
// [Alias], belongs to one handler, whatever bus that is on: Subscribe panics for
// a second one, and says where the first is.
//
// [Jobs.Start] logs what would make jobs wait for ever: a queue that no process
// works, or jobs for a name that no handler has.
//
// # Guarantees
//
//   - The jobs of a transaction exist if and only if it has committed. Those of
//     a savepoint that rolled back do not. Outside a transaction they exist when
//     Publish returns. No worker needs to run for that.
//   - A handler runs in a transaction. What it writes through that, what it
//     publishes and the end of its job commit together, or not at all. So its
//     effects in the database happen exactly once for each job, whatever dies,
//     and if two workers have the same job only one of them commits.
//   - It is called at least once, and the effects that it has elsewhere may
//     happen more than once. That is also true of all effects of a handler
//     that is [Outside] a transaction.
//   - A handler that fails or panics is called again, until it succeeds, its
//     attempts are used up, or it says [Permanent]. Then the job is dead, and
//     is kept with the event and the reasons.
//   - A job that fails, is dead, or cannot be understood blocks no other one,
//     except behind it in its own line if you asked for [InOrderBy].
//   - Jobs run in parallel and in no particular order, except in such a line.
//
// There is one job for each publish. To publish the same event twice is to
// have two jobs for it; where that can happen, put the inbox of an event log
// in front of the handler.
//
// # The transaction of a handler
//
// In the handler [tidings.TxFrom] returns the transaction, and [tidings.InTx]
// with the handler's ctx is a savepoint in it. A handler that writes through a
// pool of connections writes outside of it: on SQLite it waits for its own
// lock, and on Postgres what it writes stays when the attempt fails.
//
// A handler that waits for another system should not hold a transaction
// meanwhile. Subscribe it with [Outside], and give the other system the
// event's ID as an idempotency key.
//
// # Retries
//
// The waits are those of the River client, unless [Backoff] says otherwise: 1
// s, 16 s, 81 s and so on, 25 attempts within three weeks. [Attempts],
// [Timeout], [Queue] and [Priority] are further options of [Jobs.With]. A
// handler chooses with its error: [RetryAfter] for a time that it knows,
// [Permanent] for what will not change. Attempts that [Jobs.Stop] interrupts
// do not count.
//
// # When a process dies
//
// Its jobs remain running in the database until the leader of River's clients
// rescues them, after RescueStuckJobsAfter. [Configure] sets that to a minute
// more than JobTimeout.
//
// # Dead jobs
//
// They are logged at level ERROR. With [WithBus], a [JobDied] is published for
// each, also for those that River cancels or rescues without their handler,
// within a minute. [Jobs.Dead] lists them, [Jobs.Retry] lets them run again, and
// [Jobs.Discard] deletes them. [Jobs.Status] has the jobs of one event, and
// [Jobs.Counts] how many jobs there are in each [State].
//
// # Changing handlers
//
// Jobs are stored under the handler's name. When that changes, [Alias] lets the
// handler work the jobs of its old name. All processes that work a queue should
// subscribe all handlers whose jobs are in it: River treats a job without a
// handler as one that failed, and its leader discards such a job when it has to
// be rescued.
//
// # Testing
//
// Most handlers need no jobs in their tests: call the function, or subscribe it
// without Via. Where the jobs matter, Drain of package durabletest works all
// that are due, and its clock can be advanced to the next retry.
package durable
