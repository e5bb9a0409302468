package reports_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/proposals/events"
	"github.com/tidings-go/tidings/examples/proposals/internal/database/databasetest"
	"github.com/tidings-go/tidings/examples/proposals/reports"
	"github.com/tidings-go/tidings/tidingstest"
)

func TestFirms(t *testing.T) {
	t.Parallel()
	bus, db := tidingstest.NewBus(t), databasetest.New(t)
	s, err := reports.Register(t.Context(), bus, db)
	require.NoError(t, err)

	for _, e := range []events.ContractSigned{
		{ContractID: 1, Firm: "Mill", Company: "Tern", Amount: 10_00},
		{ContractID: 2, Firm: "Mill", Company: "Tern", Amount: 5_00},
		{ContractID: 3, Firm: "Harbour", Company: "Tern", Amount: 7_00},
		{ContractID: 3, Firm: "Harbour", Company: "Tern", Amount: 7_00}, // delivered twice, counted once
	} {
		require.NoError(t, tidings.Publish(t.Context(), bus, e))
	}
	firms, err := s.Firms(t.Context())
	require.NoError(t, err)
	require.Equal(t, []reports.Firm{
		{Name: "Harbour", Contracts: 1, Companies: 1, Amount: 7_00},
		{Name: "Mill", Contracts: 2, Companies: 1, Amount: 15_00},
	}, firms)

	require.NoError(t, s.Clear(t.Context()))
	firms, err = s.Firms(t.Context())
	require.NoError(t, err)
	require.Empty(t, firms)
}
