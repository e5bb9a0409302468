package nats_test

import (
	"bytes"
	"fmt"
	"net"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/relay"
)

// All metadata arrive, and none is a command to the server.
func TestMetadata(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	b := openBroker(t, s.url())
	messages := subscribe(t, subscriber(t, b, group("g")), "topic")
	sent := &relay.Message{ID: "the id", Body: []byte{0, 1, 0xff, '\r', '\n'}}
	sent.Metadata = map[string]string{
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
		require.NoError(t, b.Publish(t.Context(), "topic", sent))
		got := receive(t, messages)
		require.Equal(t, "another", got.ID, "which is what the metadata say")
		delete(got.Metadata, "_watermill_message_uuid")
		want := map[string]string{}
		for k, v := range sent.Metadata {
			if k != "_watermill_message_uuid" {
				want[k] = v
			}
		}
		require.Equal(t, want, got.Metadata)
		require.Equal(t, sent.Body, got.Body)
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
		metadata map[string]string
	}{
		{"nothing", func() { send(nil, nil) }, nil, map[string]string{}},
		{"binary", func() { send([]byte{0xff, 0}, nil) }, []byte{0xff, 0}, map[string]string{}},
		{"several values", func() { send(nil, nats.Header{"k": {"1", "2"}, "e": {""}}) }, nil, map[string]string{"k": "1, 2", "e": ""}},
		{"looks like a word of the server", func() { send(nil, nats.Header{"Status": {"409"}, "Description": {"Consumer Deleted"}}) }, nil, map[string]string{"Status": "409", "Description": "Consumer Deleted"}},
		{"a header of ours that is not", func() { send(nil, nats.Header{"tidings-metadata": {"[1]"}}) }, nil, map[string]string{"tidings-metadata": "[1]"}},
		{"without an answer", func() { require.NoError(t, conn.Publish("topic", []byte("x"))) }, []byte("x"), map[string]string{}},
		{"headers that cannot be read", func() { sendRaw(t, s, "topic", "NATS/1.0\r\nno colon\r\n\r\n", "x") }, []byte("x"), map[string]string{}},
	} {
		c.send()
		m := receive(t, messages)
		require.True(t, bytes.Equal(c.body, m.Body), c.reason)
		require.Equal(t, c.metadata, m.Metadata, c.reason)
		require.Empty(t, m.ID, c.reason)

		require.NoError(t, b.Publish(t.Context(), "topic", &relay.Message{ID: m.ID, Body: m.Body}), "it can be passed on")
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
