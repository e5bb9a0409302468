package nats_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/relay"
)

// An operator has made one stream for many subjects. It is used, and each group
// gets what is on its topic.
func TestStreamOfManyTopics(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	_, js := s.client()
	_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}, MaxAge: time.Hour})
	require.NoError(t, err)
	b := openPlain(t, s.url())
	sub, other := subscriber(t, b, group("mail")), subscriber(t, b, group("orders.bill"))
	placed, paid := subscribe(t, sub, "orders.placed"), subscribe(t, sub, "orders.paid")
	placedToo := subscribe(t, other, "orders.placed")
	publish(t, b, "orders.placed", 1, 2)
	publish(t, b, "orders.paid", 3, 4)
	publish(t, b, "orders.lost", 5, 5)
	publish(t, b, "orders.placed", 6, 6)
	require.Equal(t, []string{"1", "2", "6"}, bodies(t, placed, 3))
	require.Equal(t, []string{"3", "4"}, bodies(t, paid, 2))
	require.Equal(t, []string{"1", "2", "6"}, bodies(t, placedToo, 3))

	// So is the queue of a handler, if its name is one of the stream's.
	retry := queue("orders.bill.retry")
	require.NoError(t, b.Enqueue(t.Context(), retry, &relay.Message{ID: "7", Body: []byte("7")}))
	require.Equal(t, numbers(7, 7), bodies(t, subscribe(t, subscriber(t, b, retry), "orders.bill.retry"), 1))
	// In it, what was handled stays. When somebody deletes the consumer of letters,
	// a process that has not seen it gets all nonetheless.
	dead := queue("orders.bill.dead")
	require.NoError(t, b.Enqueue(t.Context(), dead, &relay.Message{ID: "8", Body: []byte("8")}))
	require.NoError(t, js.DeleteConsumer(t.Context(), "ORDERS", "orders~bill~dead@orders~bill~dead"))
	require.Equal(t, numbers(8, 8), bodies(t, subscribe(t, subscriber(t, openPlain(t, s.url()), dead), "orders.bill.dead"), 1))

	var names []string
	for name := range js.StreamNames(t.Context()).Name() {
		names = append(names, name)
	}
	require.Equal(t, []string{"ORDERS"}, names)

	// When it is gone, it is made again for all of them.
	before := streamConfig(t, js, "ORDERS")
	require.NoError(t, js.DeleteStream(t.Context(), "ORDERS"))
	publish(t, b, "orders.paid", 8, 8)
	publish(t, b, "orders.placed", 9, 9)
	require.NoError(t, b.Enqueue(t.Context(), retry, &relay.Message{ID: "10", Body: []byte("10")}))
	require.Equal(t, numbers(8, 8), bodies(t, paid, 1))
	require.Equal(t, numbers(9, 9), bodies(t, placed, 1))
	require.Equal(t, numbers(9, 9), bodies(t, placedToo, 1))
	after := streamConfig(t, js, "ORDERS")
	require.Equal(t, before.Subjects, after.Subjects)
	require.Equal(t, before.MaxAge, after.MaxAge)
}

// An operator replaces the stream of a topic by one for many.
func TestStreamReplaced(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	_, js := s.client()
	b, slow := openPlain(t, s.url()), openPlain(t, s.url())
	messages := subscribe(t, subscriber(t, b, group("g")), "orders.placed")
	publish(t, b, "orders.placed", 1, 1)
	require.Equal(t, numbers(1, 1), bodies(t, messages, 1))
	publish(t, slow, "orders.placed", 2, 2)
	require.Equal(t, numbers(2, 2), bodies(t, messages, 1))

	require.NoError(t, js.DeleteStream(t.Context(), "orders~placed"))
	require.Eventually(t, func() bool { // the broker makes its own again, and is quick at that
		_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}})
		if err != nil {
			_ = js.DeleteStream(t.Context(), "orders~placed")
		}
		return err == nil
	}, time.Minute, time.Millisecond)
	publish(t, b, "orders.placed", 3, 3)
	publish(t, slow, "orders.placed", 4, 4)
	require.Equal(t, numbers(3, 4), bodies(t, messages, 2))
}

// A stream has the name that one would have, and not its subject.
func TestStreamWithoutTheSubject(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	_, js := s.client()
	_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "topic", Subjects: []string{"another"}})
	require.NoError(t, err)
	err = openPlain(t, s.url()).Publish(t.Context(), "topic", &relay.Message{ID: "1"})
	require.ErrorContains(t, err, `does not have the subject "topic": add that`)
}

// Streams of an operator keep messages as long as they are set to.
func TestRetentionOfTheOperator(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	_, js := s.client()
	for _, c := range []jetstream.StreamConfig{
		{Name: "WORK", Subjects: []string{"work.>"}, Retention: jetstream.WorkQueuePolicy},
		{Name: "INTEREST", Subjects: []string{"interest.>"}, Retention: jetstream.InterestPolicy},
	} {
		_, err := js.CreateStream(t.Context(), c)
		require.NoError(t, err)
	}
	b := openPlain(t, s.url())

	// A stream for one consumer takes one group for a topic, from the beginning.
	publish(t, b, "work.a", 1, 1)
	require.Equal(t, numbers(1, 1), bodies(t, subscribe(t, subscriber(t, b, group("g")), "work.a"), 1))
	_, err := subscriber(t, b, group("h")).Subscribe(t.Context(), "work.a")
	require.ErrorContains(t, err, "not unique on workqueue stream")

	// One that keeps only what a consumer wants keeps letters nonetheless.
	dead := queue("interest.g.dead")
	require.NoError(t, b.Enqueue(t.Context(), dead, &relay.Message{ID: "1", Body: []byte("1")}))
	require.Equal(t, numbers(1, 1), bodies(t, subscribe(t, subscriber(t, openPlain(t, s.url()), dead), "interest.g.dead"), 1))

	// And when it was gone, takes nothing that the groups would not get.
	other := openPlain(t, s.url())
	sub := subscriber(t, other, group("g"))
	messages := subscribe(t, sub, "interest.a")
	publish(t, b, "interest.a", 1, 1)
	require.Equal(t, numbers(1, 1), bodies(t, messages, 1))
	require.NoError(t, js.DeleteStream(t.Context(), "INTEREST"))
	began := time.Now()
	require.Eventually(t, func() bool { // a busy server may not answer within five seconds
		err = b.Publish(t.Context(), "interest.a", &relay.Message{ID: "2"})
		return !errors.Is(err, jetstream.ErrAsyncPublishTimeout)
	}, patience, time.Millisecond)
	require.ErrorContains(t, err, `the stream "INTEREST" was deleted`)
	initialize := sub.Declare // as a relay does every few seconds
	require.Eventually(t, func() bool {
		return initialize("interest.a") == nil && b.Publish(t.Context(), "interest.a", &relay.Message{ID: "3", Body: []byte("accepted")}) == nil
	}, time.Minute, 100*time.Millisecond)
	require.GreaterOrEqual(t, time.Since(began), relay.DeclareEvery)
	require.Equal(t, []string{"accepted"}, bodies(t, messages, 1))
}
