// Package nats lets a relay use NATS JetStream as its broker.
//
//	import _ "github.com/tidings-go/tidings/relay/nats"
//
//	r, err := relay.Open(ctx, "nats://user:password@localhost:4222", registry)
//
// The server must run with JetStream (nats-server -js -sd DIRECTORY).
//
// # URL
//
// The scheme is nats or, with TLS, tls. The default port is 4222. Several
// servers of a cluster are separated by commas: nats://n1,n2:4223,n3. A user
// name without a password is a token. The parameters, besides those of
// [relay.Target]:
//
//	deliver   what a new handler gets: "new" messages, from its first start on,
//	          the default, or "all" that the stream still has
//	creds     a file with the credentials of a user (a JWT and an NKey)
//	replicas  how many servers of a cluster store a message; default 1
//	max_age   how long a message is kept, such as "720h"; default "168h", a week
//
// For any other setting of a connection, open the connection yourself, and pass
// it to [New], for [relay.New].
//
// # Streams and consumers
//
// Each topic is a subject, and has its own stream that keeps the messages in
// files until they are older than max_age, whether they were handled or not.
// Each handler has a durable consumer on the stream, with explicit
// acknowledgement, from which all processes with that handler fetch. The
// retries and dead letters of a handler are in streams that keep a message
// until it is acknowledged, without max_age.
//
// A stream or consumer is created when it is first used. An existing one is not
// changed, except the AckWait of a consumer: to limit the size of a stream or
// to place it, create it before, or change it with "nats stream edit".
//
// Your own stream may have many topics: one with the subjects "orders.>" keeps
// all topics that begin with "orders.", whatever its name is, and the queues of
// handlers with such names. There the name of a consumer is HANDLER@TOPIC. The
// retention should be limits. A workqueue stream allows one handler for each
// topic; an interest stream keeps nothing for a handler whose consumer was
// deleted.
//
// The topic of a name is the name. A byte other than an ASCII letter, a digit
// and ._/:- becomes % and its hexadecimal code, and so does a dot with
// nothing before or after it: ".a..b" is "%2Ea.%2Eb". The name of the stream is
// the topic with ~ for each dot, and % with a code for all but letters, digits,
// underscore and hyphen: the stream of the topic "orders.placed" is
// "orders~placed". A consumer is named like its group, by the same rules. Names
// over 200 bytes are cut, and end with a hash.
//
// # Guarantees
//
//   - A publish that has succeeded is stored on as many servers as replicas
//     says, and survives a killed server. The server syncs its files only every
//     two minutes: where the machine may lose power, use three replicas on
//     machines that do not lose it together, or "sync_interval: always" in the
//     configuration of the server.
//   - A message reaches each handler at least once. If the connection breaks
//     while a publish waits for the answer, the message is sent again, and may
//     be there twice.
//   - If a handler has one worker in one process, it gets the messages of a
//     topic in the order in which they were stored, except those that failed or
//     were being delivered when a process was killed.
//   - A handler gets the events published after it was first started, or
//     declared by a publisher with the same handler; with deliver=all also the
//     earlier events of the stream, up to a week of them.
//
// # Deleted streams and consumers
//
// Processes check every few seconds, and after a reconnect, whether their
// streams and consumers exist, and create the missing ones again.
//
//   - A consumer continues where it was when a process of the handler last
//     checked. Events handled since then are redelivered.
//   - A stream is created again with the settings that it had. Its messages are
//     lost, which each process that notices logs at WARN. Messages that the new
//     stream accepts are for all handlers that existed before: in a process
//     that has seen the old stream, at any time; in a restarted process, within
//     an hour. For that the stream has "tidings-again" in its metadata. A new
//     handler in this hour gets the same messages.
//
// # Losses
//
//   - A message that a handler has not handled within max_age is lost without
//     notice.
//   - Messages that were not handled, when the stream is deleted, or the server
//     has a directory for its streams that a restart clears. The default of
//     nats-server is below /tmp.
//   - After that, events published before a handler is back, if all its
//     processes have been restarted, and either the publishers as well, or the
//     stream was created again more than an hour ago.
//   - On your own stream with the retention interest: a publisher that finds
//     the stream deleted refuses events for ten seconds, in which handlers come
//     back. Events that other publishers send in the meantime are lost for
//     handlers that are not back.
//
// # Limits and costs
//
// A worker requests as many messages as it handles in 50 ms, at most 64, and if
// one takes longer than a second, it returns those behind it. So no process
// holds messages that another could handle, and if a process is killed, at most
// that many messages per worker wait for Timeout and as long again. A closed
// process returns them at once. Up to 1,000 messages per handler and topic can
// be in flight, in all processes together, and up to 4,096 workers can wait.
//
// The size of a message in bytes is limited by the server's max_payload, 1 MiB
// by default, and the max_msg_size of the stream, both including headers.
// Headers may have 64 KiB at most.
//
// A publish waits up to ten seconds for a connection and a leader of the
// stream, and five for the answer; then it fails. A declaration takes ten at
// most, and so does Close. While a connection is made, calls may wait five
// seconds more. A connection that is lost silently is detected within 30 s, and
// one that blocks writes within 5 s. The client retries every half to one
// second without a limit.
//
// Checking streams and consumers is one request every few seconds for each
// topic of a handler. A user with limited permissions needs, besides the topics
// and _INBOX.>, $JS.ACK.> and, below $JS.API: INFO, STREAM.NAMES,
// STREAM.INFO.*, STREAM.CREATE.*, CONSUMER.INFO.*.*, CONSUMER.CREATE.> and
// CONSUMER.MSG.NEXT.*.*.
//
// A handler that is removed for good leaves its consumer and the streams
// HANDLER~retry and HANDLER~dead behind; "nats consumer rm" and "nats stream
// rm" remove them. Renaming a handler means removing it and adding a new one.
package nats
