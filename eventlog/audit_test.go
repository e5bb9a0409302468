package eventlog_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
)

// AcceptedV3 is what Accepted became.
type AcceptedV3 struct {
	tidings.DomainEvent
	Numbers tidings.List[string] `json:"numbers"`
}

func TestAudit(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		found, err := log.Audit(t.Context())
		require.NoError(t, err)
		require.Empty(t, found, "an empty log")

		for range 3 {
			require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{Number: "1"}))
		}
		for range 2 {
			require.NoError(t, tidings.Publish(t.Context(), bus, Created{Client: "c"}))
		}
		found, err = log.Audit(t.Context())
		require.NoError(t, err)
		require.Empty(t, found)

		// A later program: Created has another name, Accepted a newer
		// version, and there is no Upcast.
		var registry tidings.Registry
		tidings.Register[AcceptedV3](&registry, "crm.accepted", 3)
		tidings.Register[Created](&registry, "clients.client_created", 1)
		later, err := eventlog.Open(t.Context(), h.db, &registry)
		require.NoError(t, err)
		found, err = later.Audit(t.Context())
		require.NoError(t, err)
		require.Len(t, found, 2)
		require.Equal(t, `2 × "clients.created" version 1: tidings: event name "clients.created" is not registered: tidings.Register a type for it`, found[0].String())
		require.Equal(t, `3 × "crm.accepted" version 1: tidings: version 1 of "crm.accepted" is not registered: there is no Upcast from version 1, on the way to 3`, found[1].String())
		for _, u := range found {
			require.ErrorIs(t, u.Err, tidings.ErrUnregistered)
		}

		tidings.Register[Unknown](&registry, "clients.created", 1)
		type v2 struct{}
		tidings.Upcast(&registry, "crm.accepted", 1, func(Accepted) (v2, error) { return v2{}, nil })
		tidings.Upcast(&registry, "crm.accepted", 2, func(v2) (AcceptedV3, error) { return AcceptedV3{}, nil })
		found, err = later.Audit(t.Context())
		require.NoError(t, err)
		require.Empty(t, found)

		// A version from the future, seen in the transaction that appends it.
		h.exec(t, "UPDATE tidings_events SET version = 7 WHERE type = 'clients.created'")
		require.NoError(t, h.inTx(t.Context(), func(ctx context.Context) error {
			found, err := log.Audit(ctx)
			require.NoError(t, err)
			require.Len(t, found, 1)
			require.Equal(t, "clients.created", found[0].Type)
			require.Equal(t, 7, found[0].Version)
			require.EqualValues(t, 2, found[0].Count)
			return nil
		}))

		h.close()
		_, err = log.Audit(t.Context())
		require.ErrorContains(t, err, "eventlog: auditing: ")
	})
}
