package nats_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/relay"
	"github.com/tidings-go/tidings/relay/internal/brokertest"
)

// openPlain opens a broker whose new groups get what comes from then on, as
// users have it.
func openPlain(t testing.TB, url string, opts ...relay.Option) relay.Broker {
	t.Helper()
	opts = append([]relay.Option{relay.WithLogger(slog.New(slog.DiscardHandler))}, opts...)
	r, err := relay.Open(t.Context(), url, new(tidings.Registry), opts...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close(context.Background())) })
	return brokerOf(r)
}

func initialize(t testing.TB, b relay.Broker, g relay.Group, topic string) {
	t.Helper()
	require.NoError(t, subscriber(t, b, g).Declare(topic))
}

func streamConfig(t testing.TB, js jetstream.JetStream, name string) jetstream.StreamConfig {
	t.Helper()
	s, err := js.Stream(t.Context(), name)
	require.NoError(t, err)
	return s.CachedInfo().Config
}

// A queue that somebody deletes is made again as it was, and Enqueue says nothing
// else than that the message is in it.
func TestQueueMadeAgain(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	_, js := s.client()
	b := openPlain(t, s.url())
	dead := queue("g.dead")
	enqueue := func(body string) {
		require.NoError(t, b.Enqueue(t.Context(), dead, &relay.Message{ID: body, Body: []byte(body)}))
	}
	enqueue("1")
	require.NoError(t, js.DeleteStream(t.Context(), "g~dead"))
	enqueue("2")
	c := streamConfig(t, js, "g~dead")
	require.Equal(t, jetstream.WorkQueuePolicy, c.Retention)
	require.Zero(t, c.MaxAge)

	c.MaxMsgs = 1000 // what an operator has set
	_, err := js.UpdateStream(t.Context(), c)
	require.NoError(t, err)
	enqueue("3")
	require.NoError(t, js.DeleteConsumer(t.Context(), "g~dead", "g~dead"))
	enqueue("4")
	require.Equal(t, []string{"2", "3", "4"}, bodies(t, subscribe(t, subscriber(t, openPlain(t, s.url()), dead), "g.dead"), 3),
		"for a process that has not seen the queue before, and a consumer that was deleted")
	require.Error(t, b.Enqueue(t.Context(), group("g.dead"), &relay.Message{ID: "1"}), "no Queue")
}

// A stream that is made again has the settings that it had, also those of an
// operator.
func TestStreamMadeAgainAsItWas(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	_, js := s.client()
	_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "mine", Subjects: []string{"orders.placed", "other"},
		MaxMsgs: 7, MaxAge: time.Hour, Metadata: map[string]string{"owner": "shop"}})
	require.NoError(t, err)
	b := openPlain(t, s.url())
	publish(t, b, "orders.placed", 1, 1)
	before := streamConfig(t, js, "mine")
	require.NoError(t, js.DeleteStream(t.Context(), "mine"))
	publish(t, b, "orders.placed", 2, 2)
	after := streamConfig(t, js, "mine")
	require.Equal(t, "true", after.Metadata["tidings-again"])
	delete(after.Metadata, "tidings-again")
	require.Equal(t, before, after)
}

// Somebody deletes the consumer, in a stream with much from before: the group
// goes on where it was.
func TestDeletedConsumerGoesOn(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	_, js := s.client()
	b, other := openPlain(t, s.url()), openPlain(t, s.url())
	publish(t, b, "topic", 1, 10) // which the group never gets
	sub := subscriber(t, b, group("g"))
	messages := subscribe(t, sub, "topic")
	initialize(t, other, group("g"), "topic")
	publish(t, b, "topic", 11, 50)
	require.Equal(t, numbers(11, 50), bodies(t, messages, 40))
	acknowledged := func() bool {
		c, err := js.Consumer(t.Context(), "topic", "g")
		return err == nil && c.CachedInfo().NumAckPending == 0
	}
	require.Eventually(t, acknowledged, 30*time.Second, 10*time.Millisecond)
	initialize(t, b, group("g"), "topic") // as the relay does again and again
	initialize(t, other, group("g"), "topic")
	require.NoError(t, js.DeleteConsumer(t.Context(), "topic", "g"))
	publish(t, b, "topic", 51, 52)
	require.Equal(t, numbers(51, 52), bodies(t, messages, 2), "nothing from before, and nothing left out")

	// Nobody has told the broker for a while: it begins where it has last looked.
	require.NoError(t, js.DeleteConsumer(t.Context(), "topic", "g"))
	publish(t, b, "topic", 53, 53)
	got := bodies(t, messages, 1)
	for got[len(got)-1] != "53" {
		got = append(got, bodies(t, messages, 1)...)
	}
	require.Subset(t, numbers(51, 53), got)

	require.NoError(t, js.DeleteStream(t.Context(), "topic"))
	publish(t, b, "topic", 60, 61)
	require.Equal(t, numbers(60, 61), bodies(t, messages, 2), "all of a new stream")
}

