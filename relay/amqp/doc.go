// Package amqp lets a [relay.Relay] use RabbitMQ. Import it for its side effect:
//
//	import _ "github.com/tidings-go/tidings/relay/amqp"
//
//	r, err := relay.Open(ctx, "amqp://user:password@host:5672/vhost", registry)
//
// The scheme amqps is amqp with TLS. The port is 5672, or 5671 with TLS, the
// virtual host is "/" and both user and password are "guest" unless the URL (or
// the environment, see [relay.Target]) sets another value. A "/" in the name of
// a virtual host is %2F.
//
// # Parameters
//
//   - queue_type=classic (the default) or quorum. In a cluster, use quorum:
//     such a queue has copies on several nodes. A classic queue is on one node;
//     while that is down the exchange skips the queue, and the server confirms
//     messages that the group never gets. Without a cluster quorum has no
//     advantage: RabbitMQ 3.10 does not find a quorum queue again that was
//     created shortly before the server was killed, and its messages are lost.
//     A queue keeps the type with which it was created. Quorum queues need
//     RabbitMQ 3.8.
//   - prefetch=16, at most 65535: how many messages a worker has here while it
//     handles the first of them. With 1, a slow handler never holds a message
//     that another process could handle, and a fast one waits for the network
//     after each: an eighth of the rate or less, on loopback. It is lowered for
//     handlers with a long timeout, so that a message never waits longer than
//     the 30 minutes after which the server closes the channel.
//
// For other logins (a token, a client certificate) and other settings of a
// connection, use [New] with [relay.New].
//
// The user needs permission to configure, write and read the names below, and
// to write to amq.default, the server's name for its default exchange.
//
// # Exchanges and queues
//
// A topic is a durable fanout exchange. A group has a durable queue for each
// topic, bound to that exchange. Retries and dead letters of a handler go into
// their queues directly:
//
//	exchange  billing.invoice_sent             the name of the event, with the relay's prefix
//	queue     fulfilment@billing.invoice_sent  the handler's, with the prefix, and the topic
//	queue     fulfilment.retry                 the retries of fulfilment
//	queue     fulfilment.dead                  its dead letters
//
// Existing exchanges and queues are used as they are. So an operator may create
// an exchange of another type, with an alternate exchange for example, or a
// queue with its own arguments (x-max-length, x-message-ttl). Only a queue that
// is not durable is rejected, and one that differs only in its type.
//
// A name that begins with "amq.", which is reserved for the server, gets a "~"
// before it. A name longer than 255 bytes ends in "~" and a hash instead.
// Nothing is ever deleted: after a handler is removed for good, delete its
// queues, which fill up otherwise (see below what that means for a topic's last
// one). A topic that [relay.WithTopics] returns is used as it is.
//
// A message is persistent. It has the CloudEvent as its body, the properties
// content-type and message-id, and the other metadata as headers. Those may
// have some 126 KiB together (the server's frame_max). Messages are the same as
// with watermill-amqp and its DefaultMarshaler, except the content type, which
// is a property here and a header there. The headers CC, BCC, x-death and
// x-delivery-count are instructions between client and server, and are omitted
// in both directions.
//
// # Guarantees
//
//   - Publish returns nil when the server has confirmed the message: every
//     bound queue has it, on disk. Messages and queues survive a restart.
//   - A message may be delivered more than once: after a connection was lost,
//     or if Publish has failed although the server had the message.
//   - A group's messages come in the order of one publisher as long as there is
//     one worker in one process, and nothing was redelivered.
//   - The messages that a process held are redelivered to another one at once
//     if it has closed or died, and some 20 seconds after the network between
//     it and the server has failed. A handler that does not acknowledge a
//     message in time (30 s after its timeout) also loses it to another worker.
//   - Connections are reestablished automatically. Publish does not wait for
//     that: it fails at once if the server refuses the connection, and after 10
//     seconds (15 if the network blocks writes) if the server does not answer.
//     The message may have been stored then. While the server is short of
//     memory or disk, and blocks all publishers, Publish waits for 10 seconds
//     without sending anything, and its error says so.
//   - A message larger than the server's max_message_size (128 MiB unless set)
//     is an error that wraps [relay.ErrTooLarge]. The server reports the limit
//     for the first such message of a connection, and closes the channel; other
//     messages in flight are published again.
//   - A message to retry and a dead letter are in their queue before the
//     original message is acknowledged. A deleted queue is created again.
//   - Close takes at most some ten seconds, whatever the server does.
//
// What is lost: a message on a topic to which no group has subscribed yet, and
// all messages on a single server when its disk is lost. A server that is killed
// (kill -9) may also forget a queue that was created seconds before, with its
// messages: seen twice in some 40 such restarts of RabbitMQ 3.10 on a busy
// machine. The relay then logs that it creates the queue again.
//
// # Deleted exchanges and queues
//
// The server tells a publisher that an exchange does not exist, or that it has
// no queue. If it existed before, the topic was deleted or the virtual host was
// emptied, and the groups of other processes are gone with it. Then Publish
// logs that and refuses the topic for 10 seconds, in which all groups that are
// alive declare themselves again. Its error has a method RetryAfter, so that a
// durable handler (relay.Forward) sends the event as soon as possible. The
// topic is accepted after that, even if no group has come back.
//
// In such a case these messages are lost, besides those in deleted queues:
//
//   - If the queue of one of several groups is deleted: messages published
//     until its consumer has declared it again, 5 to 20 ms later, or a second
//     for a quorum queue. Before Start, that is 5 seconds.
//   - If an exchange is deleted: messages published after one group has created
//     the exchange again, for a group in another process that has not yet bound
//     its queue. The publisher cannot see that. A group waits a second before
//     it creates the exchange again, so this happens only to publishers that
//     publish less often. Measured with two groups in two processes: of 1,574
//     messages at intervals of up to 500 ms none, of 88 at intervals of 2 and
//     of 6 s two.
//   - Messages of a process that starts before the groups are back, since it
//     does not know of them.
//   - If a binding is deleted and the exchange has others: 5 seconds.
//
// # Pitfalls
//
//   - A process has two connections, and a channel for each worker and topic. A
//     server allows 2,047 channels on a connection.
//   - A quorum queue costs the server some 10 ms to create, and memory.
//   - A policy of the operator, or an argument of a queue, may limit it
//     (max-length, message-ttl, delivery-limit): messages that it drops are
//     lost without notice to the publisher, if it has no dead-letter exchange.
//     A full queue with overflow=reject-publish makes Publish fail for all
//     groups of the topic, although groups that have room get the message.
//   - A message published to a topic without a queue comes back to the
//     publisher, and is on the network twice.
//   - With an alternate exchange, a topic that has lost its queues is not
//     detected: its messages are routed there.
package amqp
