package redis_test

import (
	"fmt"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/relay/redis"
)

// What every group has acknowledged is removed, and nothing else.
func TestTrim(t *testing.T) {
	t.Parallel()
	eachServer(t, func(t *testing.T, url string) {
		b, client := newBroker(t, url)
		redis.SetTrim(b, 0, time.Minute)
		topic := topicName(t)
		length := func() int64 {
			redis.Trim(t.Context(), b, topic)
			n, err := client.XLen(t.Context(), topic).Result()
			require.NoError(t, err)
			return n
		}
		redis.Trim(t.Context(), b, topic)
		for _, group := range []string{"a", "b"} {
			require.NoError(t, client.XGroupCreateMkStream(t.Context(), topic, group, "$").Err())
		}
		const messages, node = 1000, 100 // a server removes whole nodes
		for n := range messages {
			publish(t, b, topic, fmt.Sprint(n))
		}
		require.EqualValues(t, messages, length(), "neither group has read anything")
		read := func(group string, count int64) []string {
			streams, err := client.XReadGroup(t.Context(), &goredis.XReadGroupArgs{Group: group, Consumer: "c", Streams: []string{topic, ">"}, Count: count}).Result()
			require.NoError(t, err)
			var ids []string
			for _, m := range streams[0].Messages {
				ids = append(ids, m.ID)
			}
			return ids
		}
		a, bs := read("a", messages), read("b", messages/2)
		require.EqualValues(t, messages, length(), "nothing is acknowledged")
		require.NoError(t, client.XAck(t.Context(), topic, "a", a...).Err())
		require.EqualValues(t, messages, length(), "b has acknowledged nothing")
		require.NoError(t, client.XAck(t.Context(), topic, "b", bs[1:]...).Err())
		require.EqualValues(t, messages, length(), "b has not acknowledged the first")
		require.NoError(t, client.XAck(t.Context(), topic, "b", bs[0]).Err())
		left := length()
		require.GreaterOrEqual(t, left, int64(messages/2), "b has yet to read these")
		require.Less(t, left, int64(messages/2+2*node))
		rest := read("b", messages)
		require.Len(t, rest, messages/2)
		require.NoError(t, client.XAck(t.Context(), topic, "b", rest...).Err())
		require.Less(t, length(), int64(2*node))
	})
}

// A stream that nobody reads keeps its newest entries.
func TestTrimWithoutGroup(t *testing.T) {
	t.Parallel()
	eachServer(t, func(t *testing.T, url string) {
		b, client := newBroker(t, url)
		redis.SetTrim(b, 0, time.Minute)
		topic := topicName(t)
		pipe := client.Pipeline()
		for range redis.KeptWithoutGroup + 1000 {
			pipe.XAdd(t.Context(), &goredis.XAddArgs{Stream: topic, Values: []any{"a", "b"}})
		}
		_, err := pipe.Exec(t.Context())
		require.NoError(t, err)
		redis.Trim(t.Context(), b, topic)
		n, err := client.XLen(t.Context(), topic).Result()
		require.NoError(t, err)
		require.GreaterOrEqual(t, n, int64(redis.KeptWithoutGroup))
		require.Less(t, n, int64(redis.KeptWithoutGroup+200))
	})
}

// It happens by itself.
func TestTrimmer(t *testing.T) {
	t.Parallel()
	eachServer(t, func(t *testing.T, url string) {
		b, client := newBroker(t, url)
		topic := topicName(t)
		c := newConsumer(t, b, "group", topic, time.Minute)
		const messages = 500
		for n := range messages {
			publish(t, b, topic, fmt.Sprint(n))
			require.True(t, c.next().Ack())
		}
		require.Eventually(t, func() bool {
			n, err := client.XLen(t.Context(), topic).Result()
			return err == nil && n < 200
		}, 2*patience, 50*time.Millisecond)
	})
}

func TestMaxLen(t *testing.T) {
	t.Parallel()
	eachServer(t, func(t *testing.T, url string) {
		_, client := newBroker(t, url)
		options := client.Options()
		b, err := redis.New(redis.Config{Client: &goredis.UniversalOptions{Addrs: []string{options.Addr}, DB: options.DB}, MaxLen: 100})
		require.NoError(t, err)
		defer func() { require.NoError(t, b.Close()) }()
		topic := topicName(t)
		require.NoError(t, client.XGroupCreateMkStream(t.Context(), topic, "group", "$").Err())
		for n := range 500 {
			publish(t, b, topic, fmt.Sprint(n))
		}
		n, err := client.XLen(t.Context(), topic).Result()
		require.NoError(t, err)
		require.GreaterOrEqual(t, n, int64(100))
		require.Less(t, n, int64(300))
	})
}
