package redis_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/relay"
	"github.com/tidings-go/tidings/relay/internal/brokertest"
	"github.com/tidings-go/tidings/relay/redis"
)

// logs keeps what is logged.
type logs struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// warnings returns the lines of level WARN that have all of these texts.
func (l *logs) warnings(texts ...string) (lines []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text.String()) {
		if strings.Contains(line, "level=WARN") && !slices.ContainsFunc(texts, func(s string) bool { return !strings.Contains(line, s) }) {
			lines = append(lines, line)
		}
	}
	return lines
}

// newLogged returns a broker that logs to l.
func newLogged(t *testing.T, client *goredis.Client, l *logs) relay.Broker {
	t.Helper()
	options := client.Options()
	b, err := redis.New(redis.Config{
		Client: &goredis.UniversalOptions{Addrs: []string{options.Addr}, DB: options.DB},
		Logger: slog.New(slog.NewTextHandler(l, nil)),
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

// declare is what a relay does every few seconds.
func declare(t *testing.T, b relay.Broker, group relay.Group, topic string) {
	t.Helper()
	s := brokertest.NewSubscriber(b, group)
	require.NoError(t, s.Declare(topic))
	require.NoError(t, s.Close())
}

// drain acknowledges messages until the last one, and returns all.
func (c *consumer) drain(last string) (bodies []string) {
	c.t.Helper()
	for {
		m := c.next()
		bodies = append(bodies, string(m.Body))
		require.True(c.t, m.Ack())
		if bodies[len(bodies)-1] == last {
			return bodies
		}
	}
}

// Where a group begins that the server does not have.
func TestBeginningOfAGroup(t *testing.T) {
	t.Parallel()
	ask := func(t *testing.T, client *goredis.Client, topic, group string) {
		read, err := client.XReadGroup(t.Context(), &goredis.XReadGroupArgs{Group: group, Consumer: "c", Streams: []string{topic, ">"}, Count: 4}).Result()
		require.NoError(t, err)
		require.NoError(t, client.XAck(t.Context(), topic, group, read[0].Messages[0].ID, read[0].Messages[1].ID).Err())
	}
	destroy := func(t *testing.T, client *goredis.Client, topic, group string) {
		require.NoError(t, client.XGroupDestroy(t.Context(), topic, group).Err())
	}
	tests := []struct {
		reason string
		group  relay.Group
		before func(t *testing.T, b relay.Broker, client *goredis.Client, topic string)
		first  string
	}{
		{"a new group begins with what comes", relay.Group{Name: "group"}, nil, "after"},
		{"a queue has only what is its own", relay.Group{Queue: true}, nil, "0"},
		{
			"one that this process has had goes on with what it had in hand", relay.Group{Name: "group"},
			func(t *testing.T, b relay.Broker, client *goredis.Client, topic string) {
				require.NoError(t, client.XGroupCreate(t.Context(), topic, "group", "0").Err())
				ask(t, client, topic, "group") // four, of which two are acknowledged
				declare(t, b, relay.Group{Name: "group"}, topic)
				destroy(t, client, topic, "group")
			}, "2",
		},
		{
			"one that had read nothing begins at the start", relay.Group{Name: "group"},
			func(t *testing.T, b relay.Broker, client *goredis.Client, topic string) {
				require.NoError(t, client.XGroupCreate(t.Context(), topic, "group", "0").Err())
				declare(t, b, relay.Group{Name: "group"}, topic)
				destroy(t, client, topic, "group")
			}, "0",
		},
		{
			"in another stream everything is new", relay.Group{Name: "group"},
			func(t *testing.T, b relay.Broker, client *goredis.Client, topic string) {
				declare(t, b, relay.Group{Name: "group"}, topic)
				require.NoError(t, client.Del(t.Context(), topic).Err())
				publish(t, b, topic, "first of the other")
			}, "first of the other",
		},
		{
			"also if the clock of the other server is behind", relay.Group{Name: "group"},
			func(t *testing.T, b relay.Broker, client *goredis.Client, topic string) {
				declare(t, b, relay.Group{Name: "group"}, topic)
				require.NoError(t, client.Del(t.Context(), topic).Err())
				time.Sleep(2 * time.Millisecond) // an ID is a millisecond, and "now" would have the last one's in the same
				require.NoError(t, client.XAdd(t.Context(), &goredis.XAddArgs{Stream: topic, ID: "1-1", Values: []any{"payload", "from 1970"}}).Err())
				publish(t, b, topic, "now")
			}, "from 1970",
		},
		{
			"the server has forgotten the queue's group", relay.Group{Queue: true},
			func(t *testing.T, b relay.Broker, client *goredis.Client, topic string) {
				declare(t, b, relay.Group{Name: topic, Queue: true}, topic)
				destroy(t, client, topic, topic)
			}, "0",
		},
	}
	eachServer(t, func(t *testing.T, url string) {
		for _, test := range tests {
			t.Run(test.reason, func(t *testing.T) {
				t.Parallel()
				b, client := newBroker(t, url)
				topic := topicName(t)
				if test.group.Queue {
					test.group.Name = topic
				}
				for n := range 5 {
					publish(t, b, topic, fmt.Sprint(n))
				}
				if test.before != nil {
					test.before(t, b, client, topic)
				}
				declare(t, b, test.group, topic)
				publish(t, b, topic, "after")
				c := subscribe(t, b, test.group, topic)
				require.Equal(t, test.first, c.drain("after")[0])
			})
		}
	})
}

// subscribe returns a consumer of a group.
func subscribe(t *testing.T, b relay.Broker, group relay.Group, topic string) *consumer {
	t.Helper()
	s := brokertest.NewSubscriber(b, group)
	messages, err := s.Subscribe(context.WithoutCancel(t.Context()), topic)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return &consumer{t, s, messages}
}

// What is in a queue stays until it is acknowledged, whoever has looked at it or
// not, and no longer.
func TestQueue(t *testing.T) {
	t.Parallel()
	eachServer(t, func(t *testing.T, url string) {
		_, client := newBroker(t, url)
		options := client.Options()
		b, err := redis.New(redis.Config{Client: &goredis.UniversalOptions{Addrs: []string{options.Addr}, DB: options.DB}, MaxLen: 10})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, b.Close()) })
		queue := relay.Group{Name: topicName(t), AckWait: time.Minute, Workers: 1, Queue: true}
		const messages = 500
		enqueue := func(from int) {
			for n := range messages {
				body := fmt.Sprint(from + n)
				require.NoError(t, b.Enqueue(t.Context(), queue, &relay.Message{ID: body, Body: []byte(body)}))
			}
		}
		length := func() int64 { return client.XLen(t.Context(), queue.Name).Val() }
		enqueue(0)
		require.EqualValues(t, messages, length(), "the limit of streams is for events")
		c := subscribe(t, b, queue, queue.Name)
		require.Len(t, c.drain(fmt.Sprint(messages/2-1)), messages/2)
		require.Eventually(t, func() bool { return length() == messages/2 }, patience, 10*time.Millisecond)
		require.False(t, redis.Trims(b, queue.Name))
		require.NoError(t, client.Del(t.Context(), queue.Name).Err())
		enqueue(messages)
		got := c.drain(fmt.Sprint(2*messages - 1))
		require.Contains(t, got, fmt.Sprint(messages), "the first after the queue was deleted")
		require.GreaterOrEqual(t, len(got), messages)
		c.close()
		require.Zero(t, length())
	})
}

