// Ledger is an event-sourced program: it stores only the events of its accounts.
// docs/event-sourcing.md explains it, and says when not to do this. Run it with -h
// for its flags.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	context.AfterFunc(ctx, stop) // a second interrupt ends the process at once
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

const usage = `Usage: ledger [flags]

Keeps accounts as streams of events: reads those of an older program, refuses an
overdraft, has many tellers withdraw at once, and shows what snapshots save.

Flags:
`

// run is main with arguments, standard input and output as parameters. It returns
// the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("ledger", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // errors are returned
	flags.Usage = func() {}
	file := flags.String("db", "", "keep the log in the SQLite database `file`; a second run continues with its accounts (default: a temporary file)")
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
	if err != nil {
		fmt.Fprintf(stderr, "ledger: %v\nRun it with -h for its flags.\n", err)
		return 2
	}
	if err := demo(ctx, *file, stdout); err != nil {
		fmt.Fprintf(stderr, "ledger: %v\n", err)
		return 1
	}
	return 0
}
