package eventlog_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// overdue is a context whose deadline has passed, and whose timer is late.
type overdue struct{ context.Context }

func (overdue) Deadline() (time.Time, bool) { return time.Now().Add(-time.Microsecond), true }

// A driver may see the deadline before the context does. Then it is the deadline
// that has ended the loop, and no error of the network.
func TestFollowAtItsDeadline(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log := h.open(t)
		h.close()
		follow := func(ctx context.Context) error {
			for _, err := range log.Follow(ctx) {
				return err
			}
			return nil
		}
		require.Equal(t, context.DeadlineExceeded, follow(overdue{t.Context()}))
		err := follow(t.Context())
		require.Error(t, err)
		require.NotErrorIs(t, err, context.DeadlineExceeded)
	})
}
