package kafka

import "github.com/IBM/sarama"

// A partitioner chooses the partition by the key, as the clients in Java do.
// Messages without one go round, so that all workers have something to do; at
// random, some would wait while others have a queue.
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

// RequiresConsistency is what the client asks of messages with a key: they wait
// for their partition if that has no leader. Others take another one.
func (p partitioner) RequiresConsistency() bool { return true }

func (p partitioner) MessageRequiresConsistency(m *sarama.ProducerMessage) bool { return m.Key != nil }
