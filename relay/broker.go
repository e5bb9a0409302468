package relay

import (
	"context"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// A Broker is what a relay needs of one: a Publisher of Watermill, and its
// Subscribers, each for one group of consumers.
//
// Publish returns nil once the broker has the messages as safely as it can,
// and creates the topic if it has to. It must accept what [message.Message]
// can hold, but may leave out metadata that begins with "ce-": all of that is
// in the body. It is called concurrently, and not after Close. It should end
// within seconds if the broker does not answer.
type Broker interface {
	message.Publisher

	// Subscriber returns a new Subscriber for a group, which the relay
	// closes. A message on a topic goes to every group that has subscribed
	// to it, and there to one of the subscriptions. What was published
	// after a group's SubscribeInitialize or Subscribe is not lost for it;
	// whether it gets what was there before is the broker's affair.
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

// A Group is that of the consumers of one handler.
type Group struct {
	Name    string        // the handler's, with the relay's Prefix
	AckWait time.Duration // how long a consumer may be silent about a message before another gets it
	Workers int           // how many subscriptions there will be for each topic
}
