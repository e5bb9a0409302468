// Package aws lets a relay use Amazon SNS and SQS as its broker.
//
//	import _ "github.com/tidings-go/tidings/relay/aws"
//
//	r, err := relay.Open(ctx, "aws-sns-sqs://eu-central-1", registry)
//
// # URL
//
// The host is the region; without one, the environment's applies. The AWS SDK
// also finds the credentials: in variables, files, or the role of the machine.
// Instead, the URL can have an access key and its secret as user and password.
// The parameters, besides those of [relay.Target]:
//
//	endpoint   the URL of another server than AWS: http://localhost:4566
//	retention  how long SQS keeps a message, 1m to 336h; default 336h, two weeks
//
// For any other setting of the SDK's clients, create the clients yourself, and
// pass them to [New], for [relay.New].
//
// The process needs these permissions: sns:CreateTopic and sns:Publish; to
// handle events also sns:Subscribe and sns:SetSubscriptionAttributes, and for
// SQS CreateQueue, GetQueueUrl, GetQueueAttributes, SetQueueAttributes,
// SendMessage, ReceiveMessage, DeleteMessage and ChangeMessageVisibility.
//
// # Topics and queues
//
// Each topic is a standard SNS topic. Each handler has a standard SQS queue for
// each of its topics. SNS copies the messages there unchanged (raw message
// delivery), and all processes with that handler receive from it. Topics and
// queues are created when they are first used. Existing ones are not changed,
// except the policy of a queue: it gets a statement that allows SNS to send the
// topic's messages, if it does not name the topic. The retries and dead letters
// of a handler are in two more queues, to which messages are sent without SNS.
//
// The topic of a name is the name with a hyphen for each dot that is followed
// by a letter, a digit or an underscore. Any other byte becomes two hyphens and
// its hexadecimal code, and so does a hyphen: "orders.placed" is
// "orders-placed", "my-orders" is "my--2Dorders". The name of a queue is the
// group's, by the same rules, three hyphens, and the topic:
// "billing-mail---orders-placed". A topic over 256 bytes and a queue over 80
// are cut, and end with a hash.
//
// The body of a message is the CloudEvent. SNS accepts ten attributes:
// content-type, ce-type and ce-id, by which a filter policy can select, and
// other metadata if there is room. The rest of them is in the attribute
// tidings-more, as JSON. The remaining attributes of the CloudEvent are only in
// the body, including the key of relay.WithKeyBy.
//
// # Guarantees
//
//   - A publish that has succeeded is stored by SNS in several data centres.
//     SNS delivers it to the queues, and retries for weeks if necessary.
//   - A message reaches each handler at least once. SQS may deliver it twice by
//     itself, and so may SNS if an answer got lost.
//   - A new handler gets the events published after its queue was subscribed.
//
// # Not guaranteed
//
//   - There is no order.
//   - A message that a handler has not handled within the retention is lost
//     without notice; watch ApproximateAgeOfOldestMessage.
//   - SNS gives up a message that it may not deliver: if the policy of a queue
//     forbids it, or a key that encrypts the queue. A subscription with its own
//     dead-letter queue keeps these.
//   - A deleted queue for events is created again by its handler, but messages
//     published meanwhile are lost for that handler. SQS refuses for a minute
//     to create a queue of the same name. Retries and dead letters are not
//     lost: their queue confirms them.
//   - A deleted topic loses its subscriptions. Handlers check every 30 s, and
//     subscribe again. A publishing process that finds the topic gone accepts
//     nothing for it for 40 s, so a Forward sends it later. Once the topic is
//     created again, other processes cannot tell. Events that they publish
//     before a handler has subscribed again, 35 s at most, do not reach that
//     handler.
//
// # Limits and costs
//
// A message may have 256 KiB with its attributes, of which 2 KiB are reserved
// for metadata about a failure; the publish of a larger one fails. Messages of
// other programs may fill these 2 KiB. Then the reason of a failure is omitted,
// and a message with less than 600 bytes of room becomes a dead letter with the
// beginning of its body.
//
// A publish that is not answered fails after ten seconds.
//
// A worker requests one message, and more at once, up to ten, while it handles
// all within half a second. Messages that it has not begun within a second go
// back to the queue. When a process is killed, its messages wait as long as
// relay.Timeout says, and a second; a worker that is closed returns them at
// once.
// That wait, the visibility timeout, is 12 hours at most, so a Timeout must be
// shorter. Each delivery of a message counts for a redrive policy of SQS, if
// you give the queue one: allow for that.
//
// A request for messages waits in the server: for a second if there are many,
// and for up to 20 s if there was none for a while. An idle worker of a handler
// makes three requests per minute, and so does the one for retries. Each
// process makes four more per minute for each handler and topic, and two for
// retries, to check whether they were deleted. Closing the relay takes up to
// one and a half seconds, until these requests have ended: a server does not
// notice at once when one is interrupted, and would give it a message.
//
// A handler that is removed for good leaves its queues and subscriptions
// behind. Delete them: SNS continues to fill them.
package aws
