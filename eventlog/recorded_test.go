package eventlog_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
)

// Rows that cannot be decoded come with an error each, in their place, and
// the reader may go on.
func TestReadWhatCannotBeDecoded(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		for _, number := range []string{"1", "unknown", "2", "newer", "3", "bad", "4", "panic"} {
			require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{Number: number}))
		}
		got := all(t, log)
		change := func(i int, set string) {
			h.exec(t, `UPDATE tidings_events SET `+set+` WHERE id = $1`, got[i].Envelope.ID.String())
		}
		change(1, `type = 'crm.forgotten'`)
		change(3, `version = 9`)
		change(5, `data = '{"total": "many"}'`)
		change(7, `version = 0`)

		seen := ""
		errs := map[int]*eventlog.DecodeError{}
		i := -1
		for r, err := range log.Read(t.Context()) {
			i++
			require.Equal(t, got[i].Position, r.Position)
			require.Equal(t, got[i].Envelope.ID, r.Envelope.ID)
			require.Equal(t, got[i].RecordedAt, r.RecordedAt)
			if err == nil {
				seen += r.Event.(Accepted).Number
				continue
			}
			require.Nil(t, r.Event)
			var de *eventlog.DecodeError
			require.ErrorAs(t, err, &de)
			require.Equal(t, r, de.Recorded)
			require.ErrorContains(t, err, "eventlog: at position "+r.Position.String()+": tidings: ")
			errs[i] = de
		}
		require.Equal(t, "1234", seen)
		require.Equal(t, 7, i)
		require.Len(t, errs, 4)
		require.ErrorIs(t, errs[1], tidings.ErrUnregistered)
		require.ErrorContains(t, errs[1], `"crm.forgotten"`)
		require.Equal(t, "crm.forgotten", errs[1].Recorded.Envelope.Type)
		require.ErrorIs(t, errs[3], tidings.ErrUnregistered)
		require.ErrorContains(t, errs[3], `version 9 of "crm.accepted"`)
		require.NotErrorIs(t, errs[5], tidings.ErrUnregistered)
		require.ErrorContains(t, errs[5], "total")
		require.JSONEq(t, `{"total": "many"}`, string(errs[5].Recorded.Envelope.Data))
		require.ErrorContains(t, errs[7], "dataversion 0")

		// A page full of them is no end either.
		h.exec(t, `DELETE FROM tidings_events`)
		fillRows(t, h, 1100)
		h.exec(t, `UPDATE tidings_events SET type = 'crm.forgotten'`)
		n := 0
		for _, err := range log.Read(t.Context()) {
			require.ErrorAs(t, err, new(*eventlog.DecodeError))
			n++
		}
		require.Equal(t, 1100, n)
	})
}

func TestReadUpcasts(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		_, bus := h.attached(t)
		old := tidings.Stamp(t.Context(), Accepted{Number: "1", Total: 7})
		require.NoError(t, tidings.Publish(t.Context(), bus, old))

		type V1 struct {
			Number string `json:"number"`
			Total  int64  `json:"total"`
		}
		r := &tidings.Registry{Source: "/shop"}
		tidings.Register[Accepted](r, "crm.accepted", 2)
		tidings.Upcast(r, "crm.accepted", 1, func(v V1) (Accepted, error) {
			return Accepted{Number: v.Number, Total: v.Total * 100}, nil
		})
		log, err := eventlog.Open(t.Context(), h.db, r)
		require.NoError(t, err)
		got := all(t, log)
		want := old
		want.Total = 700
		require.Equal(t, want, got[0].Event)
		require.Equal(t, 1, got[0].Envelope.Version, "as it was stored")
		require.JSONEq(t, `{"number": "1", "total": 7}`, string(got[0].Envelope.Data))
		require.Equal(t, "/shop", got[0].Envelope.Source)
	})
}

// A row holds what the envelope does.
func TestRecordedEnvelope(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		var caused Created
		tidings.Subscribe(bus, func(ctx context.Context, _ Accepted) error {
			caused = tidings.Stamp(ctx, Created{Client: "c"})
			return tidings.Publish(ctx, bus, caused)
		})
		require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{Number: "1"}))
		got := all(t, log)
		require.Len(t, got, 2)
		for i, e := range events(got) {
			want, err := newRegistry().Wrap(e)
			require.NoError(t, err)
			require.Equal(t, want, got[i].Envelope)
			require.Empty(t, got[i].Stream)
			require.Zero(t, got[i].StreamVersion)
		}
		require.Equal(t, caused, got[1].Event)
	})
}
