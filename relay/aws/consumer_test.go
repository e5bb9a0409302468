package aws_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/relay"
	"github.com/tidings-go/tidings/relay/aws"
	"github.com/tidings-go/tidings/relay/internal/brokertest"
)

// In all of these AckWait is an hour: what comes again was given back.

func TestNackBringsTheMessageAtOnce(t *testing.T) {
	t.Parallel()
	b, topic := newBroker(t)
	_, messages := subscribe(t, b, group(t), topic)
	publish(t, b, topic, "one")
	for range 3 {
		require.True(t, next(t, messages).Nack())
	}
	require.True(t, next(t, messages).Ack())
}

func TestCloseGivesBack(t *testing.T) {
	t.Parallel()
	b, topic := newBroker(t)
	g := group(t)
	s, messages := subscribe(t, b, g, topic)
	publish(t, b, topic, "one", "two", "three")
	m := next(t, messages)
	begin := time.Now()
	require.NoError(t, s.Close())
	require.Less(t, time.Since(begin), 4*aws.CloseWithin) // on a slow machine; AckWait is an hour
	for range messages {
		require.FailNow(t, "a message after Close")
	}
	m.Ack() // too late, and without harm
	require.NoError(t, s.Close(), "again")
	_, err := s.Subscribe(t.Context(), topic)
	require.ErrorContains(t, err, "closed")

	_, messages = subscribe(t, b, g, topic)
	wantBodies(t, messages, "one", "two", "three")
}

func TestCloseWhenNobodyReads(t *testing.T) {
	t.Parallel()
	b, topic := newBroker(t)
	g := group(t)
	s, messages := subscribe(t, b, g, topic)
	publish(t, b, topic, "one")
	require.Eventually(t, func() bool { return visible(t, g, topic) == 0 }, patience, 10*time.Millisecond, "the message waits in the subscriber")
	require.NoError(t, s.Close())
	for range messages {
		require.FailNow(t, "a message after Close")
	}
	_, messages = subscribe(t, b, g, topic)
	wantBodies(t, messages, "one")
}

// visible returns how many messages of a group's queue nobody has.
func visible(t *testing.T, g relay.Group, topic string) int {
	t.Helper()
	attributes := attributesOf(t, g, topic, sqstypes.QueueAttributeNameApproximateNumberOfMessages)
	n := 0
	_, err := fmt.Sscan(attributes["ApproximateNumberOfMessages"], &n)
	require.NoError(t, err)
	return n
}

func attributesOf(t *testing.T, g relay.Group, topic string, names ...sqstypes.QueueAttributeName) map[string]string {
	t.Helper()
	_, toSQS := clients(t, server(t))
	u, err := toSQS.GetQueueUrl(t.Context(), &sqs.GetQueueUrlInput{QueueName: sdk.String(aws.QueueName(g.Name, topic))})
	require.NoError(t, err)
	out, err := toSQS.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: u.QueueUrl, AttributeNames: names})
	require.NoError(t, err)
	return out.Attributes
}

func TestEndOfContextEndsSubscription(t *testing.T) {
	t.Parallel()
	b, topic := newBroker(t)
	g := group(t)
	s := brokertest.NewSubscriber(b, g)
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	messages, err := s.Subscribe(ctx, topic)
	require.NoError(t, err)
	_, other := subscribe(t, b, g, topic)
	cancel()
	for range messages {
		require.FailNow(t, "there is no message")
	}
	publish(t, b, topic, "one", "two")
	wantBodies(t, other, "one", "two")
}

// A worker that is quick gets several messages at once, and what it does not get
// to within a moment others get.
func TestSlowWorkerKeepsNothing(t *testing.T) {
	t.Parallel()
	b, topic := newBroker(t)
	g := group(t)
	_, first := subscribe(t, b, g, topic)
	var bodies []string
	for i := range 60 {
		bodies = append(bodies, fmt.Sprint(i))
	}
	publish(t, b, topic, bodies...)
	seen := map[string]bool{}
	for len(seen) < 40 { // any of them: what this worker gives back on a slow machine loses its place
		m := next(t, first)
		seen[string(m.Body)] = true
		m.Ack()
	}
	held := next(t, first)
	seen[string(held.Body)] = true
	_, second := subscribe(t, b, g, topic)
	wantBodies(t, second, slices.DeleteFunc(bodies, func(body string) bool { return seen[body] })...)
	require.True(t, held.Ack())
}

