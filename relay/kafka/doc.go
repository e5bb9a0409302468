// Package kafka carries the events of a relay through Apache Kafka, and what
// speaks its protocol. Import it for its side effect:
//
//	import _ "github.com/tidings-go/tidings/relay/kafka"
//
//	r, err := relay.Open(ctx, "kafka://kafka1:9092,kafka2:9092", registry)
//
// The URL names one broker or some, by default on port 9092; the others of the
// cluster are found through them. Kafka 2.8 is the oldest that is supported.
//
// # Parameters
//
//   - sasl: how to log in if there is a user name: "plain" (the default; use it
//     with TLS), "scram-sha-256" or "scram-sha-512"
//   - partitions: of the topics that are created here, default 6
//   - replication: of the topics that are created here, default that of the
//     cluster (default.replication.factor)
//   - max_message_bytes: the largest message and batch to send, default 1000000,
//     which Kafka takes unless told otherwise (message.max.bytes)
//
// Those for TLS are in [relay.Target]. For other ways to log in (OAuth, Kerberos)
// and other settings of the client library see [New].
//
// # Topics and groups
//
// A name of letters, digits, dots and hyphens is its own topic. Else "_" becomes
// "__", "/" becomes "_2f" and ":" becomes "_3a"; so "a.b" and "a_b" do not become
// topics of which Kafka refuses the second one. What is too long for Kafka (249
// characters) is cut, and ends in "_h" and a hash. Names of groups are used as
// they are. [relay.Topics] returns topics as Kafka knows them.
//
// Topics are created when they are first needed: with six partitions. A topic that
// exists is used as it is, so create those with other settings (retention,
// compression) beforehand; then no process needs the right to create topics. One that
// somebody deletes is created again within seconds. Partitions that are added
// are seen within a minute. Partitions are the limit of how many consumers of
// a handler work at once, over all processes: of 8 workers on 6 partitions, 2
// are idle.
//
// The key of [relay.KeyBy] is the key of the message, and chooses the partition
// as in the clients in Java. Without one messages go to all partitions in turn, and
// have no order. For an order of all events of a topic it has to have
// one partition.
//
// Attributes of CloudEvents are headers with the prefix "ce_", as the binding for
// Kafka has it, beside what [relay] says of metadata. The identity of the message
// has the header of Watermill's adapter, so programs with that one can take part.
//
// # Guarantees
//
//   - Publish returns when all in-sync replicas have the message. How many
//     those are at least is min.insync.replicas of the cluster; with its default
//     of 1, a message may be on one disk alone. The producer is idempotent
//     unless the cluster forbids that, so a retry makes no duplicates and keeps
//     the order.
//   - A message is delivered until it is acknowledged. Offsets are committed
//     within 200 ms, and before a partition goes to another consumer or the
//     consumer ends. A process that is killed leaves those messages to others
//     that it had in work, and the ones it has handled in the last 200 ms, which
//     come twice.
//   - A new group starts with the oldest message that the topic has: a handler
//     that is new gets the events of the last week, or how long Kafka keeps them.
//   - The order of a partition is kept; [relay.Workers] are consumers with a
//     partition each. An event that is to be tried again gives way to later ones.
//   - A message that is not acknowledged holds up its partition. After the time
//     that the relay allows (the Timeout of the handler and as long again), the consumer
//     leaves the group and others get its partitions.
//
// # What is lost, what is slow
//
//   - Kafka deletes messages when their time is up (retention.ms, by default a
//     week), whether they have been handled or not; dead letters as well. A
//     group that has had no consumer for a week (offsets.retention.minutes)
//     starts anew with the oldest message.
//   - The messages of a topic that somebody deletes are lost. What is accepted
//     after that is in a new topic, and reaches all groups: the identity of the
//     topic is committed with each offset, and an offset of another topic is
//     ignored.
//   - When a consumer joins a group, it takes a second or two until it has
//     partitions (a new group on a server: 3 s, group.initial.rebalance.delay.ms).
//     The others go on meanwhile, but a partition moves only behind the message
//     that is in work on it. Several [relay.Workers] begin a second after the
//     last of them has joined, or after 3 s. When a process dies without leaving, its
//     partitions are idle for 10 s.
//   - If the cluster is gone, Publish fails after 10 s at most, and the message
//     may be stored nonetheless. When it is back, Publish works within 10 s.
package kafka
