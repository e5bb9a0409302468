package aws

// QueueName is the queue of a group for a topic.
func QueueName(group, topic string) string { return queueName(group, topic) }