func TestQueue(t *testing.T) {
	t.Parallel()
	b, topic := newBroker(t)
	g := group(t)
	_, _ = subscribe(t, b, g, topic)
	attributes := attributesOf(t, g, topic, sqstypes.QueueAttributeNameAll)
	require.Equal(t, "1209600", attributes["MessageRetentionPeriod"])
	require.Contains(t, attributes["Policy"], `"Resource":"`+attributes["QueueArn"]+`"`)
	require.Contains(t, attributes["Policy"], ":"+topic+`"`)
}

// A queue that exists keeps what somebody has set, and SNS may send to it.
func TestQueueThatExists(t *testing.T) {
	t.Parallel()
	b, topic := newBroker(t)
	g := group(t)
	_, toSQS := clients(t, server(t))
	_, err := toSQS.CreateQueue(t.Context(), &sqs.CreateQueueInput{
		QueueName: sdk.String(aws.QueueName(g.Name, topic)),
		Attributes: map[string]string{
			"MessageRetentionPeriod": "3600",
			"Policy":                 `{"Version":"2012-10-17","Statement":{"Sid":"theirs","Effect":"Deny","Principal":"*","Action":"*","Resource":"*"}}`,
		},
	})
	require.NoError(t, err)
	for range 2 {
		s, messages := subscribe(t, b, g, topic)
		publish(t, b, topic, "one")
		wantBodies(t, messages, "one")
		require.NoError(t, s.Close())
	}
	attributes := attributesOf(t, g, topic, sqstypes.QueueAttributeNameAll)
	require.Equal(t, "3600", attributes["MessageRetentionPeriod"])
	require.Contains(t, attributes["Policy"], `"Sid":"theirs"`)
	require.Equal(t, 1, strings.Count(attributes["Policy"], "sns.amazonaws.com"))
}

// A subscription makes a queue again that somebody has deleted.
func TestQueueIsDeleted(t *testing.T) {
	t.Parallel()
	b, topic := newBroker(t)
	g := group(t)
	_, messages := subscribe(t, b, g, topic)
	_, toSQS := clients(t, server(t))
	removeQueue(t, toSQS, aws.QueueName(g.Name, topic))
	require.Eventually(t, func() bool {
		publish(t, b, topic, "again")
		select {
		case m := <-messages:
			return m.Ack()
		case <-time.After(100 * time.Millisecond):
			return false
		}
	}, 2*patience, 50*time.Millisecond)
}

// warnings counts the lines of a log.
type warnings struct{ atomic.Int64 }

func (w *warnings) Write(line []byte) (int, error) {
	w.Add(1)
	return len(line), nil
}

