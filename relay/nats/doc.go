// Package nats lets a relay use NATS JetStream as its broker.
//
//	import _ "github.com/tidings-go/tidings/relay/nats"
//
//	r, err := relay.Open(ctx, "nats://user:password@localhost:4222", registry)
//
// The server has to run with JetStream (nats-server -js -sd DIRECTORY).
//
// # URL
//
// The scheme is nats or, with TLS, tls. The port may be left out: it is 4222.
// Several servers of a cluster are separated by commas: nats://n1,n2:4223,n3. A
// user name without a password is a token. The parameters, besides those of
// [relay.Target]:
//
//	deliver   what a new handler gets: "new" messages, from its first start on,
//	          which is the default, or "all" that the stream still has
//	creds     a file with the credentials of a user (a JWT and an NKey)
//	replicas  on how many servers of a cluster a message is stored; default 1
//	max_age   how long a message is kept, such as "720h"; default "168h", a week
//
// For anything else that a connection can have, make it yourself, and pass it
// to [New].
//
// # What there is in JetStream
//
// Each topic is a subject, and has a stream of its own that keeps the messages
// in files until they are older than max_age, whether somebody has handled them
// or not. Each handler has a durable consumer on the stream, with explicit
// acknowledgement, from which all processes with that handler fetch. What a
// handler is to try again, and what it has given up, are streams that keep a
// message until it is acknowledged, without max_age.
//
// A stream or consumer is made when it is used first. One that exists is left as
// it is, but for the AckWait of a consumer: to limit the size of a stream or to
// place it, make it before, or alter it with "nats stream edit".
//
// A stream of yours may be for many topics: one with the subjects "orders.>" keeps
// all topics that begin with "orders.", whatever its name is, and the queues of
// handlers with such names. There a consumer is called HANDLER@TOPIC. The retention
// should be limits. One of workqueue takes one handler for each topic; one of
// interest has nothing for a handler whose consumer somebody has deleted.
//
// The topic of a name is the name. A byte that is no ASCII letter or digit and
// none of ._/:- becomes % and its hexadecimal code, and so does a dot with
// nothing before or after it: ".a..b" is "%2Ea.%2Eb". The name of the stream is
// the topic with ~ for each dot, and % with a code for all but letters, digits,
// underscore and hyphen: the stream of the topic "orders.placed" is
// "orders~placed". A consumer is called like its group, by the same rules. Names
// over 200 bytes are cut, and end with a hash.
//
// # What is guaranteed
//
//   - A publish that has succeeded is stored, on as many servers as replicas
//     says, and survives that the server is killed. It syncs its files every two
//     minutes only: where the machine may lose power, have three replicas on
//     machines that do not lose it together, or "sync_interval: always" in the
//     configuration of the server.
//   - A message reaches each handler at least once. If the connection breaks
//     while a publish waits for the answer, it is sent again, and may be there
//     twice.
//   - Where a handler has one worker in one process, it gets the messages of a
//     topic in the order in which they were stored, save those that failed or
//     were on their way when a process was killed.
//   - A handler gets what is published after it was first started, or declared by
//     a publisher with the same handler; with deliver=all also what the stream
//     has from before, up to a week of it.
//
// # What somebody deletes
//
// Processes look every few seconds, and when they are connected anew, whether their
// streams and consumers are there, and make those again that are not.
//
//   - A consumer goes on where it was when a process of the handler last looked.
//     What was handled since then comes again.
//   - A stream is made again with the settings that it had. What was in it is lost,
//     which each process that finds out logs at WARN. What the new one accepts is
//     for all handlers that were there before: in a process that has seen the old
//     stream, at any time; in one that was started anew, within an hour. For that
//     the stream has "tidings-again" in its metadata. A handler that is new in this
//     hour gets as much.
//
// # What can be lost
//
//   - A message that a handler did not get to within max_age. Nobody is told.
//   - What was not handled, when somebody deletes the stream, or the server runs with
//     a directory for its streams that a restart clears. The default of nats-server
//     is below /tmp.
//   - After that, what is published before a handler is there again, if its
//     processes have all been started anew, and either the publishers as well, or
//     the stream was made again more than an hour ago.
//   - On a stream of yours with the retention interest: a publisher that finds the
//     stream gone refuses events for ten seconds, in which handlers come back. What
//     other publishers send in the meantime is lost for handlers that are not back.
//
// # Numbers
//
// A worker asks for as many messages as it handles in 50 ms, at most 64, and if
// one takes longer than a second, gives back those behind it. So no process holds
// what another could handle, and when it is killed, at most that many messages per
// worker wait for Timeout and as long again. One that is closed gives them back at once.
// Up to 1,000 messages per handler and topic can be in work at once, in all
// processes together, and up to 4,096 workers can wait.
//
// What a message may have in bytes is the server's max_payload, 1 MiB by
// default, and the max_msg_size of the stream, both with its headers. These have
// 64 KiB at most.
//
// A publish waits up to ten seconds for a connection and a leader of the stream,
// and five for the answer; then it fails. To declare takes ten at most, and so does
// Close. While a connection is made, calls may wait for five seconds more. A
// connection that is lost without a word is found out within 30 s, and one that does not
// take what is sent within 5 s. It is tried again every half to one second without end.
//
// To see whether all is there is one request every few seconds for each topic of a
// handler. A user who may not do everything needs, besides the topics and _INBOX.>,
// $JS.ACK.> and, below $JS.API: INFO, STREAM.NAMES, STREAM.INFO.*, STREAM.CREATE.*,
// CONSUMER.INFO.*.*, CONSUMER.CREATE.> and CONSUMER.MSG.NEXT.*.*.
//
// A handler that is removed for good leaves its consumer and the streams
// HANDLER~retry and HANDLER~dead behind; "nats consumer rm" and "nats stream rm"
// remove them. To rename a handler is to remove it and to add a new one.
package nats
