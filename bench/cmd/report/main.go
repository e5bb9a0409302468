// Command report measures tidings beside the bare minimum and other event
// buses, and prints a page of Markdown with a table for each case:
//
//	go run ./bench/cmd/report > docs/benchmarks.md
//
// A missed bar is said in the last table; it is not a failure of the program.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/tidings-go/tidings/bench"
)

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}

func run(args []string, out, progress io.Writer) error {
	flags := flag.NewFlagSet("report", flag.ExitOnError)
	count := flags.Int("count", 6, "measure every subject this many times and take the median")
	benchtime := flags.Duration("benchtime", 200*time.Millisecond, "of one measurement, about")
	events := flags.Int("events", bench.LogEvents, "in the log that is read")
	jobs := flags.Int("jobs", bench.DurableJobs, "that wait when the workers of durable handlers start; one start in 50 of them is timed by itself")
	messages := flags.Int("messages", bench.RelayMessages, "that go through each broker, and a tenth of them one by one")
	match := flags.String("run", "", "only the cases whose key matches this regular expression, e.g. ^handlers-")
	flags.Usage = func() {
		fmt.Fprintf(flags.Output(), "Usage: go run ./bench/cmd/report [flags] > page.md\n\nCases: %s\n\n", strings.Join(bench.Keys(), ", "))
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("what is %q? See -h", flags.Arg(0))
	}
	pattern, err := regexp.Compile(*match)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}

	plan := bench.Plan{Count: *count, Time: *benchtime, Events: *events, Jobs: *jobs, Messages: *messages}
	heading := bench.Heading{
		Machine: bench.ThisMachine(),
		Date:    time.Now(),
		Command: command(args),
		Plan:    plan,
	}
	report, err := bench.Run(plan, pattern, func(key string) {
		fmt.Fprintf(progress, "%s %s\n", time.Now().Format(time.TimeOnly), key)
	})
	if err != nil {
		return err
	}
	return bench.WriteMarkdown(out, heading, report)
}

// command returns what to type to run the program with args again.
func command(args []string) string {
	words := []string{"go run ./bench/cmd/report"}
	for _, arg := range args {
		if !plain.MatchString(arg) {
			arg = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
		words = append(words, arg)
	}
	return strings.Join(words, " ")
}

// plain matches what a shell takes as it is.
var plain = regexp.MustCompile(`^[\w./,:=@%+-]+$`)
