package relay_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
)

// When a message is due was said by the clock of the process that has failed.
// Another clock cannot have it wait for longer than was to be waited.
func TestClocks(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		ahead  time.Duration // the clock of the process that has failed
		wait   string
		want   float64 // seconds
		reason string
	}{
		{"same", 0, "4s", 4, ""},
		{"ahead", 2 * time.Minute, "1s", 1, "not two minutes"},
		{"ahead, long", 2 * time.Minute, "1m4s", 64, "also over several rounds through the queue"},
		{"a little ahead", time.Second, "4s", 4, ""},
		{"a little behind", -time.Second, "4s", 3, ""},
		{"behind", -2 * time.Minute, "1m4s", 0, "a wait is lost, an event is not"},
		{"without", 2 * time.Minute, "", 0, "of somebody else: it is not known how long there was to wait"},
		{"damaged", 2 * time.Minute, "soon", 0, ""},
		{"negative", 2 * time.Minute, "-1s", 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := newRig(t)
				calls := &times{g: g}
				g.handle("h", func(context.Context, ordered) error { calls.add(); return nil })
				g.start()
				wait, _ := time.ParseDuration(tt.wait)
				body, err := newRegistry().Encode(tidings.Stamp(t.Context(), ordered{}))
				require.NoError(t, err)
				m := newMessage("", body)
				m.Metadata["tidings-due"] = time.Now().Add(tt.ahead + wait).UTC().Format(time.RFC3339Nano)
				if tt.wait != "" {
					m.Metadata["tidings-wait"] = tt.wait
				}
				require.NoError(t, g.broker.Publish(t.Context(), "h.retry", m))
				pass(time.Hour)
				require.Equal(t, seconds(tt.want), calls.all(), tt.reason)
			})
		})
	}
}
