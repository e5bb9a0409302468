// Command extraction is the pharmacy of examples/pharmacy, with the module
// fulfilment in a separate process. The code of the modules is the same.
//
//	monolith    ehr and orders    their database    sends OrderReadyForFulfillment
//	fulfilment  picks and ships   its database      gets it from the broker
//
// Without flags it starts both processes and a broker, approves some orders, and
// shows what each process did. Run it with -h for the flags that start one process.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	// The brokers that -broker can name.
	_ "github.com/tidings-go/tidings/relay/amqp"
	_ "github.com/tidings-go/tidings/relay/aws"
	_ "github.com/tidings-go/tidings/relay/kafka"
	_ "github.com/tidings-go/tidings/relay/nats"
	_ "github.com/tidings-go/tidings/relay/redis"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second interrupt ends the process at once
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

const usage = `Usage: extraction [flags]

Without -serve: starts the two processes, lets them work, and ends. The broker is
an embedded NATS JetStream, or the one of -broker.

By hand, each in a terminal, the fulfilment first:

    extraction -serve fulfilment -broker URL -db FILE
    extraction -serve monolith -broker URL -db FILE -orders 50

The dead letters of the fulfilment:

    extraction -letters fulfilment.ship -broker URL     shows it
    extraction -redrive fulfilment.ship -broker URL     delivers it again

Flags:
`

// options are the command-line flags.
type options struct {
	serve    string
	broker   string
	prefix   string
	db       string
	orders   int
	refuse   string
	letters  string
	redrive  string
	attached bool
}

func (o *options) define(flags *flag.FlagSet) {
	flags.StringVar(&o.serve, "serve", "", "run one process; `role` is monolith or fulfilment")
	flags.StringVar(&o.broker, "broker", "", "use the broker at this `URL`: amqp, nats, kafka, redis, aws-sns-sqs")
	flags.StringVar(&o.prefix, "prefix", "pharmacy.", "begin the names of topics and groups with this `text`")
	flags.StringVar(&o.db, "db", "", "the SQLite database `file` of this process, and of no other")
	flags.IntVar(&o.orders, "orders", 0, "monolith: have `n` more orders approved")
	flags.StringVar(&o.refuse, "refuse", "", "fulfilment: the carrier refuses this `order`, such as O-7")
	flags.StringVar(&o.letters, "letters", "", "show the dead letters of this `handler`")
	flags.StringVar(&o.redrive, "redrive", "", "redrive the dead letters of this `handler`")
	flags.BoolVar(&o.attached, "attached", false, "end when standard input ends")
}

func (o *options) check() error {
	tasks := 0
	for _, task := range []string{o.serve, o.letters, o.redrive} {
		if task != "" {
			tasks++
		}
	}
	switch {
	case tasks > 1:
		return errors.New("-serve, -letters and -redrive exclude each other")
	case o.serve != "" && o.serve != "monolith" && o.serve != "fulfilment":
		return fmt.Errorf("-serve %q: the roles are monolith and fulfilment", o.serve)
	case o.serve != "" && (o.broker == "" || o.db == ""):
		return fmt.Errorf("-serve %s needs a -broker and a -db", o.serve)
	case tasks > 0 && o.broker == "":
		return errors.New("-letters and -redrive need a -broker")
	case o.serve == "" && o.db != "":
		return errors.New("-db is for -serve")
	case o.serve != "monolith" && o.orders != 0:
		return errors.New("-orders is for -serve monolith")
	case o.orders < 0:
		return fmt.Errorf("-orders %d: a number of orders is not negative", o.orders)
	case o.serve != "fulfilment" && o.refuse != "":
		return errors.New("-refuse is for -serve fulfilment")
	case strings.HasPrefix(o.broker, "memory:"):
		return fmt.Errorf("-broker %s: two processes share no memory", o.broker)
	}
	return nil
}

// run is main with arguments, standard input and output as parameters. It returns
// the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	var o options
	flags := flag.NewFlagSet("extraction", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // errors are returned
	flags.Usage = func() {}
	o.define(flags)
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
		fmt.Fprintf(stderr, "extraction: %v\nRun it with -h for its flags.\n", err)
		return 2
	}
	if o.attached {
		var end context.CancelFunc
		ctx, end = context.WithCancel(ctx)
		defer end()
		go func() {
			_, _ = io.Copy(io.Discard, stdin) // an error is an end too
			end()
		}()
	}
	switch {
	case o.serve == "monolith":
		err = serveMonolith(ctx, o, stdout)
	case o.serve == "fulfilment":
		err = serveFulfilment(ctx, o, stdout)
	case o.letters != "":
		err = showLetters(ctx, o, stdout)
	case o.redrive != "":
		err = redrive(ctx, o, stdout)
	default:
		err = demonstrate(ctx, o.broker, stdout)
	}
	if err != nil {
		fmt.Fprintf(stderr, "extraction: %v\n", err)
		return 1
	}
	return 0
}
