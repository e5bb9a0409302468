package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/IBM/sarama"
)

// topics creates topics, and notices when one was deleted.
type topics struct {
	client sarama.Client
	admin  sarama.ClusterAdmin
	detail sarama.TopicDetail
	logger *slog.Logger
	known  sync.Map // by name: string to *generation, of topics that existed
	gone   sync.Map // by name: string to nothing, of topics that may no longer exist
	busy   turn     // to send a request
}

// A generation is a topic between its creation and its deletion. The next one
// of the same name begins with offset 0 again, so an offset of one means
// nothing in the other.
type generation struct {
	id   string        // "" if the cluster does not report it
	over chan struct{} // closed when another generation was seen
}

func newTopics(client sarama.Client, detail sarama.TopicDetail, logger *slog.Logger) (*topics, error) {
	admin, err := sarama.NewClusterAdminFromClient(client)
	if err != nil {
		return nil, err
	}
	return &topics{client: client, admin: admin, detail: detail, logger: logger, busy: newTurn()}, nil
}

// ensure creates a topic unless it exists, as far as this process knows.
func (t *topics) ensure(ctx context.Context, topic string) error {
	if t.isKnown(topic) {
		return nil
	}
	return t.request(ctx, topic, func() error {
		if t.isKnown(topic) {
			return nil
		}
		return t.create(topic)
	})
}

func (t *topics) isKnown(topic string) bool {
	_, known := t.known.Load(topic)
	_, gone := t.gone.Load(topic)
	return known && !gone
}

// look creates a topic unless it exists.
func (t *topics) look(ctx context.Context, topic string) error {
	return t.request(ctx, topic, func() error { return t.create(topic) })
}

// request runs f; only one request runs at a time.
func (t *topics) request(ctx context.Context, topic string, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, publishWithin)
	defer cancel()
	if err := t.busy.run(ctx, f); err != nil {
		return fmt.Errorf("relay/kafka: creating the topic %q: %w", topic, err)
	}
	return nil
}

// forget makes the next ensure check again: the topic may have been deleted.
func (t *topics) forget(topic string) { t.gone.Store(topic, nil) }

// generation returns the topic as it was last seen.
func (t *topics) generation(topic string) *generation {
	if g, ok := t.known.Load(topic); ok {
		return g.(*generation)
	}
	return &generation{} // it never ends
}

func (t *topics) create(topic string) error {
	// A process that may use a topic need not be allowed to create it.
	id, exists, err := t.find(topic)
	if err != nil {
		return err
	}
	if !exists {
		if _, known := t.known.Load(topic); known {
			t.logger.Warn("relay/kafka: a topic was deleted, and is created again", slog.Any("error", errDeleted), slog.String("topic", topic))
		}
		if err := t.admin.CreateTopic(topic, &t.detail, false); err != nil && !errors.Is(err, sarama.ErrTopicAlreadyExists) {
			return err
		}
		if err := t.client.RefreshMetadata(topic); err != nil { // waits for the leaders
			return err
		}
		if id, _, err = t.find(topic); err != nil {
			return err
		}
	}
	t.note(topic, id)
	return nil
}

var errDeleted = errors.New("the messages in it are lost")

// note records what was found. The caller must hold busy.
func (t *topics) note(topic, id string) {
	if old, ok := t.known.Load(topic); !ok || old.(*generation).id != id {
		t.known.Store(topic, &generation{id: id, over: make(chan struct{})})
		if ok {
			t.logger.Debug("relay/kafka: a topic was deleted and created again", slog.String("topic", topic), slog.String("topic_id", id))
			close(old.(*generation).over)
		}
	}
	t.gone.Delete(topic)
}

// find returns the ID of a topic, and whether it exists.
func (t *topics) find(topic string) (id string, exists bool, err error) {
	found, err := t.admin.DescribeTopics([]string{topic})
	if err != nil {
		return "", false, err
	}
	for _, f := range found {
		switch {
		case f.Name != topic:
		case errors.Is(f.Err, sarama.ErrNoError), errors.Is(f.Err, sarama.ErrLeaderNotAvailable):
			if f.Uuid != (sarama.Uuid{}) {
				id = f.Uuid.String()
			}
			return id, true, nil
		case !errors.Is(f.Err, sarama.ErrUnknownTopicOrPartition):
			return "", false, f.Err
		}
	}
	return "", false, nil
}
