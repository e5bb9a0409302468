package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const keyRelay = "relay"

// RelayMessages is how many messages go through each broker, unless the plan
// says otherwise.
const RelayMessages = 2_000

func (p Plan) messages() int {
	if p.Messages > 0 {
		return p.Messages
	}
	return RelayMessages
}

// publishers is how many goroutines publish at the same time.
const publishers = 4

// latenciesOf: a message that waits for the one before to be handled takes
// several times as long as one among many.
const latenciesOf = 10

// A RelayCost is what it takes to send an event through a broker.
type RelayCost struct {
	Broker                   string
	Messages                 int
	BarePublish, OursPublish Sample  // per message
	BareConsume, OursConsume Sample  // per message, of those that wait
	DecodedConsume           Sample  // bare, and decoded with encoding/json
	Bare, Decoded, Ours      Latency // from the call of Publish to the handler
}

// A post sends and receives through a broker, on topics of its own. It is
// bare, which is an adapter of Watermill, bare with decoding, or ours.
type post interface {
	// open has the broker keep what is published from now on.
	open(ctx context.Context) error
	publish(ctx context.Context) error
	// consume begins to call handled for each message, in one goroutine.
	consume(ctx context.Context, handled func()) error
	close(ctx context.Context) error
}

// RelayCosts measures on every broker that there is, in plan.Count rounds in
// which the two take turns. left is what it has left out, and why.
func RelayCosts(plan Plan) (costs []RelayCost, left []string, err error) {
	for _, b := range relayBrokers() {
		if b.skip != "" {
			left = append(left, fmt.Sprintf("%s through %s: %s", keyRelay, b.name, b.skip))
			continue
		}
		cost, err := relayCosts(plan, b)
		if err != nil {
			return nil, nil, fmt.Errorf("case %s: %s: %w", keyRelay, b.name, err)
		}
		costs = append(costs, cost)
	}
	return costs, left, nil
}

func relayCosts(plan Plan, b relayBroker) (_ RelayCost, err error) {
	url, stop, err := b.start()
	if err != nil {
		return RelayCost{}, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	makers := []func() (post, error){
		func() (post, error) { return b.bare(url) },
		func() (post, error) {
			p, err := b.bare(url)
			if err == nil {
				p.decode = decodeBill
			}
			return p, err
		},
		func() (post, error) { return newRelayPost(url) },
	}
	runs := make([]relayRuns, len(makers))
	for round := range plan.Count {
		for i := range makers {
			i = (i + round) % len(makers)
			if err := runs[i].add(makers[i], plan.messages()); err != nil {
				return RelayCost{}, err
			}
		}
	}
	bare, decoded, ours := runs[0], runs[1], runs[2]
	return RelayCost{
		Broker: b.name, Messages: plan.messages(),
		BarePublish: medianSample(bare.published), OursPublish: medianSample(ours.published),
		BareConsume: medianSample(bare.consumed), DecodedConsume: medianSample(decoded.consumed), OursConsume: medianSample(ours.consumed),
		Bare: latency(bare.waits), Decoded: latency(decoded.waits), Ours: latency(ours.waits),
	}, nil
}

// relayRuns are the measurements of one subject.
type relayRuns struct {
	published, consumed []Sample
	waits               []time.Duration
}

// add makes one: so many messages are published, then consumed, and then some
// more go through one by one.
func (r *relayRuns) add(newPost func() (post, error), messages int) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), mostOfARun)
	defer cancel()
	p, err := newPost()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close(ctx)) }()
	if err := p.open(ctx); err != nil {
		return err
	}
	const warm = 20
	if err := publishAll(ctx, p, warm); err != nil {
		return err
	}
	heapInUse() // begin with a clean heap
	var published, consumed stopwatch
	published.start()
	if err := publishAll(ctx, p, messages); err != nil {
		return err
	}
	published.stop()
	r.published = append(r.published, published.per(messages))

	// To join a group takes a consumer of Kafka seconds: the time begins with
	// the first messages.
	handled := 0
	done, next := make(chan struct{}), make(chan time.Time, 1)
	begin := func() {
		switch handled++; {
		case handled == warm:
			consumed.start()
		case handled == warm+messages:
			consumed.stop()
			close(done)
		case handled > warm+messages:
			next <- time.Now()
		}
	}
	heapInUse()
	if err := p.consume(ctx, begin); err != nil {
		return err
	}
	select {
	case <-done:
	case <-ctx.Done():
		return fmt.Errorf("the messages have not arrived: %w", ctx.Err())
	}
	r.consumed = append(r.consumed, consumed.per(messages))
	for range max(messages/latenciesOf, 1) {
		sent := time.Now()
		if err := p.publish(ctx); err != nil {
			return err
		}
		select {
		case at := <-next:
			r.waits = append(r.waits, at.Sub(sent))
		case <-ctx.Done():
			return fmt.Errorf("a message has not arrived: %w", ctx.Err())
		}
	}
	return nil
}

// publishAll publishes so many messages from several goroutines.
func publishAll(ctx context.Context, p post, messages int) error {
	var wg sync.WaitGroup
	errs := make([]error, publishers)
	for i := range publishers {
		wg.Go(func() {
			for n := i; n < messages && errs[i] == nil; n += publishers {
				errs[i] = p.publish(ctx)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
