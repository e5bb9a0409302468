package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/IBM/sarama"
)

// topics creates topics, each once.
type topics struct {
	client sarama.Client
	admin  sarama.ClusterAdmin
	detail sarama.TopicDetail
	known  sync.Map      // of string to nothing
	busy   chan struct{} // has an element while a request is under way
}

func newTopics(client sarama.Client, detail sarama.TopicDetail) (*topics, error) {
	admin, err := sarama.NewClusterAdminFromClient(client)
	if err != nil {
		return nil, err
	}
	return &topics{client: client, admin: admin, detail: detail, busy: make(chan struct{}, 1)}, nil
}

// ensure creates a topic unless it exists.
func (t *topics) ensure(ctx context.Context, topic string) error {
	if _, ok := t.known.Load(topic); ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, publishWithin)
	defer cancel()
	select {
	case t.busy <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("relay/kafka: waiting for another topic: %w", ctx.Err())
	}
	done := make(chan error, 1)
	go func() { // the client takes no ctx
		err := t.create(topic)
		if err == nil {
			t.known.Store(topic, nil)
		}
		<-t.busy
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("relay/kafka: creating the topic %q: %w", topic, err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("relay/kafka: creating the topic %q: %w", topic, ctx.Err())
	}
}

// forget has the next ensure look again: somebody has deleted the topic.
func (t *topics) forget(topic string) { t.known.Delete(topic) }

func (t *topics) create(topic string) error {
	if _, ok := t.known.Load(topic); ok {
		return nil
	}
	// Who may use a topic need not be allowed to create it.
	exists, err := t.exists(topic)
	if exists || err != nil {
		return err
	}
	if err := t.admin.CreateTopic(topic, &t.detail, false); err != nil && !errors.Is(err, sarama.ErrTopicAlreadyExists) {
		return err
	}
	return t.client.RefreshMetadata(topic) // waits for the leaders
}

func (t *topics) exists(topic string) (bool, error) {
	found, err := t.admin.DescribeTopics([]string{topic})
	if err != nil {
		return false, err
	}
	for _, f := range found {
		switch {
		case f.Name != topic:
		case errors.Is(f.Err, sarama.ErrNoError), errors.Is(f.Err, sarama.ErrLeaderNotAvailable):
			return true, nil
		case !errors.Is(f.Err, sarama.ErrUnknownTopicOrPartition):
			return false, f.Err
		}
	}
	return false, nil
}
