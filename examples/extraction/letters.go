package main

import (
	"context"
	"fmt"
	"io"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/pharmacy/events"
	"github.com/tidings-go/tidings/relay"
)

// showLetters prints the dead letters of a handler, and keeps them.
func showLetters(ctx context.Context, o options, out io.Writer) error {
	_, err := through(ctx, o, o.letters, relay.Keep, out)
	return err
}

// redrive has the dead letters of a handler delivered again.
func redrive(ctx context.Context, o options, out io.Writer) error {
	n, err := through(ctx, o, o.redrive, relay.Redeliver, out)
	if n > 0 || err == nil {
		fmt.Fprintf(out, "redriven: %d\n", n)
	}
	return err
}

// through calls Redrive for the dead letters of a handler. It needs neither the
// handler nor its database.
func through(ctx context.Context, o options, handler string, verdict relay.Verdict, out io.Writer) (redelivered int, err error) {
	var registry tidings.Registry
	events.Register(&registry)
	r, err := relay.Open(ctx, o.broker, &registry, relay.WithPrefix(o.prefix))
	if err != nil {
		return 0, err
	}
	defer closeGently(ctx, r.Close, &err)
	return r.Redrive(ctx, handler, func(letter relay.DeadLetter) relay.Verdict {
		what := letter.Type()
		if event, err := registry.Decode(letter.Body); err == nil {
			what = fmt.Sprintf("%T %s", event, orderOf(event))
		}
		fmt.Fprintf(out, "%s, attempt %d: %s\n", what, letter.Attempts, letter.Reason)
		return verdict
	})
}
