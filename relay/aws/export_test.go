package aws

// QueueName is the queue of a group for a topic.
func QueueName(group, topic string) string { return queueName(group, topic) }

// SettleFor is how long a topic that is gone accepts nothing.
const SettleFor = settleFor