// SNS takes messages for a topic that was just made, and that nobody has
// subscribed to again. They are refused until all who run have had the time.
func TestTopicIsDeleted(t *testing.T) {
	t.Parallel()
	toSNS, toSQS := clients(t, server(t))
	var warned warnings
	b, err := aws.New(aws.Config{SNS: toSNS, SQS: toSQS, Logger: slog.New(slog.NewTextHandler(&warned, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	other, topic := newBroker(t)
	s, messages := subscribe(t, other, group(t), topic)
	publish(t, b, topic, "before")
	next(t, messages).Ack()
	removeTopic(t, toSNS, topic)

	begin := time.Now()
	refused := b.Publish(t.Context(), topic, &relay.Message{Body: []byte("into the void")})
	require.ErrorContains(t, refused, "NotFound")
	err = b.Publish(t.Context(), topic, &relay.Message{Body: []byte("into the void")})
	var later interface{ RetryAfter() time.Duration }
	require.ErrorAs(t, err, &later)
	require.ErrorContains(t, err, fmt.Sprintf("the topic was deleted, and messages are accepted again in %v", later.RetryAfter().Round(time.Second)))
	require.LessOrEqual(t, later.RetryAfter(), aws.SettleFor)
	require.GreaterOrEqual(t, later.RetryAfter(), aws.SettleFor-time.Since(begin))
	require.EqualValues(t, 1, warned.Load())

	// What a relay does every few seconds; this process does not know of the loss.
	initialize := s.Declare
	deadline := time.Now().Add(aws.SettleFor + patience)
	for err = refused; err != nil; err = b.Publish(t.Context(), topic, &relay.Message{Body: []byte("after")}) {
		require.NoError(t, initialize(topic))
		require.True(t, time.Now().Before(deadline), "it does not accept messages again: %v", err)
		time.Sleep(time.Second)
	}
	require.Equal(t, "after", string(next(t, messages).Body))
}

// The process that finds out has its own groups look at once.
func TestTopicIsDeletedAndSubscribedAgainAtOnce(t *testing.T) {
	t.Parallel()
	b, topic := newBroker(t)
	s, messages := subscribe(t, b, group(t), topic)
	toSNS, _ := clients(t, server(t))
	removeTopic(t, toSNS, topic)
	require.ErrorContains(t, b.Publish(t.Context(), topic, &relay.Message{Body: []byte("into the void")}), "NotFound")
	require.NoError(t, s.Declare(topic))
	other, _ := newBroker(t) // which does not know either, and for which it works
	publish(t, other, topic, "again")
	require.Equal(t, "again", string(next(t, messages).Body))
}

// A message for a queue of a handler's own is in that queue, whatever somebody
// has deleted meanwhile.
func TestEnqueue(t *testing.T) {
	t.Parallel()
	b, _ := newBroker(t)
	toSNS, toSQS := clients(t, server(t))
	g := group(t)
	g.Queue = true
	topic := b.Topic(g.Name)
	name := aws.QueueName(g.Name, topic)
	m := &relay.Message{ID: uuid.NewString(), Body: []byte("first"), Metadata: map[string]string{"tidings-reason": "a reason"}}
	require.NoError(t, b.Enqueue(t.Context(), g, m))
	removeQueue(t, toSQS, name)
	m = &relay.Message{ID: m.ID, Body: []byte("second"), Metadata: m.Metadata}
	require.NoError(t, b.Enqueue(t.Context(), g, m))
	require.Equal(t, "1209600", attributesOf(t, g, topic, sqstypes.QueueAttributeNameAll)["MessageRetentionPeriod"])

	// The group begins with what is there.
	_, messages := subscribe(t, b, g, topic)
	got := next(t, messages)
	require.Equal(t, "second", string(got.Body))
	require.Equal(t, m.ID, got.ID)
	require.Equal(t, m.Metadata, got.Metadata)
	require.True(t, got.Ack())

	list, err := toSNS.ListTopics(t.Context(), &sns.ListTopicsInput{})
	require.NoError(t, err)
	for _, other := range list.Topics {
		require.NotContains(t, sdk.ToString(other.TopicArn), topic, "SNS has nothing to do with it")
	}
}

// A server, or a queue, may have a limit that is lower.
func TestTooLargeForTheServer(t *testing.T) {
	t.Parallel()
	b, topic := newBroker(t)
	g := group(t)
	g.Queue = true
	large := &relay.Message{Body: []byte(strings.Repeat("x", 256<<10))}
	err := b.Publish(t.Context(), topic, large)
	require.ErrorIs(t, err, relay.ErrTooLarge)
	require.ErrorIs(t, b.Enqueue(t.Context(), g, large), relay.ErrTooLarge)
	failed := &relay.Message{Body: large.Body, Metadata: map[string]string{"tidings-attempt": "5"}}
	require.ErrorIs(t, b.Enqueue(t.Context(), g, failed), relay.ErrTooLarge)

	_, toSQS := clients(t, server(t))
	_, err = toSQS.CreateQueue(t.Context(), &sqs.CreateQueueInput{
		QueueName:  sdk.String(aws.QueueName(g.Name, b.Topic(g.Name))),
		Attributes: map[string]string{"MaximumMessageSize": "2048"},
	})
	require.NoError(t, err)
	require.ErrorIs(t, b.Enqueue(t.Context(), g, &relay.Message{Body: []byte(strings.Repeat("x", 4096))}), relay.ErrTooLarge)
	require.NoError(t, b.Enqueue(t.Context(), g, &relay.Message{Body: []byte("small")}))
}

// A server that takes connections and says nothing holds nobody up for long.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	toSNS, toSQS := clients(t, "aws-sns-sqs://a:b@us-east-1?endpoint=http://"+l.Addr().String())
	b, err := aws.New(aws.Config{SNS: toSNS, SQS: toSQS})
	require.NoError(t, err)
	g := group(t)
	own := relay.Group{Name: g.Name + ".retry", AckWait: time.Minute, Workers: 1, Queue: true}
	s := brokertest.NewSubscriber(b, g)
	var calls sync.WaitGroup
	for _, tt := range []struct {
		name string
		call func() error
	}{
		{"Publish", func() error { return b.Publish(t.Context(), "topic", &relay.Message{Body: []byte("x")}) }},
		{"Enqueue", func() error { return b.Enqueue(t.Context(), own, &relay.Message{Body: []byte("x")}) }},
		{"Subscribe", func() error { _, err := s.Subscribe(context.Background(), "topic"); return err }},
		{"SubscribeInitialize", func() error { return s.Declare("other") }},
	} {
		calls.Go(func() { assert.ErrorIs(t, tt.call(), context.DeadlineExceeded, tt.name) })
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		calls.Wait()
		assert.NoError(t, s.Close())
		assert.NoError(t, b.Close())
	}()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		require.FailNow(t, "something waits for a server that says nothing")
	}
}

func TestGroupsThatCannotBe(t *testing.T) {
	t.Parallel()
	b, _ := newBroker(t)
	for _, tt := range []struct {
		group relay.Group
		want  string
	}{
		{relay.Group{}, "without a name"},
		{relay.Group{Name: "g", AckWait: 12 * time.Hour}, "shorten relay.Timeout"},
	} {
		require.ErrorContains(t, b.Declare(t.Context(), tt.group, "topic"), tt.want)
		_, err := b.Consume(t.Context(), tt.group, "topic", nil)
		require.ErrorContains(t, err, tt.want)
	}
}

// Not parallel: it looks at all goroutines.
func TestNoGoroutinesAfterClose(t *testing.T) {
	toSNS, toSQS := clients(t, server(t))
	b, err := aws.New(aws.Config{SNS: toSNS, SQS: toSQS})
	require.NoError(t, err)
	topic := b.Topic("t" + uuid.NewString())
	s := brokertest.NewSubscriber(b, group(t))
	var channels []<-chan *brokertest.Message
	for range 5 {
		messages, err := s.Subscribe(t.Context(), topic)
		require.NoError(t, err)
		channels = append(channels, messages)
	}
	publish(t, b, topic, "one", "two", "three", "four", "five") // one for each
	next(t, channels[0])
	require.NoError(t, s.Close())
	require.NoError(t, b.Close())
	require.Eventually(t, func() bool { return !strings.Contains(stacks(), "relay/aws.") }, patience, 10*time.Millisecond)
}

// stacks returns those of all goroutines but tests.
func stacks() string {
	buffer := make([]byte, 1<<20)
	var out []string
	for stack := range strings.SplitSeq(string(buffer[:runtime.Stack(buffer, true)]), "\n\n") {
		if !strings.Contains(stack, "testing.tRunner") && !strings.Contains(stack, "relay/aws_test") {
			out = append(out, stack)
		}
	}
	return strings.Join(out, "\n\n")
}
