package redis_test

import (
	"maps"
	"math"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/relay/redis"
)

const (
	idField       = "_watermill_message_uuid"
	metadataField = "metadata"
	payloadField  = "payload"
)

// What other producers write arrives with what there is of it, and the
// subscription goes on.
func TestEntriesOfOthers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		reason   string
		fields   []any
		id       string // "" for the entry's
		body     string
		metadata map[string]string
	}{
		{"nothing of ours", []any{"order", "7"}, "", "", map[string]string{"order": "7"}},
		{"no ID", []any{payloadField, "x"}, "", "x", map[string]string{}},
		{"an empty ID", []any{idField, "", payloadField, "x"}, "", "x", map[string]string{}},
		{"no body", []any{idField, "a"}, "a", "", map[string]string{}},
		{"a binary body", []any{idField, "a", payloadField, "\x00\xff\r\n"}, "a", "\x00\xff\r\n", map[string]string{}},
		{"empty names and values", []any{"", ""}, "", "", map[string]string{"": ""}},
		{"metadata that are no MessagePack", []any{idField, "a", metadataField, "{\"a\":1}"}, "a", "", map[string]string{metadataField: "{\"a\":1}"}},
		{"metadata that end early", []any{idField, "a", metadataField, "\x82\xa1a\xa1b\xa1"}, "a", "", map[string]string{"a": "b", metadataField: "\x82\xa1a\xa1b\xa1"}},
		{"metadata that promise too much", []any{metadataField, "\xdf\xff\xff\xff\xff"}, "", "", map[string]string{metadataField: "\xdf\xff\xff\xff\xff"}},
		{"values that are no strings", []any{metadataField, "\x84\xa1i\x07\xa1n\xc0\xa1b\xc3\xa1m\xff"}, "", "", map[string]string{"i": "7", "n": "", "b": "true", "m": "-1"}},
		{"a list in the metadata", []any{metadataField, "\x82\xa1a\xa1b\xa1l\x91\x01"}, "", "", map[string]string{"a": "b", metadataField: "\x82\xa1a\xa1b\xa1l\x91\x01"}},
		{"a field named like metadata", []any{metadataField, "\x81\xa1a\xa1b", "a", "c", "d", "e"}, "", "", map[string]string{"a": "b", "d": "e"}},
	}
	eachServer(t, func(t *testing.T, url string) {
		b, client := newBroker(t, url)
		topic := topicName(t)
		c := newConsumer(t, b, "careful", topic, time.Minute)
		for _, test := range tests {
			id, err := client.XAdd(t.Context(), &goredis.XAddArgs{Stream: topic, Values: test.fields}).Result()
			require.NoError(t, err)
			m := c.next()
			want := test.id
			if want == "" {
				want = id
			}
			require.Equal(t, want, m.ID, test.reason)
			require.Equal(t, test.body, string(m.Body), test.reason)
			require.Equal(t, test.metadata, m.Metadata, test.reason)
			require.True(t, m.Ack())
		}
	})
}

func TestMetadata(t *testing.T) {
	t.Parallel()
	tests := []struct{ data, want, reason string }{
		{"\x81\xa1k\xcc\xff", "255", "uint8"},
		{"\x81\xa1k\xcd\x01\x00", "256", "uint16"},
		{"\x81\xa1k\xcf\xff\xff\xff\xff\xff\xff\xff\xff", "18446744073709551615", "uint64"},
		{"\x81\xa1k\xd0\x80", "-128", "int8"},
		{"\x81\xa1k\xd2\x80\x00\x00\x00", "-2147483648", "int32"},
		{"\x81\xa1k\xd3\x80\x00\x00\x00\x00\x00\x00\x00", "-9223372036854775808", "int64"},
		{"\x81\xa1k\xca\x3f\xc0\x00\x00", "1.5", "float32"},
		{"\x81\xa1k\xcb\xbf\xf8\x00\x00\x00\x00\x00\x00", "-1.5", "float64"},
		{"\x81\xa1k\xc2", "false", "bool"},
		{"\x81\xa1k\xc4\x02\x00\xff", "\x00\xff", "binary"},
		{"\x81\xa1k\xd9\x01x", "x", "str8"},
		{"\xde\x00\x01\xa1k\xda\x00\x01x", "x", "map16, str16"},
		{"\xdf\x00\x00\x00\x01\xa1k\xdb\x00\x00\x00\x01x", "x", "map32, str32"},
	}
	for _, test := range tests {
		got, err := redis.DecodeMetadata(test.data)
		require.NoError(t, err, test.reason)
		require.Equal(t, map[string]string{"k": test.want}, got, test.reason)
	}
	long := map[string]string{strings.Repeat("k", math.MaxUint8): strings.Repeat("v", math.MaxUint16+1)}
	got, err := redis.DecodeMetadata(string(redis.EncodeMetadata(long)))
	require.NoError(t, err)
	require.Equal(t, long, got)
}

func FuzzMetadata(f *testing.F) {
	f.Add("\x82\xa1a\xa1b\xa1l\x91\x01")
	f.Add("\xdf\xff\xff\xff\xff\xc4\x00")
	f.Add(string(redis.EncodeMetadata(map[string]string{"a": "b", "": strings.Repeat("x", 300)})))
	f.Fuzz(func(t *testing.T, data string) {
		metadata, err := redis.DecodeMetadata(data)
		if err != nil {
			return
		}
		again, err := redis.DecodeMetadata(string(redis.EncodeMetadata(metadata)))
		require.NoError(t, err)
		require.Len(t, again, len(metadata))
		require.True(t, maps.Equal(metadata, again))
	})
}
