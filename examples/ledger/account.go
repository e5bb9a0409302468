package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
)

// An Account is the sum of the events of its stream. It is not stored in a table.
type Account struct {
	Owner    string `json:"owner"` // empty: not open
	Currency string `json:"currency"`
	Cents    int64  `json:"cents"`
}

// apply changes the state, and enforces no business rule: the event has happened.
func apply(a Account, event tidings.Event) (Account, error) {
	switch e := event.(type) {
	case AccountOpened:
		a.Owner, a.Currency = e.Owner, e.Currency
	case Deposited:
		a.Cents += e.Cents
	case Withdrawn:
		a.Cents -= e.Cents
	default:
		return a, fmt.Errorf("a %T is not an event of an account", event)
	}
	return a, nil
}

var (
	errOverdraft = errors.New("not enough money")
	errOpen      = errors.New("is open already")
)

// A bank keeps accounts.
type bank struct {
	log      *eventlog.Log
	accounts *eventlog.Aggregate[Account]
}

func newBank(log *eventlog.Log, opts ...eventlog.AggregateOption) *bank {
	return &bank{log, eventlog.NewAggregate(log, "account", apply, opts...)}
}

func (b *bank) open(ctx context.Context, id, owner, currency string) error {
	_, err := b.accounts.Update(ctx, id, func(_ context.Context, a Account) ([]tidings.Event, error) {
		if a.Owner != "" {
			return nil, fmt.Errorf("account %s %w", id, errOpen)
		}
		return []tidings.Event{AccountOpened{Owner: owner, Currency: currency}}, nil
	})
	return err
}

func (b *bank) deposit(ctx context.Context, id string, cents int64) error {
	_, err := b.accounts.Update(ctx, id, func(_ context.Context, a Account) ([]tidings.Event, error) {
		if err := a.check(id, cents); err != nil {
			return nil, err
		}
		return []tidings.Event{Deposited{Cents: cents, Currency: a.Currency}}, nil
	})
	return err
}

// withdraw holds no lock. The version of the stream guarantees that the balance
// has not changed when the event is appended.
func (b *bank) withdraw(ctx context.Context, id string, cents int64) (Account, error) {
	return b.accounts.Update(ctx, id, func(_ context.Context, a Account) ([]tidings.Event, error) {
		if err := a.check(id, cents); err != nil {
			return nil, err
		}
		if cents > a.Cents {
			return nil, fmt.Errorf("%w: %s asked for, %s there", errOverdraft, money(cents), money(a.Cents))
		}
		return []tidings.Event{Withdrawn{Cents: cents, Currency: a.Currency}}, nil
	})
}

func (a Account) check(id string, cents int64) error {
	if a.Owner == "" {
		return fmt.Errorf("there is no account %s", id)
	}
	if cents <= 0 {
		return fmt.Errorf("an amount of %s", money(cents))
	}
	return nil
}

// balanceAt returns the balance of an account at a time in the past.
func (b *bank) balanceAt(ctx context.Context, id string, t time.Time) (cents int64, err error) {
	var a Account
	for recorded, err := range b.log.ReadStream(ctx, b.accounts.Stream(id), eventlog.Before(t)) {
		if err != nil {
			return 0, err
		}
		if a, err = apply(a, recorded.Event); err != nil {
			return 0, err
		}
	}
	return a.Cents, nil
}

func money(cents int64) string { return fmt.Sprintf("%d.%02d", cents/100, cents%100) }
