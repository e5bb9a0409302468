package aws

// QueueName is the queue of a group for a topic.
func QueueName(group, topic string) string { return queueName(group, topic) }

// RequestWithin is how long a request may take, with all attempts.
const RequestWithin = requestWithin

// CloseWithin is how long acknowledgements may take after Close.
const CloseWithin = closeWithin

// SettleFor is how long a topic that is gone accepts nothing.
const SettleFor = settleFor
