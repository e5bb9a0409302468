package tidingstest_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/fakedb"
	"github.com/tidings-go/tidings/tidingstest"
)

type accepted struct {
	tidings.DomainEvent
	ProposalID int64
	Number     string
}

type created struct {
	tidings.DomainEvent
	ClientID int64
}

func TestSmoke(t *testing.T) {
	db, log := fakedb.Open(t)
	ctx, tx := tidingstest.Sandbox(t, db)
	bus := tidingstest.NewBus(t)
	rec := tidingstest.Record(bus)
	tidings.Subscribe(bus, func(ctx context.Context, e accepted) error {
		return tidings.Publish(ctx, bus, created{ClientID: 1})
	})
	require.NoError(t, tidingstest.Commit(ctx, db, tx, func(ctx context.Context) error {
		return tidings.Publish(ctx, bus, accepted{ProposalID: 7, Number: "x"})
	}))
	require.Error(t, tidingstest.Commit(ctx, db, tx, func(ctx context.Context) error {
		return errors.Join(tidings.Publish(ctx, bus, accepted{ProposalID: 7, Number: "x"}), errors.New("no"))
	}))
	t.Log(log.Statements())
	t.Logf("\n%v\n%v", rec.Delivered(), rec.RolledBack())
}
