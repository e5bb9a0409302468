//go:build !race

package bench_test

// underRace says that the race detector is on, with which SQLite, translated
// from C, takes some ten times as long.
const underRace = false
