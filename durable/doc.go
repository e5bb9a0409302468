// Package durable runs handlers as jobs that survive the process: a
// transactional outbox. It is a [tidings.Transport] on River
// (github.com/riverqueue/river). For each event and handler it stores a job in
// the transaction that publishes the event, and a worker in any process that
// works the queue runs the handler later. The database is the SQLite or
// Postgres that your modules write to.
//
//	config := durable.Configure(&river.Config{
//		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 10}},
//	})
//	client, err := river.NewClient(riversqlite.New(db), config)
//	...
//	jobs, err := durable.New(client, config.Workers, tidings.SQL(db), &registry)
//	...
//	tidings.Subscribe(bus, clients.SendWelcomeMail, tidings.Named("clients.welcome_mail"), tidings.Via(jobs))
//	...
//	err = jobs.Start(ctx) // once all handlers are subscribed
//	defer jobs.Close(ctx)
//
// Only the option Via makes a handler durable. The handler needs a name, since
// jobs are stored under it, and its events must be in the [tidings.Registry],
// since they are stored as CloudEvents. A name, or an [Alias], belongs to one
// handler, whatever bus that is on: Subscribe panics for a second one, and says
// where the first is.
//
// [Jobs.Start] logs what would make jobs wait forever: a queue that no process
// works, or jobs for a name that no handler has.
//
// # Guarantees
//
//   - The jobs of a transaction exist if and only if it has committed. Jobs of
//     a savepoint that rolled back do not exist. Outside a transaction they
//     exist when Publish returns. No worker needs to run for that.
//   - A handler runs in a transaction. What it writes through that transaction,
//     the events it publishes and the completion of its job commit together or
//     not at all. So its effects in the database happen exactly once for each
//     job, even after a crash, and if two workers have the same job only one of
//     them commits.
//   - A handler is called at least once, so its effects elsewhere may happen
//     more than once. The same is true of all effects of a handler that runs
//     [Outside] a transaction.
//   - A handler that fails or panics is retried until it succeeds, its attempts
//     are exhausted, or it returns a [tidings.Permanent] error. In the last two cases
//     the job is dead (a dead letter), and is kept with the event and the
//     reasons.
//   - A job that fails, is dead, or cannot be decoded blocks no other job,
//     except those behind it in its own line if you asked for [InOrderBy].
//   - Jobs run in parallel and in no particular order, except in such a line.
//
// Each publish stores one job per handler. Publishing the same event twice
// stores two jobs for it; where that can happen, put the inbox of an event log
// in front of the handler.
//
// # The transaction of a handler
//
// In the handler [tidings.TxFrom] returns the transaction, and [tidings.InTx]
// with the handler's ctx is a savepoint in it. A handler that writes through a
// connection pool writes outside of it: on SQLite it waits for its own lock,
// and on Postgres its writes stay when the attempt fails.
//
// A handler that waits for another system should not hold a transaction
// meanwhile. Subscribe it with [Outside], and give the other system the event's
// ID as an idempotency key.
//
// # Retries
//
// A handler is retried as the River client is configured, which is unless
// configured after 1 s, 16 s, 81 s and so on (the fourth power of the attempt), 25
// attempts within three weeks, each with a time limit of one minute. The options
// [tidings.Attempts], [tidings.Backoff] and [tidings.Timeout] set something else for
// one handler, and [Queue] and [Priority] where its jobs wait:
//
//	tidings.Subscribe(bus, mail, tidings.Named("clients.mail"), tidings.Via(jobs),
//		tidings.Attempts(5), durable.Queue("mail"))
//
// River's tables count up to 32,767 attempts; more are reduced to that, which with
// River's backoff means forever. A handler decides with its error:
// [tidings.RetryAfter] sets a known wait, [tidings.Permanent] prevents further
// attempts. Attempts that [Jobs.Close] interrupts do not count.
//
// The job is stored with the number of its attempts. If a *sql.Tx on Postgres stores
// the job for a client with another driver, the default is not the MaxAttempts of the
// client but [river.MaxAttemptsDefault], which is 25.
//
// # When a process dies
//
// Its jobs stay running in the database until the leader of River's clients
// rescues them, after RescueStuckJobsAfter. [Configure] sets that to a minute
// more than JobTimeout.
//
// # Dead jobs
//
// Dead jobs are logged at level ERROR. With [WithBus], a [JobDied] is published
// for each; for jobs that River cancels or rescues without their handler,
// within a minute. [Jobs.Dead] lists dead jobs, [Jobs.Retry] runs them again,
// and [Jobs.Discard] deletes them. [Jobs.Status] returns the jobs of one event,
// and [Jobs.Counts] how many jobs there are in each [State].
//
// # Changing handlers
//
// Jobs are stored under the handler's name. When the name changes, [Alias]
// makes the handler also work the jobs of its old name. All processes that work
// a queue should subscribe all handlers whose jobs are in it: River treats a
// job without a handler as failed, and its leader discards such a job when it
// has to rescue it.
//
// # Testing
//
// Most handlers need no jobs in their tests: call the function, or subscribe it
// without Via. Where the jobs matter, Drain of package durabletest works all
// due jobs, and its clock can be advanced to the next retry.
package durable
