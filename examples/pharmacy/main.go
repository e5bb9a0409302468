// Command pharmacy processes prescriptions in three modules, which share only
// events:
//
//	ehr         approves a request           PrescriptionRequestApproved
//	orders      approves the item; the last
//	            one makes the order ready    OrderReadyForFulfillment
//	fulfilment  picks and ships the order
//
// The handlers of fulfilment are durable: they run as jobs, which are stored in the
// transaction that publishes. Without flags it processes the same order six times,
// with and without failures. Run it with -h for the flags that run two processes.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second interrupt ends the process at once
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

const usage = `Usage: pharmacy [flags]

Without flags: plays six scenes, and ends.

As two processes on one database, in two terminals:

    pharmacy -db FILE -work           works the queue until it is interrupted
    pharmacy -db FILE -publish 200    approves 200 orders, and ends

Kill the first with kill -9 while it works, and start it again: within a
minute it takes up what the dead one had begun. pharmacy -db FILE counts.

Flags:
`

// options are the command-line flags.
type options struct {
	db      string
	publish int
	work    bool
	ui      string
}

func (o options) check() error {
	switch {
	case o.db == "" && (o.publish != 0 || o.work || o.ui != ""):
		return errors.New("-publish, -work and -ui need a -db to work on")
	case o.publish < 0:
		return fmt.Errorf("-publish %d: a number of orders is not negative", o.publish)
	}
	return nil
}

// run is main with arguments, standard input and output as parameters. It returns
// the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var o options
	flags := flag.NewFlagSet("pharmacy", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // errors are returned
	flags.Usage = func() {}
	flags.StringVar(&o.db, "db", "", "use the SQLite database `file`; alone: count what is in it")
	flags.IntVar(&o.publish, "publish", 0, "approve `n` orders")
	flags.BoolVar(&o.work, "work", false, "run the jobs until interrupted")
	flags.StringVar(&o.ui, "ui", "", "serve River UI at a loopback `address`, such as 127.0.0.1:8080")
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, usage)
		flags.SetOutput(stdout)
		flags.PrintDefaults()
		return 0
	}
	if err == nil && flags.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if err == nil {
		err = o.check()
	}
	if err != nil {
		fmt.Fprintf(stderr, "pharmacy: %v\nRun it with -h for its flags.\n", err)
		return 2
	}
	if o.db == "" {
		err = play(ctx, stdout)
	} else {
		err = operate(ctx, o, stdout)
	}
	if err != nil {
		fmt.Fprintf(stderr, "pharmacy: %v\n", err)
		return 1
	}
	return 0
}
