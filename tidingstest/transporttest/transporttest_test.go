package transporttest_test

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/tidingstest/transporttest"
)

func TestTransportAsync(t *testing.T) {
	t.Parallel()
	transporttest.Test(t, transporttest.Features{NoRetry: true}, func(*testing.T) transporttest.Subject {
		return transporttest.Subject{Via: tidings.Async()}
	})
}

// Sound transports of every phase pass.
func TestTransportSound(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		phase    tidings.Phase
		retries  bool
		features transporttest.Features
		sin      string
	}{
		{"after commit", tidings.AfterCommit, false, transporttest.Features{NoDrain: true, NoRetry: true}, ""},
		{"retries", tidings.AfterCommit, true, transporttest.Features{NoDrain: true}, ""},
		{"before commit", tidings.BeforeCommit, true, transporttest.Features{NoDrain: true, NeedsTx: true}, ""},
		{"in transaction", tidings.InTransaction, true, transporttest.Features{NoDrain: true, NeedsTx: true}, ""},
		{"asks for less", tidings.InTransaction, true, transporttest.Features{
			NoDrain: true, NeedsTx: true, OneWriter: true, Unordered: true, AtLeastOnce: true,
		}, ""},
		{"has leftovers", tidings.AfterCommit, false, transporttest.Features{NoDrain: true, NoRetry: true}, "has leftovers"},
		{"doubles", tidings.AfterCommit, true, transporttest.Features{NoDrain: true, AtLeastOnce: true}, "doubles"},
		{"reorders", tidings.AfterCommit, true, transporttest.Features{NoDrain: true, Unordered: true}, "reorders"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			transporttest.Test(t, tt.features, func(t *testing.T) transporttest.Subject {
				return newPost(t, tt.phase, tt.retries, tt.sin).subject()
			})
		})
	}
}

// So do those that write to the publisher's *sql.Tx.
func TestTransportSQL(t *testing.T) {
	t.Parallel()
	for _, phase := range []tidings.Phase{tidings.InTransaction, tidings.BeforeCommit} {
		t.Run(phase.String(), func(t *testing.T) {
			t.Parallel()
			features := transporttest.Features{NoDrain: true, NeedsTx: true}
			transporttest.Test(t, features, func(t *testing.T) transporttest.Subject {
				return newOutbox(t, phase).subject()
			})
		})
	}
}

// Start is called between subscribing and publishing.
func TestTransportStart(t *testing.T) {
	t.Parallel()
	starts := 0
	transporttest.Test(t, transporttest.Features{NoDrain: true, NoRetry: true}, func(t *testing.T) transporttest.Subject {
		p := newPost(t, tidings.AfterCommit, false, "")
		s := p.subject()
		s.Start = func(ctx context.Context) error {
			starts++
			p.mu.Lock()
			defer p.mu.Unlock()
			require.NotEmpty(t, p.boxes)
			require.Zero(t, p.sent)
			return ctx.Err()
		}
		return s
	})
	require.NotZero(t, starts)
}

// sins are what can be wrong with a transport, and the subtest that shows it.
var sins = []struct {
	sin     string
	subtest string
	phase   tidings.Phase
	retries bool // Features say that it does
}{
	{sin: "rounds", subtest: "intact"},
	{sin: "stamps anew", subtest: "intact"},
	{sin: "forgets the type", subtest: "interfaces"},
	{sin: "loses", subtest: "parallel"},
	{sin: "loses", subtest: "order"},
	{sin: "doubles", subtest: "parallel"},
	{sin: "doubles", subtest: "every handler"},
	{sin: "reorders", subtest: "order"},
	{sin: "serves one handler only", subtest: "every handler"},
	{sin: "keeps the first handler of a name", subtest: "subscribe again"},
	{sin: "delivers inside Send", subtest: "handler fails"},
	{sin: "delivers inside Send", subtest: "handler panics"},
	{sin: "delivers inside Send", subtest: "context"},
	{sin: "stops at a failure", subtest: "handler fails"},
	{sin: "stops at a failure", subtest: "handler panics"},
	{sin: "does not retry", subtest: "handler fails", retries: true},
	{sin: "retries another event", subtest: "handler fails", retries: true},
	{sin: "tries for ever", subtest: "attempts", retries: true},
	{sin: "does not ask how long to wait", subtest: "attempts", retries: true},
	{sin: "has no time limit", subtest: "timeout", retries: true},
	{sin: "takes any option", subtest: "option of another"},
	{sin: "does not drain", subtest: "close"},
	{sin: "leaks the context", subtest: "context"},
	{sin: "leaks the context", subtest: "context", phase: tidings.InTransaction},
	{sin: "sends before the commit", subtest: "commit", phase: tidings.InTransaction},
	{sin: "sends before the commit", subtest: "commit", phase: tidings.BeforeCommit},
	{sin: "sends before the commit", subtest: "rollback", phase: tidings.InTransaction},
	{sin: "sends before the commit", subtest: "failed commit", phase: tidings.BeforeCommit},
	{sin: "sends before the commit", subtest: "savepoint", phase: tidings.InTransaction},
}

// TestTransportBroken runs the suite on broken transports, in processes of
// their own, since it has to fail.
func TestTransportBroken(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	require.NoError(t, err)
	for i, tt := range sins {
		t.Run(tt.sin+"/"+tt.subtest, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), self, "-test.v",
				"-test.run=^TestTransportOfSinner$/^"+strings.ReplaceAll(tt.subtest, " ", "_")+"$")
			cmd.Env = append(os.Environ(), "TIDINGSTEST_SIN="+strconv.Itoa(i))
			out, err := cmd.CombinedOutput()
			exit := (*exec.ExitError)(nil)
			require.ErrorAs(t, err, &exit, "the suite passed:\n%s", out)
			require.Contains(t, string(out), "    --- FAIL: TestTransportOfSinner/"+strings.ReplaceAll(tt.subtest, " ", "_"))
			require.NotContains(t, string(out), "DATA RACE")
			require.NotContains(t, string(out), "panic: test timed out")
		})
	}
}

func TestTransportOfSinner(t *testing.T) {
	index, ok := os.LookupEnv("TIDINGSTEST_SIN")
	if !ok {
		t.Skip("this is the other process of TestTransportBroken")
	}
	i, err := strconv.Atoi(index)
	require.NoError(t, err)
	tt := sins[i]
	features := transporttest.Features{
		NoRetry:  !tt.retries,
		NoDrain:  tt.sin != "does not drain",
		NeedsTx:  tt.phase != tidings.AfterCommit,
		Patience: 300 * time.Millisecond,
	}
	transporttest.Test(t, features, func(t *testing.T) transporttest.Subject {
		return newPost(t, tt.phase, tt.retries && tt.sin != "does not retry", tt.sin).subject()
	})
}
