package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/pharmacy/ehr"
	"github.com/tidings-go/tidings/examples/pharmacy/orders"
)

// A scene is a scenario with order O-17, of amoxicillin and ibuprofen. There is a
// request for each, and one for the insulin of an order that does not exist.
type scene struct {
	title string
	story func(ctx context.Context, s *stage) error
}

var scenes = []scene{
	{"The order is ready once both items are approved", func(ctx context.Context, s *stage) error {
		s.approve(ctx, "amoxicillin")
		s.approve(ctx, "ibuprofen")
		return s.work(ctx)
	}},
	{"An approval is rolled back, so no handler runs after it", func(ctx context.Context, s *stage) error {
		s.approve(ctx, "amoxicillin")
		s.approve(ctx, "ibuprofen", "amoxicillin")
		return s.work(ctx)
	}},
	{"An approval that arrives twice counts once", func(ctx context.Context, s *stage) error {
		s.approve(ctx, "amoxicillin")
		if err := s.redeliver(ctx); err != nil {
			return err
		}
		s.approve(ctx, "ibuprofen")
		return s.work(ctx)
	}},
	{"An unknown order is reported, and the approval stays committed", func(ctx context.Context, s *stage) error {
		s.approve(ctx, "insulin")
		return s.work(ctx)
	}},
	{"The carrier is down, the handler is retried, and the order ships", func(ctx context.Context, s *stage) error {
		s.carrier.down.Store(1)
		s.approve(ctx, "amoxicillin", "ibuprofen")
		return s.work(ctx)
	}},
	{"The process ends before the jobs run, and another one runs them", func(ctx context.Context, s *stage) error {
		s.approve(ctx, "amoxicillin", "ibuprofen")
		if err := s.restart(ctx); err != nil {
			return err
		}
		return s.work(ctx)
	}},
}

func play(ctx context.Context, out io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "pharmacy")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	for i, scene := range scenes {
		account, err := perform(ctx, scene, filepath.Join(dir, fmt.Sprintf("scene-%d.db", i+1)))
		if err != nil {
			return fmt.Errorf("scene %d: %w", i+1, err)
		}
		fmt.Fprintf(out, "%d. %s\n%s\n", i+1, scene.title, account)
	}
	return nil
}

func perform(ctx context.Context, scene scene, file string) (*account, error) {
	s, err := openStage(ctx, file)
	if err != nil {
		return nil, err
	}
	err = scene.story(ctx, s)
	ready, rerr := s.orders.Ready(ctx, orderID)
	tracking, terr := s.fulfilment.Tracking(ctx, orderID)
	s.note("order %s: ready %t, tracking %q", orderID, ready, tracking)
	return s.account, errors.Join(err, rerr, terr, s.close(context.WithoutCancel(ctx)))
}

// A stage is a pharmacy with a log of what happens.
type stage struct {
	*account
	*pharmacy
	file     string
	requests map[string]int64 // by product
}

const orderID = "O-17"

// openStage opens a pharmacy with the order and the requests of the scenes.
func openStage(ctx context.Context, file string) (*stage, error) {
	s := &stage{account: &account{}, file: file, requests: map[string]int64{}}
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	err := s.orders.Place(ctx, orderID, orders.Item{ID: "I-1", Product: "amoxicillin"}, orders.Item{ID: "I-2", Product: "ibuprofen"})
	for _, r := range []ehr.Request{
		{EncounterID: 5, Product: "amoxicillin", OrderID: orderID, OrderItemID: "I-1"},
		{EncounterID: 5, Product: "ibuprofen", OrderID: orderID, OrderItemID: "I-2"},
		{EncounterID: 6, Product: "insulin", OrderID: "O-18", OrderItemID: "I-3"}, // no such order
	} {
		if err == nil {
			s.requests[r.Product], err = s.records.Request(ctx, r)
		}
	}
	if err != nil {
		return nil, errors.Join(err, s.close(ctx))
	}
	return s, nil
}

// open opens the pharmacy with one worker, so that all runs have the same output.
func (s *stage) open(ctx context.Context) (err error) {
	s.pharmacy, err = open(ctx, s.file, 1, tidings.WithMiddleware(s.watch), tidings.WithErrorHandler(s.failed))
	if err == nil {
		s.carrier.heard = s.note
	}
	return err
}

// approve approves the requests for these products in one transaction. It notes a
// failure, which some scenes expect.
func (s *stage) approve(ctx context.Context, products ...string) {
	s.note("Dr. Osei approves %s", strings.Join(products, " and "))
	var requests []int64
	for _, product := range products {
		requests = append(requests, s.requests[product])
	}
	if err := s.records.Approve(ctx, "Dr. Osei", requests...); err != nil {
		s.note("  rolled back: %v", err)
	}
}

// redeliver publishes the last approval again, as a broker might.
func (s *stage) redeliver(ctx context.Context) error {
	s.note("the approval is delivered again")
	return tidings.Publish(ctx, s.bus, s.lastApproval())
}

// restart simulates the end of this process and the start of another one.
func (s *stage) restart(ctx context.Context) error {
	if err := s.close(ctx); err != nil {
		return err
	}
	s.note("the process ends, and another one starts")
	return s.open(ctx)
}

// work starts the workers, and waits until all jobs are completed.
func (s *stage) work(ctx context.Context) error {
	s.note("the workers start")
	if err := s.jobs.Start(ctx); err != nil {
		return err
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		n, err := s.unfinished(ctx)
		if err != nil || n == 0 {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
