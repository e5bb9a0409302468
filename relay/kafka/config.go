package kafka

import (
	"time"

	"github.com/IBM/sarama"
)

// NewClientConfig returns the default settings of the client, see [Config].
func NewClientConfig() *sarama.Config {
	c := sarama.NewConfig()
	c.ClientID = "tidings"
	c.Version = sarama.V2_8_0_0 // the first in which topics have an identity

	c.Net.DialTimeout = 5 * time.Second
	c.Metadata.Timeout = publishWithin
	c.Metadata.AllowAutoTopicCreation = false
	c.Metadata.RefreshFrequency = time.Minute // until new partitions are seen

	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Producer.Idempotent = true
	c.Net.MaxOpenRequests = 1 // required by Idempotent
	c.Producer.MaxMessageBytes = defaultMaxMessageBytes
	c.Producer.Partitioner = newPartitioner
	c.Producer.Timeout = publishWithin
	// Until a new leader is elected, or a broker has restarted.
	c.Producer.Retry.Max = 20
	c.Producer.Retry.Backoff = 250 * time.Millisecond

	c.Consumer.Offsets.Initial = sarama.OffsetOldest
	c.Consumer.Offsets.AutoCommit.Interval = 200 * time.Millisecond
	c.Consumer.IsolationLevel = sarama.ReadCommitted
	// A broker answers the requests of a connection one by one, so a fetch that
	// waits for messages delays commits and heartbeats.
	c.Consumer.MaxWaitTime = 250 * time.Millisecond
	c.Consumer.Retry.Backoff = 500 * time.Millisecond
	// MaxProcessingTime stays at 100 ms. It does not limit a handler: it is how
	// long one partition may delay the fetching of others.
	c.Consumer.Group.Rebalance.Retry.Max = 10
	c.Consumer.Group.Rebalance.Retry.Backoff = 250 * time.Millisecond
	// By a heartbeat a consumer learns that another one has joined.
	c.Consumer.Group.Heartbeat.Interval = heartbeat
	c.Consumer.Group.Session.Timeout = 10 * time.Second
	return c
}

const (
	defaultMaxMessageBytes = 1_000_000
	heartbeat              = 500 * time.Millisecond
)

// producing returns config with the settings that the publisher relies on.
func producing(config *sarama.Config) *sarama.Config {
	c := *config
	c.Producer.Return.Successes = true
	c.Producer.Return.Errors = true
	return &c
}

// consuming returns config with the settings that a member relies on, which may
// keep a message for ackWait. Members cannot share a config: strategies have
// state.
func consuming(config *sarama.Config, ackWait time.Duration) *sarama.Config {
	c := *config
	c.Producer.Idempotent = false
	c.Net.MaxOpenRequests = max(c.Net.MaxOpenRequests, 5)
	c.Metadata.Full = false // there may be thousands of topics
	c.Consumer.Return.Errors = true
	c.Consumer.Offsets.AutoCommit.Enable = true
	// Partitions move only where necessary; work on all others continues.
	c.Consumer.Group.Rebalance.Strategy = nil
	c.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{sarama.NewBalanceStrategyCooperativeSticky()}
	// A consumer that must give a partition away finishes its message first.
	c.Consumer.Group.Rebalance.Timeout = ackWait + 10*time.Second
	// The answer to a JoinGroup may take as long as that.
	c.Net.ReadTimeout = max(c.Net.ReadTimeout, c.Consumer.Group.Rebalance.Timeout+10*time.Second)
	return &c
}
