package nats_test

import (
	"bytes"
	"fmt"
	"net"
	"testing"

	wmjetstream "github.com/ThreeDotsLabs/watermill-nats/v2/pkg/jetstream"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

// All metadata arrive, and none is a command to the server.
func TestMetadata(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	b := openBroker(t, s.url())
	messages := subscribe(t, subscriber(t, b, group("g")), "topic")
	sent := message.NewMessage("the id", []byte{0, 1, 0xff, '\r', '\n'})
	sent.Metadata = message.Metadata{
		"ce-id":                       "1",
		"Mixed-Case":                  "a",
		"mixed-case":                  "b",
		"empty":                       "",
		"":                            "no key",
		"with blank":                  "x",
		"with:colon":                  "x",
		"(parentheses)":               "x",
		"ключ":                        "значение",
		"blanks":                      "  x ",
		"lines":                       "1\r\n2\n\n3",
		"Nats-Expected-Last-Sequence": "77",
		"Nats-Msg-Id":                 "always the same",
		"nats-rollup":                 "all",
		"Status":                      "503",
		"tidings-metadata":            `{"a":"b"}`,
		"_watermill_message_uuid":     "another",
	}
	for range 2 {
		require.NoError(t, b.Publish("topic", sent))
		got := receive(t, messages)
		require.Equal(t, "another", got.UUID, "which is what the metadata say")
		delete(got.Metadata, "_watermill_message_uuid")
		want := message.Metadata{}
		for k, v := range sent.Metadata {
			if k != "_watermill_message_uuid" {
				want[k] = v
			}
		}
		require.Equal(t, want, got.Metadata)
		require.Equal(t, sent.Payload, got.Payload)
		got.Ack()
	}
}

// What others send is handed on, whatever it is.
func TestForeignMessages(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	b := openBroker(t, s.url())
	conn, js := s.client()
	messages := subscribe(t, subscriber(t, b, group("g")), "topic")
	send := func(body []byte, header nats.Header) {
		_, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: "topic", Data: body, Header: header})
		require.NoError(t, err)
	}
	for _, c := range []struct {
		reason   string
		send     func()
		body     []byte
		metadata message.Metadata
	}{
		{"nothing", func() { send(nil, nil) }, nil, message.Metadata{}},
		{"binary", func() { send([]byte{0xff, 0}, nil) }, []byte{0xff, 0}, message.Metadata{}},
		{"several values", func() { send(nil, nats.Header{"k": {"1", "2"}, "e": {""}}) }, nil, message.Metadata{"k": "1, 2", "e": ""}},
		{"looks like a word of the server", func() { send(nil, nats.Header{"Status": {"409"}, "Description": {"Consumer Deleted"}}) }, nil, message.Metadata{"Status": "409", "Description": "Consumer Deleted"}},
		{"a header of ours that is not", func() { send(nil, nats.Header{"tidings-metadata": {"[1]"}}) }, nil, message.Metadata{"tidings-metadata": "[1]"}},
		{"without an answer", func() { require.NoError(t, conn.Publish("topic", []byte("x"))) }, []byte("x"), message.Metadata{}},
		{"headers that cannot be read", func() { sendRaw(t, s, "topic", "NATS/1.0\r\nno colon\r\n\r\n", "x") }, []byte("x"), message.Metadata{}},
	} {
		c.send()
		m := receive(t, messages)
		require.True(t, bytes.Equal(c.body, m.Payload), c.reason)
		require.Equal(t, c.metadata, m.Metadata, c.reason)
		require.Empty(t, m.UUID, c.reason)

		require.NoError(t, b.Publish("topic", message.NewMessage(m.UUID, m.Payload)), "it can be passed on")
		m.Ack()
		receive(t, messages).Ack()
	}
}

// sendRaw publishes with headers that no client library would send.
func sendRaw(t *testing.T, s *natsServer, subject, header, body string) {
	t.Helper()
	conn, err := net.Dial("tcp", s.host())
	require.NoError(t, err)
	_, err = fmt.Fprintf(conn, "CONNECT {\"headers\":true,\"verbose\":false}\r\nHPUB %s %d %d\r\n%s%s\r\nPING\r\n", subject, len(header), len(header)+len(body), header, body)
	require.NoError(t, err)
	for read, buf := []byte(nil), make([]byte, 1024); !bytes.Contains(read, []byte("PONG")); {
		n, err := conn.Read(buf)
		require.NoError(t, err)
		read = append(read, buf[:n]...)
	}
	require.NoError(t, conn.Close())
}

// The format is that of Watermill's adapter, both ways.
func TestFormatOfWatermill(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	b := openBroker(t, s.url())
	conn, js := s.client()
	messages := subscribe(t, subscriber(t, b, group("g")), "topic")

	adapter, err := wmjetstream.NewPublisher(wmjetstream.PublisherConfig{Conn: conn})
	require.NoError(t, err)
	sent := message.NewMessage("id", []byte("body"))
	sent.Metadata.Set("k", "v")
	require.NoError(t, adapter.Publish("topic", sent))
	got := receive(t, messages)
	require.True(t, sent.Equals(got))
	got.Ack()

	require.NoError(t, b.Publish("topic", sent))
	receive(t, messages).Ack()
	stream, err := js.Stream(t.Context(), "topic")
	require.NoError(t, err)
	raw, err := stream.GetMsg(t.Context(), 2)
	require.NoError(t, err)
	read, err := wmjetstream.DefaultUnmarshaler{}.Unmarshal(stored{data: raw.Data, header: raw.Header})
	require.NoError(t, err)
	require.True(t, sent.Equals(read))
}

// stored is a message as a stream has it.
type stored struct {
	jetstream.Msg
	data   []byte
	header nats.Header
}

func (s stored) Data() []byte         { return s.data }
func (s stored) Headers() nats.Header { return s.header }
