// Command bars reads what go test -bench has printed of package bench, and says
// which of the bars in bars.txt are met:
//
//	go run ./bench/bars <new.txt
//
// Where a benchmark ran several times, the median counts. The exit status is 1 if
// a bar is missed, or if nothing was measured that one is about.
package main

import (
	_ "embed"
	"fmt"
	"io"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

//go:embed bars.txt
var bars string

// figures are all that were measured, by benchmark and unit.
type figures map[[2]string][]float64

// processors is what package testing appends to the name of a benchmark.
var processors = regexp.MustCompile(`-\d+$`)

// read reads the format of https://go.dev/design/14313-benchmark-format.
func read(text string) figures {
	f := figures{}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name := processors.ReplaceAllString(strings.TrimPrefix(fields[0], "Benchmark"), "")
		for i := 2; i+1 < len(fields); i += 2 {
			if v, err := strconv.ParseFloat(fields[i], 64); err == nil {
				key := [2]string{name, fields[i+1]}
				f[key] = append(f[key], v)
			}
		}
	}
	return f
}

// median returns the middle of what was measured, and NaN where nothing was.
func (f figures) median(name, unit string) float64 {
	values := slices.Sorted(slices.Values(f[[2]string{name, unit}]))
	if len(values) == 0 {
		return math.NaN()
	}
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}

// judge prints what became of each bar. One that was not measured has NaN on one
// side.
func judge(w io.Writer, bars string, f figures) (met, missed int, err error) {
	all := 0
	for line := range strings.Lines(bars) {
		if strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "" {
			continue
		}
		var name, unit, others string
		var times, limit float64
		if n, err := fmt.Sscan(line, &name, &unit, &times, &others, &limit); n < 4 {
			return 0, 0, fmt.Errorf("%q: %w", line, err)
		}
		ours, beside := f.median(name, unit), ""
		if others != "-" {
			least := math.Inf(1)
			for other := range strings.SplitSeq(others, ",") {
				if !strings.Contains(other, "/") {
					other = strings.TrimSuffix(name, "tidings") + other
				}
				if v := f.median(other, unit); v < least || math.IsNaN(v) {
					least, beside = v, other
				}
			}
			limit += times * least
			beside = fmt.Sprintf(", %.4g times %s", ours/least, beside)
		}
		verdict := "not measured"
		switch {
		case ours <= limit:
			verdict, met = "met", met+1
		case ours > limit:
			verdict, missed = "MISSED", missed+1
		}
		all++
		fmt.Fprintf(w, "%-12s %s: %.4g %s, at most %.4g%s\n", verdict, name, ours, unit, limit, beside)
	}
	fmt.Fprintf(w, "%d of %d bars met, %d missed, %d not measured\n", met, all, missed, all-met-missed)
	return met, missed, nil
}

func main() {
	text, err := io.ReadAll(os.Stdin)
	met, missed := 0, 0
	if err == nil {
		met, missed, err = judge(os.Stdout, bars, read(string(text)))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bars:", err)
	}
	if err != nil || missed > 0 || met == 0 {
		os.Exit(1)
	}
}
