// Package bench is benchmarks alone. They set tidings beside the least code that
// does the same, which is the contender "bare", and beside other libraries. How to
// run them, and what came of it: docs/benchmarks.md.
package bench
