// Package redis is the broker of package relay for Redis streams: Redis from 6.2
// on, Valkey and what else speaks like them.
//
//	import _ "github.com/tidings-go/tidings/relay/redis"
//
//	r, err := relay.Open(ctx, "redis://orders:secret@localhost:6379/0", &registry)
//
// # URL
//
// The scheme is redis, or rediss for TLS. The port is 6379 if there is none; the
// path is the number of the database, 0 if there is none. The parameters for TLS
// and the credentials of the environment are those of [relay.Target]. There is one
// more parameter:
//
//	maxlen=1000000   the most entries that a stream of events keeps, or somewhat more
//
// It is a last resort against a full memory, and loses the oldest messages, also
// those that nobody has handled, which is logged. The default is no limit. Processes
// that publish to the same stream should agree. It does not concern what a handler
// is to try again, or has given up.
//
// For a cluster, Sentinel or other settings of the client, use [New] with
// [relay.New].
//
// # Topics and groups
//
// A topic is the key of a stream, and has the name as it is. A handler is a
// consumer group of that stream, again under its own name. The names are any
// bytes and may be long. Other keys of the same database can be in the way: use
// [relay.Prefix], or a database of its own.
//
// An entry has the fields of Watermill's adapter for Redis streams, and that can
// be at the other end: "_watermill_message_uuid", "payload", and "metadata" in
// MessagePack. Entries of others are handed on with what there is: without an ID
// they have that of the entry, and fields that are not known become metadata.
//
// # Guarantees
//
//   - Publish returns nil when the server has added the entry. It ends after ten
//     seconds at most. The client sends again what got no answer, so that an event
//     may be there twice.
//   - A group gets what is published after it was declared, each entry at least
//     once, to one of its consumers. One that is new starts with what comes, and
//     not with what is there. Where the stream is the group's own, of what it is to
//     try again or has given up, it gets all that is there.
//   - What a process has in hand when it closes goes to others within two
//     seconds. What it has when it dies, or is silent about for longer than its
//     time ([relay.Timeout] and what that adds), goes to others within two seconds after
//     that time.
//   - A stream or group that is gone (DEL, XGROUP DESTROY, FLUSHALL, a server that
//     stores nothing) is made again: at once where a consumer waits for messages,
//     within five seconds otherwise. A group that the process has had before goes
//     on with what was not acknowledged five seconds earlier, or with the whole
//     stream if that is another one. Each process says so in its log. So what
//     Publish has accepted since then reaches all groups of which a process runs.
//   - Every call ends within ten seconds, and Close in less, whatever the server does.
//   - With one worker in one process the order of a topic is kept, except for what
//     is handled again.
//
// # What can be lost
//
// All of this is as durable as the server is told to be:
//
//   - By default Redis only writes a snapshot now and then: a server that is killed
//     loses minutes of messages, acknowledgements and groups. Set appendonly yes.
//   - With appendfsync everysec, its default, a machine that fails loses the last
//     second or two, although Publish has returned nil. (A process that is killed
//     loses nothing that the operating system has.) With appendfsync always
//     nothing is lost, and publishing takes as long as the disk.
//   - Replication is asynchronous. A failover loses what the old master had not yet
//     passed on. min-replicas-to-write and min-replicas-max-lag bound that to some
//     seconds, and do not exclude it.
//   - maxmemory-policy must be noeviction, the default, or one of volatile-*: the
//     others remove whole streams, which is logged when a relay opens. When the
//     memory is full, Publish fails.
//   - What was in a stream when somebody deleted it is gone, and so is what was in
//     all streams when a server has forgotten everything.
//   - A group that is lost while none of its processes is running is a new one for
//     the process that starts next, which begins with what comes. The same holds
//     for the group if such a process is faster than the one that runs, within
//     five seconds of the loss.
//   - maxlen.
//
// Where the loss of a message is the loss of an order, forward through a durable
// handler, and set appendfsync always, or use another broker.
//
// # Memory
//
// Redis keeps streams in memory, and an acknowledged entry until the stream is
// trimmed. Each process does that every five seconds for the streams of events that
// it uses, from 15 seconds after it has begun to: what all groups have acknowledged
// goes, apart from up to some hundred entries. A stream without any group keeps its
// newest 10,000 or so. A stream of which a group has disappeared is not trimmed
// until the group is back, or for five minutes. From the stream of what a handler
// is to try again or has given up, an entry is deleted when it is acknowledged, and
// in no other way: the length of handler.dead is the number of its dead letters.
//
// So a group that nobody reads any more keeps all that comes. If a handler is gone
// for good, remove it: XGROUP DESTROY topic handler, and the stream of what it was
// to try again, DEL handler.retry. Consumers that have died are removed once they
// have been silent for ten minutes and have nothing in hand.
//
// # Numbers
//
// A worker fetches one entry at a time, and acknowledges it with the fetch of the
// next: one round trip for each, so that the rate of a worker is at most 1/(round
// trip + handler). Raise [relay.Workers] where the server is far away. A
// subscription holds a connection: one for each worker and topic, one for what is
// to be tried again; the server's maxclients is 10,000. An idle one asks once a
// second, which is also the longest that Close waits for it. The client logs what
// becomes of its connections to standard error (SetLogger of go-redis).
//
// A message may have as many bytes as the server's proto-max-bulk-len says, 512 MB by
// default, and no more than its client-query-buffer-limit and maxmemory. The module
// asks for these before it sends a megabyte or more, and the error for what is larger
// wraps [relay.ErrTooLarge].
//
// A user with few rights needs the commands xadd, xdel, xgroup, xreadgroup, xack,
// xpending, xclaim, xautoclaim, xinfo, xrange, xtrim, exists, eval and evalsha for
// these keys. Without eval all works, but streams are not trimmed and consumers not
// removed, which is logged. With info the module sees whether the server may remove
// streams; with ping and config|get it finds out more surely what is too large.
package redis
