package relay

import (
	"context"
	"time"
)

// A Broker defines what a relay needs from a message broker: to publish events
// on topics, to put messages into queues for single groups, and to consume both
// in groups. Package relay/watermill makes one from a Publisher and Subscribers
// of Watermill.
//
// All methods may be called concurrently. None is called after Close, but Close
// may be called while others still run. Each returns within seconds, even if
// the broker does not answer or does not read, and earlier if its ctx ends.
type Broker interface {
	// Publish returns nil once the broker has the messages as safely as it can,
	// for all groups that it knows for the topic. It creates the topic if
	// necessary. It must accept what a [Message] can hold, but may omit
	// metadata that begins with "ce-": the body contains all of that. The error
	// for a message that is larger than the broker takes wraps [ErrTooLarge].
	// The error for a message that the broker will never take for another
	// reason is [tidings.Permanent].
	//
	// A deleted topic has lost its groups as well. Publish logs that, and
	// accepts nothing for the topic until the groups that are alive have had
	// time to declare themselves again ([DeclareEvery]), unless the topic keeps
	// messages for groups that come later.
	Publish(ctx context.Context, topic string, messages ...*Message) error

	// Enqueue puts messages into the queue of a group whose Queue is true, and
	// returns nil once they are in that queue, as safely as with Publish. It
	// creates the queue if it does not exist, even if it was deleted. It
	// returns the same errors as Publish.
	Enqueue(ctx context.Context, group Group, messages ...*Message) error

	// Declare makes the broker keep the messages of a topic for a group: those
	// published after it returns are not lost for the group. The broker decides
	// whether a group gets earlier messages, but a group whose Queue is true
	// gets all that is in its queue.
	//
	// The relay declares all topics again every [DeclareEvery], and Consume
	// does the same when its connection was lost. Each call asks the broker,
	// does not rely on a cached answer, and creates what is missing: a group
	// that this process has had before continues where it was or, if that is no
	// longer known, begins with all that is there.
	Declare(ctx context.Context, group Group, topic string) error

	// Consume declares a topic for a group, and begins to call handle for its
	// messages, for one at a time. A message on a topic goes to every group,
	// and in each group to one of its consumers.
	//
	// handle reports whether the message is done. If it is not, or if the
	// process dies, the message is redelivered, to any consumer of the group.
	// If handle takes longer than AckWait, another consumer may get the message
	// as well. handle neither panics nor ends its goroutine. A message that
	// cannot be decoded is passed on with the parts that can, and not rejected.
	//
	// When ctx ends, no message is fetched any more, and those that were
	// fetched go back. Then, but not before handle has returned and its verdict
	// was sent, ended receives the error of that, or nil, or the reason why the
	// broker has ended the consuming by itself.
	Consume(ctx context.Context, group Group, topic string, handle func(*Message) (done bool)) (ended <-chan error, err error)

	// Topic returns the topic for a name, for example of an event. The name
	// consists of letters, digits and any of ._/:-. Different names should have
	// different topics.
	Topic(name string) string

	Close() error
}

// A Message is what a broker carries. A broker changes none that it is given.
type Message struct {
	ID       string // of the event, if it is one
	Body     []byte
	Metadata map[string]string // may be nil in a message to be sent
}

// A Group is the consumer group of one handler on the topics of events, or one
// of the handler's own queues.
type Group struct {
	Name    string        // the handler's name, with the relay's Prefix
	AckWait time.Duration // how long a consumer may be silent about a message before another gets it
	Workers int           // the number of calls of Consume for each topic

	// Queue reports whether the group has a topic of its own, the one that
	// Topic returns for its Name. Only Enqueue puts messages there: those that
	// the handler must retry, or its dead letters.
	Queue bool
}
