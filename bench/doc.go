// Package bench has only benchmarks. They compare tidings to the least code that
// does the same, the contender "bare", and to other libraries. docs/benchmarks.md
// has the commands and the results.
package bench
