package relay

import (
	"context"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// A Broker defines what a relay needs from a message broker: a Watermill
// Publisher for the topics of events, queues for single groups, and
// Subscribers, each for one consumer group.
//
// All methods may be called concurrently. None is called after Close, but Close
// may be called while others still run. Each returns within seconds, even if
// the broker does not answer or does not read.
type Broker interface {
	// Publish returns nil once the broker has the messages as safely as it can,
	// for all groups that it knows for the topic. It creates the topic if
	// necessary. It must accept what [message.Message] can hold, but may omit
	// metadata that begins with "ce-": the body contains all of that. The error
	// for a message that is larger than the broker takes wraps [ErrTooLarge].
	// The error for a message that the broker will never take for another
	// reason is [tidings.Permanent]. Publish respects the context of the message.
	//
	// A deleted topic has lost its groups as well. Publish logs that, and
	// accepts nothing for the topic until the groups that are alive have had
	// time to declare themselves again ([DeclareEvery]), unless the topic keeps
	// messages for groups that come later.
	message.Publisher

	// Enqueue puts messages into the queue of a group whose Queue is true, and
	// returns nil once they are in that queue, as safely as with Publish. It
	// creates the queue if it does not exist, even if it was deleted. It
	// returns the same errors as Publish.
	Enqueue(group Group, messages ...*message.Message) error

	// Subscriber returns a new Subscriber for a group; the relay closes it. A
	// message on a topic goes to every group that has subscribed to it, and in
	// each group to one of the subscriptions. Messages published after a
	// group's SubscribeInitialize or Subscribe are not lost for it. The broker
	// decides whether a group gets earlier messages, but a group whose Queue is
	// true gets all that is in its queue.
	//
	// The relay calls SubscribeInitialize of all topics again every
	// [DeclareEvery], and a subscription does the same when its connection was
	// lost. Each call asks the broker, does not rely on a cached answer, and
	// creates what is missing: a group that this process has had before
	// continues where it was or, if that is no longer known, begins with all
	// that is there.
	//
	// A message that cannot be decoded is passed on with the parts that can,
	// and not rejected. A message that is neither acknowledged nor rejected
	// (Nack) is redelivered, to any subscription of the group.
	Subscriber(ctx context.Context, group Group) (message.Subscriber, error)

	// Topic returns the topic for a name, for example of an event. The name
	// consists of letters, digits and any of ._/:-. Different names should have
	// different topics.
	Topic(name string) string
}

// A Group is the consumer group of one handler on the topics of events, or one
// of the handler's own queues.
type Group struct {
	Name    string        // the handler's name, with the relay's Prefix
	AckWait time.Duration // how long a consumer may be silent about a message before another gets it
	Workers int           // the number of subscriptions for each topic

	// Queue reports whether the group has a topic of its own, the one that
	// Topic returns for its Name. Only Enqueue puts messages there: those that
	// the handler must retry, or its dead letters.
	Queue bool
}
