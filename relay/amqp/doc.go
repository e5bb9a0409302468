// Package amqp lets a [relay.Relay] use RabbitMQ. Import it for its side effect:
//
//	import _ "github.com/tidings-go/tidings/relay/amqp"
//
//	r, err := relay.Open(ctx, "amqp://user:password@host:5672/vhost", registry)
//
// The scheme amqps is amqp with TLS. The port is 5672, or 5671 with TLS, the
// virtual host is "/" and both user and password are "guest" unless the URL (or
// the environment, see [relay.Target]) says something else. A "/" in the name of
// a virtual host is %2F.
//
// # Parameters
//
//   - queue_type=classic (the default) or quorum. In a cluster, use quorum: such
//     a queue has copies on several nodes. A classic queue is on one; while that
//     is down the exchange skips the queue, and the server confirms messages that
//     the group never gets. Without a cluster nothing speaks for quorum: RabbitMQ
//     3.10 does not find a quorum queue again that was made shortly before the
//     server was killed, and what is in it is lost. A queue keeps the type that it
//     was made with. Quorum queues need RabbitMQ 3.8.
//   - prefetch=16, at most 65535: how many messages a worker has here while it
//     handles the first of them. With 1, a slow handler never has a message that
//     another process could begin with, and a fast one waits for the network
//     after each: an eighth of the rate or less, on loopback. It is lowered for
//     handlers with a long timeout, so that a message never waits for longer than
//     the 30 minutes after which the server closes the channel.
//
// The user needs to configure, write and read what has the names below, and to
// write to amq.default, the server's name for its default exchange.
//
// # What there is on the server
//
// A topic is a durable fanout exchange. A group has a durable queue for each
// topic, bound to that exchange. What a handler is to try again, or has given
// up, goes into its queue directly:
//
//	exchange  billing.invoice_sent             the name of the event, with the relay's prefix
//	queue     fulfilment@billing.invoice_sent  the handler's, with the prefix, and the topic
//	queue     fulfilment.retry                 what fulfilment is to try again
//	queue     fulfilment.dead                  what it has given up
//
// What exists is used as it is. So an operator may make an exchange of another
// type, with an alternate exchange for example, or a queue with arguments of its
// own (x-max-length, x-message-ttl). Only a queue that is not durable is
// refused, and one that differs in its type alone.
//
// A name that begins with "amq.", as only the server's may, gets a "~" before
// it. One that is longer than 255 bytes ends in "~" and a hash instead. Nothing
// is ever deleted: after a handler is gone for good, delete its queues, which
// fill up otherwise (see below what that means for a topic's last one). A topic
// that [relay.Topics] returns is used as it is.
//
// A message is persistent, has the CloudEvent as its body, the properties
// content-type and message-id, and the other metadata as headers. Those may have
// some 126 KiB together (the server's frame_max). Messages are the same as with
// watermill-amqp and its DefaultMarshaler, but for the content type, which has
// its property here and is a header there. The headers CC, BCC, x-death and
// x-delivery-count are instructions to the server and from it, and are left out
// in both directions.
//
// # Guarantees
//
//   - Publish returns nil when the server has confirmed the message: every queue
//     that is bound has it, on disk. Messages and queues outlast a restart.
//   - A message may come more than once: after a connection was lost, or Publish
//     has failed although the server had the message.
//   - A group's messages come in the order of one publisher as long as there is
//     one worker in one process, and nothing was redelivered.
//   - The messages that a process had come to another at once when it has closed
//     or died, and some 20 seconds after the network between it and the server
//     has failed. A handler that is silent for longer than it may (30 s after its
//     timeout) loses the message to another worker, too.
//   - Connections come back by themselves. Publish does not wait for that: it
//     fails at once if the server refuses the connection, after 10 seconds (15 if
//     the network takes nothing more) if it does not answer. The message may have
//     been stored then. While the server is short of memory or disk, and blocks
//     all that publish, Publish waits for 10 seconds without sending anything,
//     and its error says so.
//   - What is larger than the server's max_message_size (128 MiB unless set) is an
//     error that wraps [relay.ErrTooLarge]. The server says so for the first such
//     message of a connection, and closes the channel; what others have under way
//     is published again.
//   - What a handler is to try again, or has given up, is in its queue before the
//     message is acknowledged. A queue that somebody has deleted is made again.
//   - Close takes at most some ten seconds, whatever the server does.
//
// What is lost: a message on a topic to which no group has subscribed yet. What
// is on a single server when its disk is lost.
//
// # What was deleted
//
// The server tells a publisher that an exchange is gone, or that it has no queue.
// If it had been there before, the topic was deleted or the virtual host was
// emptied, and the groups of other processes are gone with it. Then Publish says
// so in the log and refuses the topic for 10 seconds, in which all groups that are
// alive declare themselves again. Its error has a method RetryAfter, so that a
// durable handler (relay.Forward) sends the event as soon as it can. The topic
// is accepted after that, also if no group has come back.
//
// What is lost in such a case, besides what was in queues that were deleted:
//
//   - Where the queue of a group that is one of several is deleted: what is
//     published until its consumer has declared it again, 5 to 20 ms later, or a
//     second for a quorum queue. Before Start, that is 5 seconds.
//   - Where an exchange is deleted: what is published after one group has made the
//     exchange again, for a group in another process that has not yet bound its
//     queue. The publisher cannot see that. A group waits a second before it makes
//     the exchange again, so it only happens to publishers that publish less often.
//     Measured with two groups in two processes: of 1,574 messages at intervals of
//     up to 500 ms none, of 88 at intervals of 2 and of 6 s two.
//   - What a process publishes that starts before the groups are back, since it
//     does not know of them.
//   - Where a binding is deleted and the exchange has others: 5 seconds.
//
// # Traps
//
//   - A process has two connections, and a channel for each worker and topic. A
//     server allows 2,047 channels on a connection.
//   - A quorum queue costs the server some 10 ms to make, and memory.
//   - A policy of the operator, or an argument of a queue, may limit it
//     (max-length, message-ttl, delivery-limit): what it drops is lost, and the
//     publisher is not told, if it has no dead-letter exchange. A full queue with
//     overflow=reject-publish makes Publish fail for all groups of the topic,
//     although those that have room get the message.
//   - What is published to a topic without a queue comes back to the publisher, and
//     is on the network twice.
//   - With an alternate exchange, a topic that has lost its queues is not noticed:
//     messages have somewhere to go.
package amqp
