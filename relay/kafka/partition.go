package kafka

import "github.com/IBM/sarama"

// A partitioner chooses the partition by the key, like the Java clients.
// Messages without a key use the partitions in turn, so that all workers are
// busy; at random, some would wait while others have a queue.
type partitioner struct{ byKey, inTurn sarama.Partitioner }

func newPartitioner(topic string) sarama.Partitioner {
	return partitioner{sarama.NewMurmur2Partitioner(topic), sarama.NewRoundRobinPartitioner(topic)}
}

var _ sarama.DynamicConsistencyPartitioner = partitioner{}

func (p partitioner) Partition(m *sarama.ProducerMessage, partitions int32) (int32, error) {
	if m.Key == nil {
		return p.inTurn.Partition(m, partitions)
	}
	return p.byKey.Partition(m, partitions)
}

// RequiresConsistency returns true: a message with a key waits for its
// partition if that has no leader. Messages without one use another partition.
func (p partitioner) RequiresConsistency() bool { return true }

func (p partitioner) MessageRequiresConsistency(m *sarama.ProducerMessage) bool { return m.Key != nil }
