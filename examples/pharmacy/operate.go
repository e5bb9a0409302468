package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/tidings-go/tidings/examples/pharmacy/ehr"
	"github.com/tidings-go/tidings/examples/pharmacy/orders"
)

// pace is how long the carrier takes to answer, so that a process can be killed
// meanwhile.
const pace = 50 * time.Millisecond

// operate runs one process on a database that other processes use too.
func operate(ctx context.Context, o options, out io.Writer) (err error) {
	p, err := open(ctx, o.db, 4)
	if err != nil {
		return err
	}
	defer func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		err = errors.Join(err, p.close(grace))
	}()
	p.carrier.pace = pace

	if o.ui != "" {
		stop, err := p.serveUI(ctx, o.ui, out)
		if err != nil {
			return err
		}
		defer stop()
	}
	if err := p.publish(ctx, o.publish); err != nil {
		return err
	}
	if o.work {
		if err := p.jobs.Start(ctx); err != nil {
			return err
		}
		fmt.Fprintln(out, "working; Ctrl-C stops it")
	}
	if o.work || o.ui != "" {
		<-ctx.Done()
		ctx = context.WithoutCancel(ctx)
	}
	// Waits for the running handlers before it counts.
	grace, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := p.jobs.Close(grace); err != nil {
		return err
	}
	t, err := p.tally(ctx)
	if err != nil {
		return err
	}
	fmt.Fprint(out, t)
	return nil
}

// publish places, requests and approves n orders.
func (p *pharmacy) publish(ctx context.Context, n int) error {
	var before int
	if err := p.db.QueryRowContext(ctx, "SELECT count(*) FROM orders").Scan(&before); err != nil {
		return err
	}
	for i := range n {
		id := fmt.Sprintf("O-%d", before+i+1)
		item := orders.Item{ID: id + "/1", Product: "amoxicillin"}
		if err := p.orders.Place(ctx, id, item); err != nil {
			return err
		}
		request, err := p.records.Request(ctx, ehr.Request{EncounterID: 5, Product: item.Product, OrderID: id, OrderItemID: item.ID})
		if err != nil {
			return err
		}
		if err := p.records.Approve(ctx, "Dr. Osei", request); err != nil {
			return err
		}
	}
	return nil
}

// A tally has the counts of orders in a database.
type tally struct {
	ready   int // orders
	picked  int // boxes, of which each order has one
	shipped int // orders
	parcels int // of the carrier
	calls   int // to the carrier
	todo    int // jobs that are not completed
}

func (p *pharmacy) tally(ctx context.Context) (t tally, err error) {
	err = p.db.QueryRowContext(ctx, `
		SELECT (SELECT count(*) FROM orders WHERE ready),
		       (SELECT coalesce(sum(boxes), 0) FROM picked),
		       (SELECT count(*) FROM shipments),
		       (SELECT count(*) FROM carrier_parcels),
		       (SELECT coalesce(sum(calls), 0) FROM carrier_parcels)`).
		Scan(&t.ready, &t.picked, &t.shipped, &t.parcels, &t.calls)
	if err == nil {
		t.todo, err = p.unfinished(ctx)
	}
	return t, err
}

func (t tally) String() string {
	return fmt.Sprintf(`orders ready     %6d
boxes picked     %6d
orders shipped   %6d
parcels          %6d   for %d calls to the carrier
jobs to do       %6d
`, t.ready, t.picked, t.shipped, t.parcels, t.calls, t.todo)
}
