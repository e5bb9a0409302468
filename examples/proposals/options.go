package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
)

// options are the command-line flags.
type options struct {
	csv    string // empty: the sheet in the program
	db     string // empty: a temporary file
	replay bool   // only rebuild the reports
	portal *url.URL
}

// No server listens at this address, so that one handler fails by default.
const deadPortal = "http://127.0.0.1:1"

const usage = `Usage: proposals [flags]

Reads proposals from a CSV file and accepts each in a transaction of the module
crm. The modules credit, clients, projects and portal react to what it publishes.
Shows what was imported, every workflow as a tree, and the rows in the tables.
Every event is in a log, in the same database: the trees come from there, and with
-replay the module reports builds its table again from it.

Flags:
`

const exitCodes = `
Lines that are no proposals, acceptances that are refused and handlers that fail
are part of the job: they are reported, and the exit code is 0. It is 1 if the job
could not be done, and 2 for a wrong flag.
`

// parse reads the command line. For -h it writes the usage to help and
// returns flag.ErrHelp.
func parse(args []string, help io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("proposals", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // errors are returned
	flags.Usage = func() {}
	flags.StringVar(&o.csv, "csv", "", "read proposals from `file` (default: the proposals.csv in the program)")
	flags.StringVar(&o.db, "db", "", "keep the tables in the SQLite database `file`; a second run changes nothing (default: a temporary file)")
	flags.BoolVar(&o.replay, "replay", false, "read no proposals: empty the table of reports, and rebuild it from the events in the log of -db")
	portal := flags.String("portal", deadPortal, "open accounts at this `URL`; at the default no server listens, so that a handler fails")

	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprint(help, usage)
			flags.SetOutput(help)
			flags.PrintDefaults()
			fmt.Fprint(help, exitCodes)
		}
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.replay && o.db == "" {
		return o, errors.New("-replay needs -db: a temporary database has no history")
	}
	if o.replay && o.csv != "" {
		return o, errors.New("-replay reads no proposals: leave out -csv")
	}
	var err error
	o.portal, err = url.Parse(*portal)
	if err != nil || o.portal.Host == "" || o.portal.Scheme != "http" && o.portal.Scheme != "https" {
		return o, fmt.Errorf("-portal %q is not an http or https URL", *portal)
	}
	return o, nil
}
