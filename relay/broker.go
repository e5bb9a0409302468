package relay

import (
	"context"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// A Broker is what a relay needs of a message broker: a Publisher of Watermill for
// the topics of events, queues of single groups, and Subscribers, each for one group
// of consumers.
//
// All methods may be called concurrently. None is called after Close, but Close may
// be called while others still run. Each returns within seconds, also if the broker
// does not answer or does not read.
type Broker interface {
	// Publish returns nil once the broker has the messages as safely as it
	// can, for all groups that it knows for the topic. It creates the topic
	// if it has to. It must accept what [message.Message] can hold, but may
	// leave out metadata that begins with "ce-": all of that is in the body.
	// The error for a message that is larger than the broker takes wraps
	// [ErrTooLarge]. The error for one that it will never take for another
	// reason is [Permanent]. Publish heeds the context of the message.
	//
	// A topic that was deleted has lost its groups as well. Publish logs that,
	// and accepts nothing for the topic until the groups that are alive have
	// had the time to declare themselves again ([DeclareEvery]), unless the
	// topic keeps messages for groups that come later.
	message.Publisher

	// Enqueue puts messages into the queue of a group whose Queue is true,
	// and returns nil once they are in that queue, as safely as with Publish.
	// It makes the queue if it does not exist, also if somebody has deleted
	// it. Its errors are those of Publish.
	Enqueue(group Group, messages ...*message.Message) error

	// Subscriber returns a new Subscriber for a group, which the relay
	// closes. A message on a topic goes to every group that has subscribed
	// to it, and there to one of the subscriptions. What was published
	// after a group's SubscribeInitialize or Subscribe is not lost for it;
	// whether it gets what was there before is the broker's affair, but a
	// group whose Queue is true gets all that is in its queue.
	//
	// The relay calls SubscribeInitialize of all topics again every
	// [DeclareEvery], and a subscription does the same when its connection
	// was lost. Each call asks the broker, does not rely on what it remembers,
	// and makes what is missing: a group that this process has had before goes
	// on where it was or, where that is not known any more, begins with all
	// that is there.
	//
	// A message that cannot be understood is handed on with what there is of
	// it, and not refused. One that is neither acknowledged nor refused
	// (Nack) is delivered again, to any subscription of the group.
	Subscriber(ctx context.Context, group Group) (message.Subscriber, error)

	// Topic returns the topic for a name, of an event for example, which is
	// made of letters, digits and any of ._/:-. Different names should have
	// different topics.
	Topic(name string) string
}

// A Group is the consumers of one handler on the topics of events, or a queue of
// the handler's own.
type Group struct {
	Name    string        // the handler's, with the relay's Prefix
	AckWait time.Duration // how long a consumer may be silent about a message before another gets it
	Workers int           // how many subscriptions there will be for each topic

	// Queue: the group has one topic of its own, the one that Topic returns for
	// its Name. Only Enqueue puts messages there: what the handler is to try
	// again, or has given up.
	Queue bool
}
