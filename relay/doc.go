// Package relay carries events through a message broker, with the events and
// handlers that a program has already: RabbitMQ, NATS JetStream, Kafka, Redis
// streams, SNS and SQS, or whatever is behind the Publisher and Subscriber of
// Watermill (github.com/ThreeDotsLabs/watermill).
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
// published, and the handler gets them from there: each in one process of those
// that subscribe it. A process that publishes and has no such handler says which
// events leave it:
//
//	relay.Forward[events.OrderPlaced](bus, r, tidings.Via(jobs.With(durable.Outside())))
//
// Events have to be in the [tidings.Registry], under the same names in all
// processes, and handlers have to be [tidings.Named]. Another broker is another
// URL and another import. See [Open] for the URLs.
//
// # Ways to send and to receive
//
//   - [tidings.Via] sends the events of a handler to the broker after the commit,
//     and has the handler fetch them from there. It has settings of its own with
//     [Relay.With].
//   - [tidings.WithTransport] does so for all handlers without a Via, and sends
//     every event of the bus.
//   - [Forward] sends events, through a durable handler where none may be lost.
//   - [Receive] publishes on a bus what arrives, for handlers that know nothing
//     of a broker. They have one queue, and fail together.
//
// # Guarantees
//
//   - What the broker has accepted reaches each handler at least once. How safe it
//     is there, and for how long, is in the documentation of the broker's module.
//   - A handler that is known to the broker, since a process that subscribes it
//     was started or has published once, gets what is sent from then on, also
//     what is sent while no such process runs. What a new one gets of the past is
//     up to the broker. If somebody deletes a queue or a topic there, or all of
//     them, a running process declares them again within seconds ([DeclareEvery]),
//     on SNS and SQS within 35 seconds. What is lost meanwhile is in
//     docs/brokers.md for each broker.
//   - A handler's failure is its own: it is tried again, and the other handlers
//     and the events behind it go on.
//   - A message that cannot be handled (no event, data that does not decode) is
//     treated like a failure: tried again, then a dead letter. So is an event that
//     is not registered or of a newer version, once other processes have had time
//     to take it (see Deployments). None is dropped, none is tried without a
//     pause, and none blocks others, also if it is too large for the broker to
//     take it again.
//   - The header is what it was at the publisher: ID, time, correlation and
//     causation. What a handler publishes continues the workflow.
//   - An event that is not registered, or is larger than [MaxSize], fails at its
//     publish; one that is sent by Forward fails there.
//   - Every call ends with its ctx, and Close some seconds later, also if the
//     broker does not answer.
//
// What is not guaranteed:
//
//   - That it comes once. A process may die after the handler and before the
//     broker knows; a publish may be repeated by Forward or on the way.
//   - Without Forward and a durable transport: that it is sent. The event is
//     lost if the process dies between the commit and the broker's answer. If the
//     broker does not accept it, the error goes to the publisher or, after a
//     commit, to the error handler of the bus, and nobody tries again.
//   - Order, beyond this: the events of a transaction are sent in the order of
//     publishing, and a topic keeps it, as far as the broker does, for a handler
//     that runs in one process with one worker. On Kafka it is kept for events of
//     one key ([KeyBy]) with any number of both. What is tried again comes later than
//     what was behind it. Different events have different topics, unless [Topics]
//     says otherwise, and no order between them.
//
// # Handlers
//
// A handler has to be idempotent, since an event may come twice. Where it is not
// by itself, put the inbox of an event log in front: an event then takes effect
// once in that database.
//
//	tidings.Subscribe(bus, shipping.Pack, tidings.Named("shipping.pack"), tidings.Via(r), log.Inbox())
//
// It should end within its [Timeout] and heed its ctx: some time later the broker
// takes it for dead, and another process gets the event while it runs. Its ctx is
// in no transaction.
//
// # Topics and groups
//
// An event is sent to the topic of its registered name. Each handler is a group
// of consumers of the topics of its events: of the one for a struct, and of all
// registered events that implement it for an interface; one that is registered
// after [Relay.Start] follows within seconds. So the name of a handler is what its
// queue is bound to: a handler with another name is another group, and the group
// of the old name stays at the broker until somebody deletes it there. How names
// become topics and queues is in the documentation of the broker's module.
// [Prefix] keeps systems apart that share a broker, and [Topics] replaces the
// rule. No event and no handler may have a name that ends in ".retry" or ".dead",
// since the queues of handlers are called so.
//
// A message is the CloudEvent in JSON as the body, with the content type
// application/cloudevents+json. Its attributes are the metadata ce-id, ce-type and
// so on where the broker has room; nothing here reads those.
//
// # Retries and dead letters
//
// A handler is called up to five times ([Attempts]), after 1 s, 4 s, 16 s and 64 s
// ([Backoff]), or when its error says: by a method RetryAfter() time.Duration, as
// that of durable.RetryAfter has. An error that is [Permanent] ends the attempts.
// What is to be tried again waits in the topic of the handler's name and ".retry", where
// it keeps the others of that topic waiting, but not the events that come anew. What is
// given up goes to the topic of the handler's name and ".dead", with the last
// error, the number of attempts, the handler and the topic that it was on, and is
// logged at level ERROR. If the broker does not take it because of its size, the
// letter has the beginning of the event, and its Size.
//
// [Relay.Redrive] goes through the dead letters of a handler: it shows them, puts
// them back, or discards them.
//
// The process that failed writes by its own clock when a message is due. If that
// clock is behind, the wait is shorter or none. If it is ahead, a process that gets
// the message waits for no longer than the Backoff has said. Nothing else depends on
// clocks.
//
// # Deployments
//
// While a new version of a program is deployed, processes of the old one have the
// same queues. An event that such a process does not know, or whose version is
// newer, it leaves to the others: the event waits in the queue of retries, as long
// as the Backoff says, where a process that knows it takes it at once. That does not
// count as an attempt. After ten times, some seven minutes with the default Backoff,
// it is a dead letter: redrive it when the new version is there. The same holds for
// events in the queue of retries that the handler does not take any more.
//
// One case cannot be detected. Where several names share a topic ([Topics]), a
// handler of a struct skips the other names, also those that it takes in a newer
// version. Give a handler that takes another event there another name, or first
// deploy a version whose handler takes an interface.
//
// # A process that only receives
//
// It subscribes its handlers with Via(r), or calls Receive. It
// needs no database for it. Start returns when the broker knows all its handlers.
// A handler that is subscribed later begins at once, and waits for the broker if
// that does not answer.
//
// # Trust
//
// A message can only become a value of an event type that this program has
// registered, by encoding/json and the upcasts of the registry, and it can
// only reach handlers of that type. One that is larger than MaxSize is not decoded.
// Whoever can write to the topics can publish events: use the permissions of the
// broker, and TLS, which the URL turns on ([Target]). Credentials come from the URL
// or from the environment. They are in no error of Open, and the relay does not log
// them. Events and the errors of handlers are in the dead letters, readable for
// whoever can read those topics.
//
// # Shutdown
//
// [Relay.Close] fetches nothing more and waits for the handlers that run; when its
// ctx ends it cancels theirs. What is not finished goes back to the broker. It ends
// some seconds after its ctx whatever the handlers and the broker do. Stop
// who sends before it, such as the workers of a durable Forward, and close the bus
// and the database after it.
//
// # Testing
//
// Most handlers need no broker in their tests: call the function, or subscribe it
// without Via. Where the relay matters, the URL memory://NAME is a broker within
// the process, which ends with it and not before. Relays with the same NAME are
// connected, also those of other tests, so give each test its own. Package
// relaytest checks a [Broker] of your own.
package relay
