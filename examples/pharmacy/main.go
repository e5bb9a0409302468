// Command pharmacy follows a prescription through three modules that know
// nothing of each other but events:
//
//	ehr         approves a request           PrescriptionRequestApproved
//	orders      approves the item; the last
//	            one makes the order ready    OrderReadyForFulfillment
//	fulfilment  ships the order
//
// It plays the same order five times: as it should go, and as it should not.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
)

func main() {
	if err := play(context.Background(), os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// A scene is a story about order O-17, of amoxicillin and ibuprofen. There is
// a request for each, and one for the insulin of an order that got lost.
type scene struct {
	title string
	story func(ctx context.Context, p *pharmacy) error
}

var scenes = []scene{
	{"The order is ready once both items are approved", func(ctx context.Context, p *pharmacy) error {
		p.approve(ctx, "amoxicillin")
		p.approve(ctx, "ibuprofen")
		return nil
	}},
	{"An approval that is rolled back reaches nobody", func(ctx context.Context, p *pharmacy) error {
		p.approve(ctx, "amoxicillin")
		p.approve(ctx, "ibuprofen", "amoxicillin")
		return nil
	}},
	{"An approval that arrives twice counts once", func(ctx context.Context, p *pharmacy) error {
		p.approve(ctx, "amoxicillin")
		if err := p.redeliver(ctx); err != nil {
			return err
		}
		p.approve(ctx, "ibuprofen")
		return nil
	}},
	{"An order that nobody knows is reported, and the approval stands", func(ctx context.Context, p *pharmacy) error {
		p.approve(ctx, "insulin")
		return nil
	}},
	{"A carrier that is down is reported, and the approvals stand", func(ctx context.Context, p *pharmacy) error {
		p.carrier.down = true
		p.approve(ctx, "amoxicillin", "ibuprofen")
		return nil
	}},
}

func play(ctx context.Context, out io.Writer) error {
	for i, s := range scenes {
		p, err := open(ctx)
		if err != nil {
			return err
		}
		err = s.story(ctx, p)
		if cerr := p.close(ctx); err == nil {
			err = cerr
		}
		if err != nil {
			return fmt.Errorf("scene %d: %w", i+1, err)
		}
		fmt.Fprintf(out, "%d. %s\n%s\n", i+1, s.title, p.account)
	}
	return nil
}
