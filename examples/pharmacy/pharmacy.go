package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	_ "modernc.org/sqlite"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/pharmacy/ehr"
	"github.com/tidings-go/tidings/examples/pharmacy/fulfilment"
	"github.com/tidings-go/tidings/examples/pharmacy/orders"
)

// A pharmacy is the modules on one database and one bus.
type pharmacy struct {
	*account
	db         *sql.DB
	bus        *tidings.EventBus
	records    *ehr.Records
	orders     *orders.Orders
	fulfilment *fulfilment.Fulfilment
	carrier    *carrier
	requests   map[string]int64 // by product
}

const orderID = "O-17"

// open opens a pharmacy with the order and the requests of the scenes.
func open(ctx context.Context) (*pharmacy, error) {
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1) // each connection to :memory: would be another database
	if _, err := db.ExecContext(ctx, ehr.Schema+orders.Schema+fulfilment.Schema); err != nil {
		return nil, errors.Join(err, db.Close())
	}

	p := &pharmacy{account: &account{}, db: db, carrier: &carrier{}, requests: map[string]int64{}}
	p.bus = tidings.New(tidings.WithMiddleware(p.watch), tidings.WithErrorHandler(p.failed))
	p.records = ehr.New(p.bus, db)
	p.orders = orders.Register(p.bus, db)
	p.fulfilment = fulfilment.Register(p.bus, db, p.carrier)

	err = p.orders.Place(ctx, orderID, orders.Item{ID: "I-1", Product: "amoxicillin"}, orders.Item{ID: "I-2", Product: "ibuprofen"})
	for _, r := range []ehr.Request{
		{EncounterID: 5, Product: "amoxicillin", OrderID: orderID, OrderItemID: "I-1"},
		{EncounterID: 5, Product: "ibuprofen", OrderID: orderID, OrderItemID: "I-2"},
		{EncounterID: 6, Product: "insulin", OrderID: "O-18", OrderItemID: "I-3"}, // no such order
	} {
		if err == nil {
			p.requests[r.Product], err = p.records.Request(ctx, r)
		}
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return p, nil
}

// approve lets Dr. Osei approve the requests for these products at once. That
// it may fail is part of the story.
func (p *pharmacy) approve(ctx context.Context, products ...string) {
	p.note("Dr. Osei approves %s", strings.Join(products, " and "))
	var requests []int64
	for _, product := range products {
		requests = append(requests, p.requests[product])
	}
	if err := p.records.Approve(ctx, "Dr. Osei", requests...); err != nil {
		p.note("  rolled back: %v", err)
	}
}

// redeliver publishes the last approval again, as a broker might.
func (p *pharmacy) redeliver(ctx context.Context) error {
	p.note("the approval arrives again")
	return tidings.Publish(ctx, p.bus, p.lastApproval())
}

// close waits for the fulfilment, and notes how the order is.
func (p *pharmacy) close(ctx context.Context) error {
	if err := p.bus.Close(ctx); err != nil {
		return errors.Join(err, p.db.Close())
	}
	ready, err := p.orders.Ready(ctx, orderID)
	tracking, terr := p.fulfilment.Tracking(ctx, orderID)
	p.note("order %s: ready %t, tracking %q", orderID, ready, tracking)
	return errors.Join(err, terr, p.db.Close())
}

// A carrier stands for the one outside. Its tracking numbers follow from the
// order, so that asking twice does no harm.
type carrier struct{ down bool }

func (c *carrier) Ship(_ context.Context, orderID string, products []string) (string, error) {
	if c.down {
		return "", errors.New("the carrier does not answer")
	}
	return fmt.Sprintf("%s-%dPCS", orderID, len(products)), nil
}
