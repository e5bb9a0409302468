package durable

import (
	"context"
	"encoding/json"
	"time"
)

// notifyPause is how long the engine waits after it has notified.
const notifyPause = 5 * time.Millisecond

// notifyWorkers notifies River's workers of queues on Postgres, see package notifier. An
// error is not reported: if the server is down, the next publish fails, and workers also
// poll, at FetchPollInterval.
func (e *riverEngine[TTx]) notifyWorkers(ctx context.Context, queues []string) (pause time.Duration) {
	_ = notifyQueues(ctx, e.pool(), e.schema(), queues)
	return notifyPause
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
