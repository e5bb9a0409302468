package eventlog_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
)

// id returns a UUID that ends in n.
func id(n int) uuid.UUID { return uuid.MustParse(fmt.Sprintf("01978000-0000-7000-8000-%012d", n)) }

// importLines appends events of one workflow, id(1), through Import: number,
// cause (0: none), milliseconds after the first.
func importLines(t *testing.T, log *eventlog.Log, lines ...[3]int) {
	t.Helper()
	var b strings.Builder
	for _, l := range lines {
		cause := ""
		if l[1] != 0 {
			cause = fmt.Sprintf(`"causationid":%q,`, id(l[1]))
		}
		at := time.Date(2026, 3, 1, 9, 30, 0, 123_000, time.UTC).Add(time.Duration(l[2]) * time.Millisecond)
		fmt.Fprintf(&b, `{"specversion":"1.0","id":%q,"source":"/x","type":"crm.accepted","time":%q,"correlationid":%q,%s"data":{"number":"%d"}}`+"\n",
			id(l[0]), at.Format(time.RFC3339Nano), id(1), cause, l[0])
	}
	report, err := log.Import(t.Context(), strings.NewReader(b.String()))
	require.NoError(t, err)
	require.EqualValues(t, len(lines), report.Imported)
}

func TestWorkflowIsATree(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		tidings.Subscribe(bus, func(ctx context.Context, e Accepted) error {
			if e.Total == 0 {
				return nil
			}
			for i := range 2 {
				next := Accepted{Number: fmt.Sprintf("%s.%d", e.Number, i+1), Total: e.Total - 1}
				if err := tidings.Publish(ctx, bus, next); err != nil {
					return err
				}
			}
			return nil
		})
		workflow := uuid.New()
		ctx := tidings.WithCorrelationID(t.Context(), workflow)
		for _, number := range []string{"1", "2"} {
			require.NoError(t, h.inTx(ctx, func(ctx context.Context) error {
				return tidings.Publish(ctx, bus, Accepted{Number: number, Total: 2})
			}))
			require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{Number: "of another workflow", Total: 1}))
		}

		tree, err := log.Workflow(t.Context(), workflow)
		require.NoError(t, err)
		require.Equal(t, "1 (1.1 (1.1.1 1.1.2) 1.2 (1.2.1 1.2.2)) 2 (2.1 (2.1.1 2.1.2) 2.2 (2.2.1 2.2.2))", show(tree))
		none, err := log.Workflow(t.Context(), uuid.New())
		require.NoError(t, err)
		require.Empty(t, none)
		require.Empty(t, none.String())

		h.close()
		_, err = log.Workflow(t.Context(), workflow)
		require.Error(t, err)
	})
}

// show writes a tree on one line.
func show(nodes []*eventlog.Node) string {
	var words []string
	for _, n := range nodes {
		if e, ok := n.Event.(Accepted); ok {
			words = append(words, e.Number)
		} else {
			words = append(words, "?")
		}
		if len(n.Effects) > 0 {
			words = append(words, "("+show(n.Effects)+")")
		}
	}
	return strings.Join(words, " ")
}

func TestWorkflowOfOddCauses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		events [][3]int
		want   string
		reason string
	}{
		{"a cause elsewhere", [][3]int{{1, 99, 0}, {2, 1, 0}}, "1 (2)", "an event whose cause is not in the log is a root"},
		{"an effect first", [][3]int{{2, 1, 0}, {1, 0, 0}}, "1 (2)", "a cause may be recorded after its effect"},
		{"its own cause", [][3]int{{1, 1, 0}, {2, 1, 0}}, "1 (2)", "a circle of one is cut"},
		{"each other's cause", [][3]int{{1, 2, 0}, {2, 1, 0}}, "1 (2)", "a circle is cut before its first event"},
		{"below a circle", [][3]int{{4, 3, 0}, {1, 3, 0}, {2, 1, 0}, {3, 2, 0}, {5, 4, 0}}, "1 (2 (3 (4 (5))))", "what hangs off a circle is no root"},
		{"two circles", [][3]int{{1, 2, 0}, {3, 4, 0}, {2, 1, 0}, {4, 3, 0}, {5, 0, 0}}, "1 (2) 3 (4) 5", "roots are in order"},
	}
	each(t, func(t *testing.T, h harness) {
		log := h.open(t)
		for _, tt := range tests {
			h.exec(t, "DELETE FROM tidings_events")
			importLines(t, log, tt.events...)
			tree, err := log.Workflow(t.Context(), id(1))
			require.NoError(t, err, tt.name)
			require.Equal(t, tt.want, show(tree), "%s: %s", tt.name, tt.reason)
		}
	})
}

func TestWorkflowAsText(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log := h.open(t)
		importLines(t, log, [][3]int{{1, 0, 0}, {2, 1, 1}, {3, 2, 5}, {4, 3, 5}, {5, 1, -2}, {6, 0, 60_000}, {7, 6, 61_500}}...)
		h.exec(t, "UPDATE tidings_events SET version = 9 WHERE id = '"+id(3).String()+"'")
		h.exec(t, "UPDATE tidings_events SET data = '[1]' WHERE id = '"+id(5).String()+"'")

		tree, err := log.Workflow(t.Context(), id(1))
		require.NoError(t, err)
		require.Equal(t, "1 (2 (? (4)) ?) 6 (7)", show(tree))
		require.Equal(t, `crm.accepted …00000001 2026-03-01T09:30:00.000123Z
├─ crm.accepted …00000002 +1ms
│  └─ crm.accepted …00000003 +5ms: cannot be decoded: tidings: version 9 of "crm.accepted" is not registered: the newest known is 1, so it was written by a newer program
│     └─ crm.accepted …00000004 +5ms
└─ crm.accepted …00000005 -2ms: cannot be decoded: tidings: decoding "crm.accepted" version 1, event 01978000-0000-7000-8000-000000000005: `+json.Unmarshal([]byte("[1]"), new(Accepted)).Error()+`
crm.accepted …00000006 2026-03-01T09:31:00.000123Z
└─ crm.accepted …00000007 +1.5s
`, tree.String())

		broken := tree[0].Effects[0].Effects[0]
		require.ErrorIs(t, broken.Err, tidings.ErrUnregistered)
		require.Nil(t, broken.Event)
		require.Equal(t, 9, broken.Envelope.Version)
		require.Equal(t, id(2), broken.Envelope.CausationID)
	})
}
