package events_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/proposals/events"
	"github.com/tidings-go/tidings/tidingstest"
)

func TestEvents_AreImmutable(t *testing.T) {
	t.Parallel()
	bus := tidingstest.NewBus(t)
	for _, e := range []tidings.Event{
		events.ProposalAccepted{}, events.ClientCreated{}, events.ContractSigned{}, events.ProjectCreated{},
	} {
		require.NoError(t, tidings.Publish(t.Context(), bus, e), "the bus refuses events that handlers could change for each other")
	}
}

func TestEvents_String(t *testing.T) {
	t.Parallel()
	day := time.Date(2027, 1, 4, 0, 0, 0, 0, time.UTC)
	for want, e := range map[string]tidings.Event{
		"A-1, renewal_client: Payroll for Tern, EUR 10.00":        events.ProposalAccepted{Number: "A-1", Type: events.Renewal, Service: "Payroll", Company: "Tern", Amount: 10_00},
		"client 2: Tern, of Mill":                                 events.ClientCreated{ClientID: 2, Company: "Tern", Firm: "Mill"},
		"contract 3 with client 2, EUR 10.00":                     events.ContractSigned{ContractID: 3, ClientID: 2, Amount: 10_00},
		"contract 4 with client 2, EUR 10.00, follows contract 3": events.ContractSigned{ContractID: 4, ClientID: 2, Amount: 10_00, Follows: 3},
		"project 5: Payroll for Tern, from 2027-01-04":            events.ProjectCreated{ProjectID: 5, Name: "Payroll for Tern", StartsOn: day},
	} {
		require.Equal(t, want, e.(interface{ String() string }).String())
	}
}

func TestMoney_String(t *testing.T) {
	t.Parallel()
	for m, want := range map[events.Money]string{
		0:              "EUR 0.00",
		5:              "EUR 0.05",
		100:            "EUR 1.00",
		999_99:         "EUR 999.99",
		1_000_00:       "EUR 1,000.00",
		12_500_50:      "EUR 12,500.50",
		1_234_567_89:   "EUR 1,234,567.89",
		-5:             "EUR -0.05",
		-123_456_00:    "EUR -123,456.00",
		999_999_999_99: "EUR 999,999,999.99",
	} {
		require.Equal(t, want, m.String())
	}
}
