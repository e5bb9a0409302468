// Package kafka sends the events of a relay through Apache Kafka, or another
// broker with its protocol. Import it for its side effect:
//
//	import _ "github.com/tidings-go/tidings/relay/kafka"
//
//	r, err := relay.Open(ctx, "kafka://kafka1:9092,kafka2:9092", registry)
//
// The URL names one or more brokers, by default on port 9092, through which the
// others of the cluster are found. Kafka 2.8 is the oldest supported version.
//
// # Parameters
//
//   - sasl: how to log in if there is a user name: "plain" (the default; use it
//     with TLS), "scram-sha-256" or "scram-sha-512"
//   - partitions: of the topics that the relay creates, default 6
//   - replication: of the topics that the relay creates, default that of the
//     cluster (default.replication.factor)
//   - max_message_bytes: the largest message and batch to send, default
//     1000000, which Kafka accepts by default (message.max.bytes)
//
// [relay.Target] describes the parameters for TLS. For other logins (OAuth,
// Kerberos) and other settings of the client library, use [New] with
// [relay.New].
//
// # Topics and groups
//
// A name of letters, digits, dots and hyphens is its own topic. In other names
// "_" becomes "__", "/" becomes "_2f" and ":" becomes "_3a"; so "a.b" and "a_b"
// do not become topics of which Kafka rejects the second one. A name too long
// for Kafka (249 characters) is cut, and ends in "_h" and a hash. Names of
// groups are used as they are. [relay.WithTopics] must return valid Kafka topics.
//
// Topics are created when they are first needed, with six partitions. A topic
// that exists is used as it is, so create topics with other settings
// (retention, compression) beforehand; then no process needs permission to
// create topics. A deleted topic is created again within seconds. Added
// partitions are seen within a minute. The number of partitions limits how many
// consumers of a handler work at once, over all processes: of 8 workers on 6
// partitions, 2 are idle.
//
// The key of [relay.WithKeyBy] is the key of the message, and chooses the partition
// like the Java clients. Messages without a key go to all partitions in turn,
// and have no order. If all events of a topic need an order, it must have one
// partition.
//
// Attributes of CloudEvents are headers with the prefix "ce_", as in the Kafka
// binding of CloudEvents, besides the metadata that [relay] describes. The ID
// of the message is in the header of Watermill's adapter, so programs with that
// can take part.
//
// # Guarantees
//
//   - Publish returns when all in-sync replicas have the message.
//     min.insync.replicas of the cluster sets how many those are at least; with
//     its default of 1, a message may be on a single disk. The producer is
//     idempotent unless the cluster forbids that, so a retry makes no
//     duplicates and keeps the order.
//   - A message is redelivered until it is acknowledged. Offsets are committed
//     within 200 ms, and before a partition goes to another consumer or the
//     consumer ends. If a process is killed, other consumers get the messages
//     that it was handling, and those it has handled in the last 200 ms, which
//     are delivered twice.
//   - A new group starts with the oldest message of the topic: a new handler
//     gets the events of the last week, or as long as Kafka keeps them.
//   - The order of a partition is kept; [relay.Workers] are consumers with a
//     partition each. A retried event comes after later ones.
//   - A message that is not acknowledged blocks its partition. After the time
//     that the relay allows (the Timeout of the handler and as long again), the
//     consumer leaves the group and other consumers get its partitions.
//
// # Losses and delays
//
//   - Kafka deletes messages when their time is up (retention.ms, by default a
//     week), whether they have been handled or not; dead letters as well. A
//     group that has had no consumer for a week (offsets.retention.minutes)
//     starts again with the oldest message.
//   - The messages of a deleted topic are lost. Messages accepted after that
//     are in a new topic, and reach all groups: the ID of the topic is
//     committed with each offset, and an offset of another topic is ignored.
//   - When a consumer joins a group, it takes a second or two until it has
//     partitions (a new group on a server: 3 s,
//     group.initial.rebalance.delay.ms). The others continue meanwhile, but a
//     partition moves only after the message that is being handled on it.
//     Several [relay.Workers] begin a second after the last of them has joined,
//     or after 3 s. When a process dies without leaving, its partitions are
//     idle for 10 s.
//   - If the cluster is down, Publish fails after 10 s at most, and the message
//     may be stored nonetheless. When it is back, Publish works within 10 s.
package kafka
