// Package relay sends events through a message broker, with the events and
// handlers that a program already has: RabbitMQ, NATS JetStream, Kafka, Redis
// streams, SNS and SQS, or any broker that implements [Broker]. Package
// relay/watermill makes one from a Publisher and a Subscriber of Watermill.
//
//	import _ "github.com/tidings-go/tidings/relay/nats"
//
//	r, err := relay.Open(ctx, "nats://localhost:4222", &registry)
//	...
//	tidings.Subscribe(bus, shipping.Pack, tidings.Named("shipping.pack"), tidings.Via(r))
//	...
//	err = r.Start(ctx) // once all handlers are subscribed
//	defer r.Close(ctx)
//
// From then on the events that the handler takes go to the broker when they are
// published, and the handler gets them from there: each event goes to one of
// the processes that subscribe the handler. A process that publishes but has no
// such handler declares which events it sends:
//
//	relay.Forward[events.OrderPlaced](bus, r, tidings.Via(jobs), durable.Outside())
//
// Events must be in the [tidings.Registry], under the same names in all
// processes, and handlers must be [tidings.Named]. For another broker change
// the URL and the import. See [Open] for the URLs.
//
// # Ways to send and to receive
//
//   - [tidings.Via] sends the events of a handler to the broker after the
//     commit, and makes the handler fetch them from there.
//   - [tidings.WithTransport] does the same for all handlers without a Via, and
//     sends every event of the bus.
//   - [Forward] sends events, through a durable handler (a transactional
//     outbox) where none may be lost.
//   - [Receive] publishes arriving events on a bus, for handlers that do not
//     know about a broker. They share one queue, and fail together.
//
// # Guarantees
//
//   - An event that the broker has accepted reaches each handler at least once.
//     How safe it is there, and for how long, is in the documentation of the
//     broker's module.
//   - A broker knows a handler once a process that subscribes it was started or
//     has published. From then on the handler gets all events that are sent,
//     including those sent while no such process runs. The broker decides which
//     past events a new handler gets. If a queue or a topic is deleted there,
//     or all of them, a running process declares them again within seconds
//     ([DeclareEvery]), on SNS and SQS within 35 seconds. docs/reference.md
//     says for each broker which events are lost meanwhile.
//   - A handler's failure does not affect others: its event is retried, while
//     the other handlers and the events behind it continue.
//   - A message that cannot be handled (not an event, or data that does not
//     decode) is treated like a failure: retried, then a dead letter. The same
//     applies to an event that is not registered or has a newer version, once
//     other processes have had time to take it (see Deployments). No message is
//     dropped, none is retried without a pause, and none blocks others, even if
//     it is too large for the broker to take it again.
//   - The header is the publisher's: ID, time, correlation and causation.
//     Events that a handler publishes continue the workflow.
//   - Publish fails for an event that is not registered or is larger than
//     [WithMaxSize]; with Forward, the forwarding fails.
//   - Every call ends with its ctx, and Close some seconds later, even if the
//     broker does not answer.
//
// What is not guaranteed:
//
//   - That an event arrives only once. A process may die after the handler and
//     before the broker knows; a publish may be repeated by Forward or on the
//     way.
//   - Without Forward and a durable transport: that an event is sent. It is
//     lost if the process dies between the commit and the broker's answer. If
//     the broker does not accept it, the error goes to the publisher or, after
//     a commit, to the error handler of the bus, and the event is not sent
//     again.
//   - Order, beyond this: the events of a transaction are sent in the order of
//     publishing, and a topic keeps that order, as far as the broker does, for
//     a handler that runs in one process with one worker. On Kafka it is kept
//     for events with the same key ([WithKeyBy]) with any number of processes and
//     workers. A retried event comes later than the events behind it. Different
//     event types have different topics, unless [WithTopics] says otherwise, and no
//     order between them.
//
// # Handlers
//
// A handler must be idempotent, since an event may arrive twice. If it is not,
// put the inbox of an event log in front: an event then takes effect once in
// that database.
//
//	tidings.Subscribe(bus, shipping.Pack, tidings.Named("shipping.pack"), tidings.Via(r), log.Inbox())
//
// It should end within its [tidings.Timeout] and respect its ctx: some time later the
// broker assumes that it is dead, and another process gets the event while it
// still runs. Its ctx is not in a transaction.
//
// # Topics and groups
//
// An event is sent to the topic of its registered name. Each handler is a
// consumer group on the topics of its events: a handler of a struct on its
// topic, a handler of an interface on the topics of all registered events that
// implement it; an event registered after [Relay.Start] follows within seconds.
// So a handler's queue is bound to its name: a renamed handler is another
// group, and the group of the old name stays at the broker until it is deleted
// there. The documentation of the broker's module says how names become topics
// and queues. [WithPrefix] separates systems that share a broker, and [WithTopics]
// replaces the rule. No event and no handler may have a name that ends in
// ".retry" or ".dead", since those are the names of the handlers' queues.
//
// The body of a message is the CloudEvent in JSON, with the content type
// application/cloudevents+json. Its attributes are the metadata ce-id, ce-type
// and so on, if the broker has room for them; the relay does not read those.
//
// # Retries and dead letters
//
// A handler is called up to five times ([tidings.Attempts]), after 1 s, 4 s, 16 s and
// 64 s ([tidings.Backoff]), or after the time of its error, [tidings.RetryAfter]. An
// error that is [tidings.Permanent] ends the attempts. An event to be retried waits
// in the topic of the handler's name and ".retry", where it delays the others in that
// topic, but not new events. It may wait there for one that is due later, so the waits
// of a Backoff should not differ by hours. An event that is given up goes to the topic of the
// handler's name and ".dead", with the last error, the number of attempts, the
// handler and the topic that it was on, and is logged at level ERROR. If the
// broker does not take it because of its size, the dead letter has the
// beginning of the event, and its Size.
//
// [Relay.Redrive] goes through the dead letters of a handler: it shows,
// redelivers, or discards them.
//
// An attempt may take 30 s ([tidings.Timeout]); then its context ends. If the handler
// still runs after as long again, at least 5 s and at most 30 s, the broker redelivers
// the message to another consumer. Where brokers do not notice that a process has died
// (NATS, Redis, SQS), its events wait that long.
//
// The process that failed writes by its own clock when a message is due. If
// that clock is behind, the wait is shorter or zero. If it is ahead, a process
// that gets the message waits no longer than the Backoff. Nothing else depends
// on clocks.
//
// # Deployments
//
// While a new version of a program is deployed, processes of the old version
// have the same queues. Such a process leaves an event that it does not know,
// or whose version is newer, to the others: the event waits in the retry queue,
// as long as the Backoff says, where a process that knows it takes it at once.
// That does not count as an attempt. After ten times, some seven minutes with
// the default Backoff, or after as many times as Attempts says if that is more, it
// is a dead letter: redrive it when the new version runs. The same applies to events in the retry queue that the handler does not
// take any more.
//
// One case cannot be detected. Where several names share a topic ([WithTopics]), a
// handler of a struct skips the other names, even those that it takes in a
// newer version. Give a handler that takes another event there another name, or
// first deploy a version whose handler takes an interface.
//
// # A process that only receives
//
// Such a process subscribes its handlers with Via(r), or calls Receive. It does
// not need a database. Start returns when the broker knows all its handlers. A
// handler that is subscribed later begins at once, and waits for the broker if
// that does not answer.
//
// # Trust
//
// A message can only become a value of an event type that this program has
// registered, by encoding/json and the upcasts of the registry, and it can only
// reach handlers of that type. A message larger than [WithMaxSize] is not decoded.
// Any client that can write to the topics can publish events: use the
// permissions of the broker, and TLS, which the URL turns on ([Target]).
// Credentials come from the URL or from the environment. Errors of Open do not
// contain them, and the relay does not log them. Dead letters contain events
// and the errors of handlers, readable for any client that can read those
// topics.
//
// # Shutdown
//
// [Relay.Close] is a graceful shutdown: it fetches no more events and waits for
// the running handlers; when its ctx ends it cancels their contexts. Unfinished
// events go back to the broker. It ends some seconds after its ctx whatever the
// handlers and the broker do. Before it, stop what sends events, such as the
// workers of a durable Forward; close the bus and the database after it.
//
// # Testing
//
// Most handlers need no broker in their tests: call the function, or subscribe
// it without Via. Where the relay matters, the URL memory://NAME is a broker
// within the process, which lasts exactly as long as the process. Relays with
// the same NAME are connected, even across tests, so give each test its own.
// Package relaytest checks a [Broker] of your own.
package relay