// While a group is missing its stream is left alone, also by a process that has
// nothing to do with that group.
func TestTrimWaitsForAGroup(t *testing.T) {
	t.Parallel()
	eachServer(t, func(t *testing.T, url string) {
		_, client := newBroker(t, url)
		l := &logs{}
		publisher := newLogged(t, client, l)
		redis.SetTrim(publisher, 0, time.Hour)
		topic := topicName(t)
		create := func(group string) {
			require.NoError(t, client.XGroupCreateMkStream(t.Context(), topic, group, "0").Err())
		}
		create("a")
		create("b")
		const messages = 1000
		fill := func() int64 {
			for n := range messages {
				publish(t, publisher, topic, fmt.Sprint(n))
			}
			return client.XLen(t.Context(), topic).Val()
		}
		read := func(group string) {
			streams, err := client.XReadGroup(t.Context(), &goredis.XReadGroupArgs{Group: group, Consumer: "c", Streams: []string{topic, ">"}, Count: 10 * messages, NoAck: true}).Result()
			require.NoError(t, err)
			require.NotEmpty(t, streams[0].Messages)
		}
		trimmed := func() int64 {
			redis.Trim(t.Context(), publisher, topic)
			return client.XLen(t.Context(), topic).Val()
		}
		fill()
		require.EqualValues(t, messages, trimmed())
		require.NoError(t, client.Del(t.Context(), topic).Err())
		fill()
		require.EqualValues(t, messages, trimmed(), "both are missing")
		create("a")
		read("a")
		require.EqualValues(t, messages, trimmed(), "b is missing")
		require.Len(t, l.warnings("a group is missing", "group=b", "topic="+topic), 1)
		create("b")
		require.EqualValues(t, messages, trimmed(), "b has read nothing")
		read("b")
		require.Less(t, trimmed(), int64(messages))

		require.NoError(t, client.XGroupDestroy(t.Context(), topic, "b").Err())
		read2 := fill()
		read("a")
		require.Equal(t, read2, trimmed(), "somebody may have destroyed b by mistake")
		redis.SetTrim(publisher, 0, 0)
		trimmed() // notes that b is not coming back
		require.Less(t, trimmed(), int64(messages))
	})
}

