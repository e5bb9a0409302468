package versions_test

import (
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
)

// proposalAcceptedV1 is version 1, with an amount in euros.
type proposalAcceptedV1 struct {
	ProposalID int64   `json:"proposal_id"`
	Amount     float64 `json:"amount"`
}

func proposalAcceptedV1to2(old proposalAcceptedV1) (ProposalAccepted, error) {
	return ProposalAccepted{
		ProposalID: old.ProposalID,
		Cents:      int64(math.Round(old.Amount * 100)),
		Currency:   "EUR",
	}, nil
}

func Example_upcast() {
	registry := &tidings.Registry{}
	Register(registry)

	event, err := registry.Decode([]byte(`{
		"specversion": "1.0", "id": "018f33f0-7b00-7c3e-9f8e-1f2a3b4c5d6e", "source": "/shop",
		"type": "crm.proposal_accepted", "time": "2024-05-01T12:00:00Z",
		"dataversion": 1, "data": {"proposal_id": 7, "amount": 1250.5}
	}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	e := event.(ProposalAccepted)
	fmt.Println(e.OccurredAt(), e.ProposalID, e.Cents, e.Currency)
	// Output: 2024-05-01 12:00:00 +0000 UTC 7 125050 EUR
}

func Example_unknown() {
	registry := &tidings.Registry{}
	Register(registry)

	err := registry.Decodable("crm.proposal_accepted", 3)
	fmt.Println(errors.Is(err, tidings.ErrUnregistered), err)
	err = registry.Decodable("crm.proposal_declined", 1)
	fmt.Println(errors.Is(err, tidings.ErrUnregistered), err)
	// Output:
	// true tidings: version 3 of "crm.proposal_accepted" is not registered: the newest known is 2, so it was written by a newer program
	// true tidings: event name "crm.proposal_declined" is not registered: tidings.Register a type for it
}

// One test for all events of a program.
func TestEveryVersionReachesTheNewest(t *testing.T) {
	t.Parallel()
	var registry tidings.Registry
	Register(&registry)
	require.NoError(t, registry.Validate())
}
