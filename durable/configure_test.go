package durable_test

import (
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/durable"
)

func TestConfigure(t *testing.T) {
	t.Parallel()
	queues := map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 1}}
	workers := river.NewWorkers()
	const forever = 100 * 365 * 24 * time.Hour
	tests := []struct {
		reason string
		config river.Config
		want   river.Config
	}{
		{"one that only publishes needs no workers", river.Config{},
			river.Config{RescueStuckJobsAfter: 2 * time.Minute, DiscardedJobRetentionPeriod: forever, CancelledJobRetentionPeriod: forever}},
		{"with -1 River deletes them at once on SQLite", river.Config{DiscardedJobRetentionPeriod: -1, CancelledJobRetentionPeriod: -1},
			river.Config{RescueStuckJobsAfter: 2 * time.Minute, DiscardedJobRetentionPeriod: forever, CancelledJobRetentionPeriod: forever}},
		{"a minute more than the timeout", river.Config{JobTimeout: 10 * time.Second},
			river.Config{JobTimeout: 10 * time.Second, RescueStuckJobsAfter: 70 * time.Second, DiscardedJobRetentionPeriod: forever, CancelledJobRetentionPeriod: forever}},
		{"without a timeout nothing tells a job that takes long from one whose process died", river.Config{JobTimeout: -1},
			river.Config{JobTimeout: -1, DiscardedJobRetentionPeriod: forever, CancelledJobRetentionPeriod: forever}},
		{"what is set stays", river.Config{Queues: queues, Workers: workers, JobTimeout: time.Hour, RescueStuckJobsAfter: 3 * time.Hour,
			DiscardedJobRetentionPeriod: time.Second, CancelledJobRetentionPeriod: 2 * time.Second, CompletedJobRetentionPeriod: 3 * time.Second},
			river.Config{Queues: queues, Workers: workers, JobTimeout: time.Hour, RescueStuckJobsAfter: 3 * time.Hour,
				DiscardedJobRetentionPeriod: time.Second, CancelledJobRetentionPeriod: 2 * time.Second, CompletedJobRetentionPeriod: 3 * time.Second}},
	}
	for _, tt := range tests {
		config := tt.config
		require.Same(t, &config, durable.Configure(&config), tt.reason)
		require.Equal(t, tt.want, config, tt.reason)
		durable.Configure(&config)
		require.Equal(t, tt.want, config, "again: %s", tt.reason)
	}
	config := durable.Configure(&river.Config{Queues: queues})
	require.NotNil(t, config.Workers)
	before := config.Workers
	require.Same(t, before, durable.Configure(config).Workers)
}