// A process that has just begun does not know whether groups are missing.
func TestTrimSettles(t *testing.T) {
	t.Parallel()
	eachServer(t, func(t *testing.T, url string) {
		b, client := newBroker(t, url)
		redis.SetTrim(b, time.Hour, time.Hour)
		topic := topicName(t)
		require.NoError(t, client.XGroupCreateMkStream(t.Context(), topic, "a", "0").Err())
		const messages = 500
		for n := range messages {
			publish(t, b, topic, fmt.Sprint(n))
		}
		require.NoError(t, client.XReadGroup(t.Context(), &goredis.XReadGroupArgs{Group: "a", Consumer: "c", Streams: []string{topic, ">"}, Count: messages, NoAck: true}).Err())
		redis.Trim(t.Context(), b, topic)
		require.EqualValues(t, messages, client.XLen(t.Context(), topic).Val())
		redis.SetTrim(b, 0, time.Hour)
		redis.Trim(t.Context(), b, topic)
		require.Less(t, client.XLen(t.Context(), topic).Val(), int64(messages))
	})
}

// Each process says what it finds gone, once.
func TestLossIsLogged(t *testing.T) {
	t.Parallel()
	eachServer(t, func(t *testing.T, url string) {
		_, client := newBroker(t, url)
		topic := topicName(t)
		group := relay.Group{Name: "group", AckWait: time.Minute}

		l := &logs{}
		publisher := newLogged(t, client, l)
		publish(t, publisher, topic, "1", "2")
		require.Empty(t, l.warnings())
		require.NoError(t, client.Del(t.Context(), topic).Err())
		publish(t, publisher, topic, "3", "4")
		require.Len(t, l.warnings("lost a stream", "topic="+topic), 1)
		require.EqualValues(t, 2, client.XLen(t.Context(), topic).Val())

		l = &logs{}
		subscriber := newLogged(t, client, l)
		declare(t, subscriber, group, topic)
		declare(t, subscriber, group, topic)
		require.Empty(t, l.warnings())
		require.NoError(t, client.XGroupDestroy(t.Context(), topic, group.Name).Err())
		declare(t, subscriber, group, topic)
		declare(t, subscriber, group, topic)
		require.Len(t, l.warnings("lost a group", "group=group", "topic="+topic), 1)

		if strings.Contains(t.Name(), "miniredis") {
			return // it keeps what is deleted pending
		}
		publish(t, subscriber, topic, "5", "6")
		ids, err := client.XRevRangeN(t.Context(), topic, "+", "-", 2).Result()
		require.NoError(t, err)
		require.NoError(t, client.XReadGroup(t.Context(), &goredis.XReadGroupArgs{Group: group.Name, Consumer: "dead", Streams: []string{topic, ">"}}).Err())
		require.NoError(t, client.XTrimMinID(t.Context(), topic, ids[0].ID).Err())
		redis.Trim(t.Context(), subscriber, topic)
		require.Len(t, l.warnings("had not handled", "group=group", "topic="+topic), 1)
		group.AckWait = 100 * time.Millisecond
		require.Equal(t, "6", string(subscribe(t, subscriber, group, topic).next().Body))
		require.NotEmpty(t, l.warnings("deleted before it was handled", "entry="+ids[1].ID))
	})
}

// A server that may remove whole streams is one to be told of.
func TestEvictionIsLogged(t *testing.T) {
	t.Parallel()
	tests := []struct {
		policy, memory string
		want           int
		reason         string
	}{
		{"noeviction", "100mb", 0, "publishing fails"},
		{"volatile-lru", "100mb", 0, "streams do not expire"},
		{"allkeys-lru", "0", 0, "without a limit nothing is removed"},
		{"allkeys-lru", "100mb", 1, "the least recently used stream goes"},
		{"allkeys-random", "100mb", 1, "any stream goes"},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			t.Parallel()
			s := newChild(t, "--maxmemory", test.memory, "--maxmemory-policy", test.policy)
			_, client := newBroker(t, s.url())
			l := &logs{}
			b := newLogged(t, client, l)
			for range 2 {
				declare(t, b, relay.Group{Name: "group"}, "topic")
			}
			require.Len(t, l.warnings("when its memory is full", "maxmemory_policy="+test.policy), test.want)
			l = &logs{}
			require.NoError(t, opened(t, s.url(), relay.WithLogger(slog.New(slog.NewTextHandler(l, nil)))))
			require.Len(t, l.warnings("when its memory is full"), test.want)
		})
	}
}
