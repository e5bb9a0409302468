package aws

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/tidings-go/tidings/relay"
)

const (
	maxBatch      = 10 // the maximum that SQS delivers at once
	maxVisibility = 12 * time.Hour
	maxHold       = time.Second
	troubleFor    = time.Second // pause after a request that has failed

	// A request for messages waits in the server until there is one. If it is
	// interrupted, the server may deliver one that no consumer gets until
	// AckWait has passed. So a request continues after Close for pollOver, and
	// returns what it gets; and it waits longer than that only where messages
	// are rare.
	minWait  = time.Second
	maxWait  = 20 * time.Second // the maximum of SQS
	pollOver = minWait + 500*time.Millisecond

	// closeWithin limits the time of acknowledgements after Close.
	closeWithin = 5 * time.Second
)

// A subscription serves one worker. It requests as many messages as the worker
// handles within a moment, delivers them one by one, waits for the verdict on
// each, and requests more.
type subscription struct {
	*broker
	group  relay.Group
	topic  string
	url    string
	ctx    context.Context
	handle func(*relay.Message) bool
	verdicts

	size  int       // of the next batch
	heard time.Time // when the last message arrived
}

func (n *subscription) run() {
	defer n.deliver()()
	for n.ctx.Err() == nil {
		batch, err := n.receive()
		switch {
		case err != nil:
			n.trouble(err)
		case len(batch) > 0:
			n.heard = time.Now()
			n.work(batch)
		}
	}
}

// receive requests a batch. It is empty if there was no message for a while.
func (n *subscription) receive() (batch []sqstypes.Message, err error) {
	type answer struct {
		batch []sqstypes.Message
		err   error
	}
	answers := make(chan answer)
	n.goPoll(func() {
		batch, err := n.poll()
		select {
		case answers <- answer{batch, err}:
		case <-n.ctx.Done():
			if len(batch) > 0 {
				n.release(batch)
			}
		}
	})
	select {
	case a := <-answers:
		return a.batch, a.err
	case <-n.ctx.Done():
		return nil, nil
	}
}

func (n *subscription) poll() ([]sqstypes.Message, error) {
	over, cancel := outlive(n.ctx, pollOver)
	defer cancel()
	wait := min(max(time.Since(n.heard)/4, minWait), maxWait).Truncate(time.Second)
	ctx, cancelRequest := context.WithTimeout(over, wait+requestWithin)
	defer cancelRequest()
	out, err := n.SQS.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
		QueueUrl:              &n.url,
		MaxNumberOfMessages:   int32(n.size),
		WaitTimeSeconds:       int32(wait / time.Second),
		VisibilityTimeout:     seconds(n.group.AckWait + n.hold()),
		MessageAttributeNames: []string{"All"},
	}, once) // no silent retry: messages in a lost answer should not be lost silently
	if err != nil {
		return nil, err
	}
	return out.Messages, nil
}

// release returns messages that arrived after the end.
func (n *subscription) release(batch []sqstypes.Message) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(n.ctx), closeWithin)
	defer cancel()
	handles := make([]*string, len(batch))
	for i, raw := range batch {
		handles[i] = raw.ReceiptHandle
	}
	if _, err := n.hide(ctx, handles, 0); err != nil {
		n.log().Warn("relay/aws: returning messages failed", slog.Any("error", err))
	}
}

// hold is how long messages wait behind one that is being handled before they
// go back. Their visibility timeout, which is longer by this time, has begun.
func (n *subscription) hold() time.Duration { return min(maxHold, n.group.AckWait/4) }

// seconds returns d in the unit of SQS, rounded up.
func seconds(d time.Duration) int32 { return int32((d + time.Second - 1) / time.Second) }

// trouble waits after a failed request, and creates the queue again if it is
// gone.
func (n *subscription) trouble(err error) {
	if n.ctx.Err() != nil {
		return
	}
	n.log().Warn("relay/aws: requesting messages failed", slog.Any("error", err))
	timer := time.NewTimer(troubleFor)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-n.ctx.Done():
		return
	}
	if gone := (*sqstypes.QueueDoesNotExist)(nil); !errors.As(err, &gone) {
		return
	}
	n.looked.Delete(queueName(n.group.Name, n.topic))
	if url, err := n.declare(n.ctx, n.group, n.topic); err == nil {
		n.url = url
	} else if n.ctx.Err() == nil {
		n.log().Warn("relay/aws: creating a deleted queue again failed", slog.Any("error", err))
	}
}

// work delivers the messages of a batch. If that takes longer than a moment,
// those that wait go back.
func (n *subscription) work(batch []sqstypes.Message) {
	begin, full := time.Now(), len(batch) == n.size
	stale := time.NewTimer(n.hold())
	defer stale.Stop()
	handled := 0
	for len(batch) > 0 && n.ctx.Err() == nil {
		first, rest := batch[0], batch[1:]
		batch = n.pass(first, rest, stale)
		handled++
	}
	n.giveBack(batch)
	switch {
	case handled < n.size && full:
		n.size = handled
	case full && time.Since(begin) < n.hold()/2:
		n.size = min(2*n.size, maxBatch)
	}
}

// pass handles a message. It returns the messages of rest that are still held.
func (n *subscription) pass(raw sqstypes.Message, rest []sqstypes.Message, stale *time.Timer) []sqstypes.Message {
	handled := make(chan bool, 1)
	go func() { handled <- n.handle(unmarshal(raw)) }()
	for {
		select {
		case isDone := <-handled:
			if isDone {
				n.give(raw, done)
			} else {
				n.give(raw, again)
			}
			return rest
		case <-stale.C:
			n.giveBack(rest)
			rest = nil
		}
	}
}

func (n *subscription) giveBack(batch []sqstypes.Message) {
	for _, raw := range batch {
		n.give(raw, again)
	}
}

func (n *subscription) log() *slog.Logger {
	return n.Logger.With(slog.String("topic", n.topic), slog.String("group", n.group.Name), slog.String("queue", n.url))
}