// The stream is gone and made again by a publisher, before the groups know.
func TestGroupsOfAStreamMadeAgain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		had    bool // the group's process has had the consumer
		knew   bool // the publisher has seen the stream that was there before
		gets   []string
		reason string
	}{
		{"all who were there", true, true, numbers(2, 4), "all of the new stream is for a group that was there"},
		{"a publisher that was started anew", true, false, numbers(2, 4), "the consumer's process sees that the stream is a new one"},
		{"a consumer that was started anew", false, true, numbers(2, 4), "the stream says that it was made again"},
		{"everything was started anew", false, false, numbers(4, 4), "nobody knows that there was something: the group is a new one"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t)
			publisher, consumer := openPlain(t, s.url()), openPlain(t, s.url())
			publish(t, publisher, "topic", 0, 1)
			initialize(t, consumer, group("g"), "topic")
			s.wipe()
			if !c.knew {
				publisher = openPlain(t, s.url())
			}
			publish(t, publisher, "topic", 2, 3)
			if !c.had {
				consumer = openPlain(t, s.url())
			}
			sub := subscriber(t, consumer, group("g"))
			require.Eventually(t, func() bool { // once it is connected again
				return sub.Declare("topic") == nil
			}, time.Minute, 10*time.Millisecond)
			messages := subscribe(t, sub, "topic")
			publish(t, publisher, "topic", 4, 4)
			require.Equal(t, c.gets, bodies(t, messages, len(c.gets)), c.reason)
		})
	}
}

// Many processes find out at the same time.
func TestManyDeclareAtOnce(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	_, js := s.client()
	var all []relay.Broker
	for range 6 {
		b := openPlain(t, s.url())
		initialize(t, b, group("g"), "topic")
		initialize(t, b, queue("g.retry"), "g.retry")
		all = append(all, b)
	}
	publish(t, all[0], "topic", 1, 3)
	for _, gone := range []func() error{
		func() error { return js.DeleteConsumer(t.Context(), "topic", "g") },
		func() error { return js.DeleteStream(t.Context(), "topic") },
		func() error { return js.DeleteStream(t.Context(), "g~retry") },
		func() error { return js.DeleteConsumer(t.Context(), "g~retry", "g~retry") },
	} {
		require.NoError(t, gone())
		var declaring sync.WaitGroup
		for n, b := range all {
			for range 4 {
				declaring.Go(func() {
					err := b.Declare(t.Context(), group("g"), "topic")
					if err == nil {
						err = b.Enqueue(t.Context(), queue("g.retry"), &relay.Message{ID: "1"})
					}
					if err == nil && n == 0 {
						err = b.Publish(t.Context(), "topic", &relay.Message{ID: "1"})
					}
					if err != nil {
						t.Error(err)
					}
				})
			}
		}
		declaring.Wait()
	}
}

// Somebody else listens on all subjects, such as a program that shows what there
// is: no server says then that a subject has no stream, or that there is no such
// consumer to ask.
func TestWipedWithListener(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"publisher", "consumer"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := startServer(t)
			conn, js := s.client()
			_, err := conn.Subscribe(">", func(*nats.Msg) {})
			require.NoError(t, err)
			require.NoError(t, conn.Flush())
			b := openPlain(t, s.url())
			publish(t, b, "topic", 1, 1)
			var messages <-chan *brokertest.Message
			if kind == "consumer" {
				messages = subscribe(t, subscriber(t, b, group("g")), "topic")
			}
			s.wipe()
			require.Eventually(t, conn.IsConnected, time.Minute, time.Millisecond)
			if kind == "consumer" {
				require.Eventually(t, func() bool {
					_, err := js.Consumer(t.Context(), "topic", "g")
					return err == nil
				}, time.Minute, 10*time.Millisecond)
			}
			require.Eventually(t, func() bool {
				return b.Publish(t.Context(), "topic", &relay.Message{ID: "2", Body: []byte("2")}) == nil
			}, time.Minute, 10*time.Millisecond)
			if kind == "consumer" {
				require.Equal(t, "2", string(receive(t, messages).Body))
			}
		})
	}
}

// A stream that many publishers miss is asked for by one of them.
func TestManyPublishersOfAStreamThatIsGone(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	_, js := s.client()
	b := openPlain(t, s.url())
	publish(t, b, "topic", 1, 1)
	require.NoError(t, js.DeleteStream(t.Context(), "topic"))
	before, err := js.AccountInfo(t.Context())
	require.NoError(t, err)
	var publishing sync.WaitGroup
	for range 1000 {
		publishing.Go(func() {
			if err := b.Publish(t.Context(), "topic", &relay.Message{ID: "2"}); err != nil {
				t.Error(err)
			}
		})
	}
	publishing.Wait()
	after, err := js.AccountInfo(t.Context())
	require.NoError(t, err)
	require.Less(t, after.API.Total-before.API.Total, uint64(500))
}

// The one who finds out says so, once.
func TestGoneIsLogged(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	_, js := s.client()
	l := &lines{}
	b := openPlain(t, s.url(), relay.WithLogger(slog.New(slog.NewTextHandler(l, nil))))
	publish(t, b, "topic", 1, 1)
	require.Empty(t, l.String())
	require.NoError(t, js.DeleteStream(t.Context(), "topic"))
	publish(t, b, "topic", 2, 3)
	require.Equal(t, 1, strings.Count(l.String(), "level=WARN"), l.String())
	require.Contains(t, l.String(), "topic=topic")
}

// lines is a log.
type lines struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.String()
}
