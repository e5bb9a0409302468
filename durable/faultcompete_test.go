package durable_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
)

// Two and three processes work the same queue, of 2,500 jobs or as many as
// TIDINGS_FAULT_JOBS says.
func TestFaultCompetingWorkers(t *testing.T) {
	t.Parallel()
	faultsTakeTime(t)
	many := 2_500 // 10,000 take a minute and more under the race detector
	if text := os.Getenv("TIDINGS_FAULT_JOBS"); text != "" {
		var err error
		many, err = strconv.Atoi(text)
		require.NoError(t, err)
	}
	for _, tt := range []struct {
		on                       string
		processes, workers, jobs int
	}{
		{"sqlite", 2, 2, many / 5}, // it has one writer
		{"sql", 2, 50, many},
		{"pgx", 3, 50, many},
	} {
		t.Run(fmt.Sprintf("%s %d processes", tt.on, tt.processes), func(t *testing.T) {
			t.Parallel()
			h := openFault(t, tt.on)
			w := newFaultWorker(t, h, faultPlan{Name: "parent"}, effectHandler)
			w.orders(t, h, tt.jobs)
			require.Equal(t, tt.jobs, unfinished(h))

			var processes []*faultChild
			for n := range tt.processes {
				c := startFault(t, h, faultPlan{Do: "work", Name: fmt.Sprint(n), Workers: tt.workers, Handlers: []string{effectHandler}, HangAt: atBegin})
				c.hear(t, "ready")
				c.tell("work")
				processes = append(processes, c)
			}
			for _, c := range processes { // none is done before the others begin
				c.hear(t, "hung")
			}
			began := time.Now()
			for _, c := range processes {
				c.tell("go")
			}
			allDone(t, h)
			took := time.Since(began)
			calls := 0
			var each []string
			for n, c := range processes {
				calls += c.stop(t)
				did := h.count(t, fmt.Sprintf("SELECT count(*) FROM effects WHERE process = '%d'", n))
				require.Positive(t, did, "they compete")
				each = append(each, fmt.Sprint(did))
			}
			t.Logf("%s: %d jobs, %d processes did %s in %.1f s, with %d calls", h.name, tt.jobs, tt.processes, strings.Join(each, " + "), took.Seconds(), calls)
			balanced(t, h, tt.jobs, effectHandler)
		})
	}
}

// orders publishes so many events, and notes them, in one transaction.
func (w *faultWorker) orders(t *testing.T, h harness, n int) {
	t.Helper()
	require.NoError(t, h.transact(t.Context(), func(ctx context.Context) error {
		var ids []string
		for i := range n {
			e := tidings.Stamp(ctx, Accepted{Number: fmt.Sprint(i)})
			ids = append(ids, e.EventID().String())
			if err := tidings.Publish(ctx, w.bus, e); err != nil {
				return err
			}
		}
		list, err := json.Marshal(ids)
		if err != nil {
			return err
		}
		from := "json_each($1)"
		if h.postgres() {
			from = "json_array_elements_text($1::text::json) AS value"
		}
		return h.exec(ctx, "INSERT INTO orders (event_id, event) SELECT value, 'accepted' FROM "+from, string(list))
	}))
}
