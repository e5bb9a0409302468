// Package redis is the broker of package relay for Redis streams: Redis 6.2 or
// newer, Valkey and other servers with the same protocol.
//
//	import _ "github.com/tidings-go/tidings/relay/redis"
//
//	r, err := relay.Open(ctx, "redis://orders:secret@localhost:6379/0", &registry)
//
// # URL
//
// The scheme is redis, or rediss for TLS. The default port is 6379; the path is
// the number of the database, 0 by default. [relay.Target] describes the
// parameters for TLS and the credentials in the environment. There is one more
// parameter:
//
//	maxlen=1000000   the maximum number of entries of a stream of events, or slightly more
//
// It is a last resort against a full memory, and loses the oldest messages,
// even those that were not handled, which is logged. The default is no limit.
// Processes that publish to the same stream should agree. It does not apply to
// the retries and dead letters of a handler.
//
// For a cluster, Sentinel or other settings of the client, use [New] with
// [relay.New].
//
// # Topics and groups
//
// A topic is the key of a stream, with the unchanged name. A handler is a
// consumer group of that stream, again under its own name. The names may
// contain any bytes and may be long. Other keys of the same database can
// collide: use [relay.WithPrefix], or a separate database.
//
// An entry has the fields of Watermill's adapter for Redis streams, so that can
// be at the other end: "_watermill_message_uuid", "payload", and "metadata" in
// MessagePack. Entries of other programs are passed on with their fields:
// without an ID they get the entry's ID, and unknown fields become metadata.
//
// # Guarantees
//
//   - Publish returns nil when the server has added the entry. It ends after
//     ten seconds at most. The client sends a command again if it got no
//     answer, so an event may be there twice.
//   - A group gets the events published after it was declared, each entry at
//     least once, in one of its consumers. A new group starts with new events,
//     and not with existing ones. If the stream is the group's own, for retries
//     or dead letters, it gets all existing entries.
//   - When a process closes, others get its unfinished messages within two
//     seconds. When it dies, or does not acknowledge a message in time
//     ([relay.Timeout] and what that adds), others get the message within two
//     seconds after that time.
//   - A stream or group that is gone (DEL, XGROUP DESTROY, FLUSHALL, a server
//     that stores nothing) is created again: at once where a consumer waits for
//     messages, within five seconds otherwise. A group that the process has had
//     before continues with the entries that were not acknowledged five seconds
//     earlier, or with the whole stream if that is another one. Each process
//     logs that. So events that Publish has accepted since then reach all
//     groups of which a process runs.
//   - Every call ends within ten seconds, and Close in less, whatever the
//     server does.
//   - With one worker in one process the order of a topic is kept, except for
//     redelivered and retried events.
//
// # Losses
//
// All of this is as durable as the server is configured to be:
//
//   - By default Redis only writes a snapshot now and then: a killed server
//     loses minutes of messages, acknowledgements and groups. Set appendonly
//     yes.
//   - With appendfsync everysec, its default, a machine that fails loses the
//     last second or two, although Publish has returned nil. (A killed process
//     loses nothing that the operating system has.) With appendfsync always
//     nothing is lost, and publishing takes as long as the disk.
//   - Replication is asynchronous. A failover loses what the old master had not
//     yet replicated. min-replicas-to-write and min-replicas-max-lag limit that
//     to some seconds, and do not exclude it.
//   - maxmemory-policy must be noeviction, the default, or one of volatile-*:
//     the others remove whole streams, which is logged when a relay opens. When
//     the memory is full, Publish fails.
//   - The messages of a deleted stream are lost, and so are those of all
//     streams when a server has lost its data.
//   - A group that is lost while none of its processes runs is new for the
//     process that starts next, which begins with new events. The same applies
//     if such a process declares the group before a running one does, within
//     five seconds of the loss.
//   - maxlen loses messages.
//
// If no message may be lost, forward through a durable handler, and set
// appendfsync always, or use another broker.
//
// # Memory
//
// Redis keeps streams in memory, and an acknowledged entry until the stream is
// trimmed. Each process trims the streams of events that it uses every five
// seconds, beginning 15 seconds after their first use: it removes the entries
// that all groups have acknowledged, except up to some hundred. A stream
// without any group keeps its newest 10,000 or so. A stream of which a group
// has disappeared is not trimmed until the group is back, or for five minutes.
// In the stream for a handler's retries or dead letters, an entry is deleted
// when it is acknowledged, and never otherwise: the length of handler.dead is
// the number of its dead letters.
//
// So a group without consumers keeps all new entries. If a handler is removed
// for good, remove its group, XGROUP DESTROY topic handler, and its stream for
// retries, DEL handler.retry. Dead consumers are removed once they have been
// silent for ten minutes and have no pending entries.
//
// # Limits and costs
//
// A worker fetches one entry at a time, and acknowledges it with the fetch of
// the next: one round trip for each, so the rate of a worker is at most
// 1/(round trip + handler). Raise [relay.Workers] if the server is far away. A
// subscription holds a connection: one for each worker and topic, and one for
// retries; the server's maxclients is 10,000. An idle subscription polls once a
// second, which is also the longest that Close waits for it. The client logs
// problems of its connections to standard error (SetLogger of go-redis).
//
// The server's proto-max-bulk-len limits the size of a message, 512 MB by
// default, and so do its client-query-buffer-limit and maxmemory. The module
// asks for these before it sends a megabyte or more, and the error for a larger
// message wraps [relay.ErrTooLarge].
//
// A user with limited permissions needs the commands xadd, xdel, xgroup,
// xreadgroup, xack, xpending, xclaim, xautoclaim, xinfo, xrange, xtrim, exists,
// eval and evalsha for these keys. Without eval all works, but streams are not
// trimmed and consumers not removed, which is logged. With info the module sees
// whether the server may remove streams; with ping and config|get it detects
// more reliably what is too large.
package redis
