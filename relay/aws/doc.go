// Package aws lets a relay use Amazon SNS and SQS as its broker.
//
//	import _ "github.com/tidings-go/tidings/relay/aws"
//
//	r, err := relay.Open(ctx, "aws-sns-sqs://eu-central-1", registry)
//
// # URL
//
// The host is the region; without one, that of the environment counts. The
// credentials, too, are those that the AWS SDK finds: variables, files, the role
// of the machine. In their place the URL can have an access key and its secret as
// user and password. The parameters, besides those of [relay.Target]:
//
//	endpoint   the URL of another server than that of AWS: http://localhost:4566
//	retention  how long SQS keeps a message, 1m to 336h; default 336h, two weeks
//
// For anything else that the clients of the SDK can have, make them yourself, and
// pass them to [New].
//
// The process needs these permissions: sns:CreateTopic and sns:Publish; to
// handle events also sns:Subscribe and sns:SetSubscriptionAttributes, and of SQS
// CreateQueue, GetQueueUrl, GetQueueAttributes, SetQueueAttributes, SendMessage,
// ReceiveMessage, DeleteMessage and ChangeMessageVisibility.
//
// # What there is in SNS and SQS
//
// Each topic is a standard topic of SNS. Each handler has a standard queue of SQS
// for each of its topics, which SNS copies the messages to as they are (raw
// message delivery), and which all processes with that handler receive from. They
// are made when they are used first. One that exists is left as it is, but for
// the policy of a queue: that gets a statement which lets SNS send what is on the
// topic, if it does not name the topic. What a handler is to try again, or has
// given up, is in two more queues, to which messages are sent without SNS.
//
// The topic of a name is the name with a hyphen for each dot that a letter, a
// digit or an underscore follows. A byte that is none of these becomes two
// hyphens and its hexadecimal code, and so does a hyphen: "orders.placed" is
// "orders-placed", "my-orders" is "my--2Dorders". The queue is called like the
// group, by the same rules, three hyphens, and the topic:
// "billing-mail---orders-placed". A topic over 256 bytes and a queue over 80 are
// cut, and end with a hash.
//
// The body of a message is the CloudEvent. SNS takes ten attributes: content-type,
// ce-type and ce-id, by which a filter policy can select, and other metadata as
// far as there is room. The rest of them is in the attribute tidings-more, as
// JSON. The remaining attributes of the CloudEvent are in the body alone, also
// the key of relay.KeyBy.
//
// # What is guaranteed
//
//   - A publish that has succeeded is stored by SNS in several data centres.
//     SNS delivers it to the queues, and tries for weeks if it has to.
//   - A message reaches each handler at least once. SQS may deliver it twice by
//     itself, and SNS if an answer got lost.
//   - A new handler gets what is published after its queue was subscribed.
//
// # What is not
//
//   - There is no order.
//   - A message that a handler did not get to within the retention is lost.
//     Nobody is told; watch ApproximateAgeOfOldestMessage.
//   - SNS gives up a message that it may not deliver: if the policy of a queue
//     forbids it, or a key that encrypts the queue. With a dead-letter queue of
//     its own, a subscription keeps these.
//   - A queue for events that somebody deletes is made again by the handler that
//     misses it, but what was published meanwhile is lost for that handler. SQS
//     refuses for a minute to make a queue of the same name. Retries and dead
//     letters are not lost: they are confirmed by their queue.
//   - A topic that somebody deletes loses its subscriptions. Handlers look every
//     30 s, and subscribe again. A process that publishes and finds the topic
//     gone accepts nothing for it for 40 s, so a Forward sends it later. Once the
//     topic is made again, other processes cannot tell. What they publish before a
//     handler has subscribed again, 35 s at most, does not reach that handler.
//
// # Numbers
//
// A message may have 256 KiB with its attributes, of which 2 KiB are kept for what
// is said of it when it fails; the publish of a larger one fails. What other
// programs send may fill these 2 KiB. Then the reason of a failure is left out,
// and a message with less than 600 bytes of room becomes a dead letter with the
// beginning of its body.
//
// A publish that is not answered fails after ten seconds.
//
// A worker asks for one message, and for more at once, up to ten, as long as it
// handles all within half a second. What it does not get to within a second goes
// back to the queue. When a process is killed, what it has waits for as long as
// relay.Timeout says, and a second; a worker that is closed gives it back at once.
// That wait, the visibility timeout, is 12 hours at most, so a Timeout has to be
// shorter. Each time a message is handed out counts for a redrive policy of SQS, if
// you give the queue one: leave it room.
//
// A request for messages waits in the server: for a second where there are many,
// and for up to 20 s where there was none for a while. An idle worker of a handler
// makes three requests per minute, and so does the one for what is tried again.
// Each process makes four more per minute for each handler and topic, and two for
// what is tried again, to see whether somebody has deleted them.
// Closing the relay takes up to one and a half seconds, until these requests have
// ended: a server does not notice at once when one is cut off, and would give it a
// message.
//
// A handler that is removed for good leaves its queues and subscriptions behind.
// Delete them: SNS goes on to fill them.
package aws
