// Proposals is a modular monolith on tidings. It reads proposals from a CSV file,
// accepts them one by one, and shows how other modules handle the events. No
// module imports another one. Run it with -h for its flags.
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

// run is main with arguments, standard input and output as parameters. It returns
// the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "proposals: %v\nRun it with -h for its flags.\n", err)
		return 2
	}
	if err := o.run(ctx, stdout); err != nil {
		fmt.Fprintf(stderr, "proposals: %v\n", err)
		return 1
	}
	return 0
}
