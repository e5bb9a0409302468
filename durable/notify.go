package durable

import (
	"context"
	"encoding/json"
	"sync"
	"time"
)

// notifyPause is how long a notifier waits after it has notified.
const notifyPause = 5 * time.Millisecond

// A notifier notifies River's workers on Postgres, outside of all transactions.
// A transaction that has notified holds a server-wide lock while it commits and
// flushes to disk, so all publishers would commit one by one. The notifier runs
// one statement at a time, for all commits that happened meanwhile.
type notifier struct {
	mu      sync.Mutex
	queues  map[string]struct{} // with work that was not announced yet
	running bool                // a statement runs, or is about to
	next    time.Time           // not before
}

// notify makes the notifier notify workers soon, and does not wait for that.
func (n *notifier) notify(e engine, queues []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.queues == nil {
		n.queues = map[string]struct{}{}
	}
	for _, queue := range queues {
		n.queues[queue] = struct{}{}
	}
	if !n.running {
		n.planLocked(e)
	}
}

func (n *notifier) planLocked(e engine) {
	n.running = true
	time.AfterFunc(time.Until(n.next), func() { n.run(e) })
}

func (n *notifier) run(e engine) {
	n.mu.Lock()
	queues := make([]string, 0, len(n.queues))
	for queue := range n.queues {
		queues = append(queues, queue)
	}
	n.queues = nil
	n.mu.Unlock()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	// An error is not reported: if the server is down, the next publish fails,
	// and workers also poll, at FetchPollInterval.
	_ = notifyQueues(ctx, e.pool(), e.schema(), queues)

	n.mu.Lock()
	defer n.mu.Unlock()
	n.running, n.next = false, time.Now().Add(notifyPause)
	if len(n.queues) > 0 {
		n.planLocked(e)
	}
}

// notifyQueues notifies the workers of queues, as River does for new jobs.
func notifyQueues(ctx context.Context, q querier, schema string, queues []string) error {
	list, err := json.Marshal(queues)
	if err != nil {
		return err
	}
	var notified int
	return q.row(ctx, inSchema(schema, `
SELECT count(pg_notify({topic}, json_build_object('queue', queue)::text)) FROM jsonb_array_elements_text($1::text::jsonb) AS queue`),
		[]any{string(list)}, &notified)
}
