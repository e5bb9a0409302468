package main

import (
	"fmt"

	"github.com/tidings-go/tidings"
)

// AccountOpened begins the stream of an account.
type AccountOpened struct {
	tidings.DomainEvent
	Owner    string `json:"owner"`
	Currency string `json:"currency"`
}

// Deposited is in its second version.
type Deposited struct {
	tidings.DomainEvent
	Cents    int64  `json:"cents"`
	Currency string `json:"currency"`
}

// Withdrawn is published when money is withdrawn.
type Withdrawn struct {
	tidings.DomainEvent
	Cents    int64  `json:"cents"`
	Currency string `json:"currency"`
}

// depositedV1 is version 1, which the first program stored: an amount in whole
// euros.
type depositedV1 struct {
	Amount int64 `json:"amount"`
}

func depositedV1to2(old depositedV1) (Deposited, error) {
	if old.Amount <= 0 {
		return Deposited{}, fmt.Errorf("an amount of %d", old.Amount)
	}
	return Deposited{Cents: old.Amount * 100, Currency: "EUR"}, nil
}

// register registers the names under which the events are stored.
func register(r *tidings.Registry) {
	tidings.Register[AccountOpened](r, "ledger.account_opened", 1)
	tidings.Register[Deposited](r, "ledger.deposited", 2)
	tidings.Upcast(r, "ledger.deposited", 1, depositedV1to2)
	tidings.Register[Withdrawn](r, "ledger.withdrawn", 1)
}
