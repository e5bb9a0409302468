package kafka

import (
	"time"

	"github.com/IBM/sarama"
)

// NewConfig returns the settings that a relay has by default, for [New].
func NewConfig() *sarama.Config {
	c := sarama.NewConfig()
	c.ClientID = "tidings"
	c.Version = sarama.V2_8_0_0 // the first in which topics have an identity

	c.Net.DialTimeout = 5 * time.Second
	c.Metadata.Timeout = publishWithin
	c.Metadata.AllowAutoTopicCreation = false
	c.Metadata.RefreshFrequency = time.Minute // when partitions that were added are seen

	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Producer.Idempotent = true
	c.Net.MaxOpenRequests = 1 // for Idempotent
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
	// MaxProcessingTime remains 100 ms and has nothing to do with how long a
	// handler takes: that long does one partition hold up the fetching of others.
	c.Consumer.Group.Rebalance.Retry.Max = 10
	c.Consumer.Group.Rebalance.Retry.Backoff = 250 * time.Millisecond
	// With a heartbeat a consumer learns that another one has joined.
	c.Consumer.Group.Heartbeat.Interval = heartbeat
	c.Consumer.Group.Session.Timeout = 10 * time.Second
	return c
}

const (
	defaultMaxMessageBytes = 1_000_000
	heartbeat              = 500 * time.Millisecond
)

// producing returns config with what a publisher here relies on.
func producing(config *sarama.Config) *sarama.Config {
	c := *config
	c.Producer.Return.Successes = true
	c.Producer.Return.Errors = true
	return &c
}

// consuming returns config with what a member here relies on, which may keep a
// message for ackWait. No other member can have the same: strategies have state.
func consuming(config *sarama.Config, ackWait time.Duration) *sarama.Config {
	c := *config
	c.Producer.Idempotent = false
	c.Net.MaxOpenRequests = max(c.Net.MaxOpenRequests, 5)
	c.Metadata.Full = false // there may be thousands of topics
	c.Consumer.Return.Errors = true
	c.Consumer.Offsets.AutoCommit.Enable = true
	// Partitions move only where they have to, and all others are worked on.
	c.Consumer.Group.Rebalance.Strategy = nil
	c.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{sarama.NewBalanceStrategyCooperativeSticky()}
	// A consumer that has to give a partition away finishes its message first.
	c.Consumer.Group.Rebalance.Timeout = ackWait + 10*time.Second
	// The answer to a JoinGroup may take as long as that.
	c.Net.ReadTimeout = max(c.Net.ReadTimeout, c.Consumer.Group.Rebalance.Timeout+10*time.Second)
	return &c
}
