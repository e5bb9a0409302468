package aws

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// A verdict decides what happens to a message.
type verdict int

const (
	done  verdict = iota // it is deleted
	again                // it is visible again
)

// verdicts sends the verdicts on messages to SQS while the worker continues:
// the first at once, and those that arrive during that request together.
type verdicts struct {
	of    *subscription
	given chan judged
}

type judged struct {
	handle *string
	verdict
}

func newVerdicts(of *subscription) verdicts {
	return verdicts{of, make(chan judged, maxBatch)}
}

// give takes a verdict. It waits if there are many. It must not be called once
// deliver's wait was called.
func (v verdicts) give(raw sqstypes.Message, what verdict) {
	v.given <- judged{raw.ReceiptHandle, what}
}

// deliver begins to send verdicts to SQS. The function that it returns waits
// until all have been sent.
func (v verdicts) deliver() (wait func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(v.of.ctx))
	var running sync.WaitGroup
	running.Go(func() {
		for j, ok := <-v.given; ok; j, ok = <-v.given {
			v.tell(ctx, v.collect(j))
		}
	})
	return func() {
		close(v.given)
		defer cancel()
		defer time.AfterFunc(closeWithin, cancel).Stop()
		running.Wait()
	}
}

// collect returns j and the other waiting verdicts, by verdict.
func (v verdicts) collect(j judged) (batches [again + 1][]*string) {
	for n := 1; ; n++ {
		batches[j.verdict] = append(batches[j.verdict], j.handle)
		if n == maxBatch {
			return batches
		}
		select {
		case next, ok := <-v.given:
			if !ok {
				return batches
			}
			j = next
		default:
			return batches
		}
	}
}

func (v verdicts) tell(ctx context.Context, batches [again + 1][]*string) {
	if handles := batches[done]; len(handles) > 0 {
		v.untilTold(ctx, "deleting messages", handles, v.remove)
	}
	if handles := batches[again]; len(handles) > 0 {
		v.untilTold(ctx, "returning messages", handles, func(ctx context.Context, handles []*string) ([]*string, error) {
			return v.hide(ctx, handles, 0)
		})
	}
}

// tellAttempts limits how often a request to SQS is made, besides the client's
// attempts. If all fail, the messages are redelivered when their visibility
// timeout ends.
const tellAttempts = 5

// untilTold makes a request for some messages, and repeats it for those for
// which it has failed.
func (v verdicts) untilTold(ctx context.Context, what string, handles []*string, request func(context.Context, []*string) ([]*string, error)) {
	for n := 1; ; n++ {
		limited, cancel := context.WithTimeout(ctx, requestWithin)
		failed, err := request(limited, handles)
		cancel()
		if err == nil {
			return
		}
		v.of.log().Warn("relay/aws: "+what+" failed", slog.Any("error", err))
		if handles = failed; n == tellAttempts || len(handles) == 0 {
			return
		}
		timer := time.NewTimer(troubleFor)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// remove deletes messages, and returns those for which a retry may succeed.
func (v verdicts) remove(ctx context.Context, handles []*string) ([]*string, error) {
	in := sqs.DeleteMessageBatchInput{QueueUrl: &v.of.url}
	for i, handle := range handles {
		in.Entries = append(in.Entries, sqstypes.DeleteMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), ReceiptHandle: handle})
	}
	out, err := v.of.SQS.DeleteMessageBatch(ctx, &in)
	if err != nil {
		return handles, err
	}
	return stillFailed(handles, out.Failed)
}

// hide sets when messages are visible again.
func (v verdicts) hide(ctx context.Context, handles []*string, d time.Duration) ([]*string, error) {
	in := sqs.ChangeMessageVisibilityBatchInput{QueueUrl: &v.of.url}
	for i, handle := range handles {
		in.Entries = append(in.Entries, sqstypes.ChangeMessageVisibilityBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), ReceiptHandle: handle, VisibilityTimeout: seconds(d)})
	}
	out, err := v.of.SQS.ChangeMessageVisibilityBatch(ctx, &in)
	if err != nil {
		return handles, err
	}
	return stillFailed(handles, out.Failed)
}

// stillFailed returns the messages for which a retry may succeed: not those
// whose request SQS calls wrong, since they were visible to other consumers
// meanwhile.
func stillFailed(handles []*string, failed []sqstypes.BatchResultErrorEntry) (retry []*string, err error) {
	for _, f := range failed {
		err = fmt.Errorf("%s: %s", aws.ToString(f.Code), aws.ToString(f.Message))
		if i, convErr := strconv.Atoi(aws.ToString(f.Id)); convErr == nil && i < len(handles) && !f.SenderFault {
			retry = append(retry, handles[i])
		}
	}
	return retry, err
}
