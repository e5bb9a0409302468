// Package bench sets tidings beside the bare minimum, which is a loop over
// []func(context.Context, E) error, and beside other event buses for Go: the
// same event, the same handlers, the same run.
//
// [Contenders] is the one table of who takes part. The Go benchmarks
//
//	go test -bench . ./bench
//
// and the report that docs/benchmarks.md keeps
//
//	go run ./bench/cmd/report
//
// both read it. The report is what to quote: it measures the contenders in
// turns, round by round, so that whatever else the machine is doing hits all of
// them alike, and prints ratios, which last longer than times do.
package bench
