//go:build race

package faulttest_test

// underRace says that the race detector is on. SQLite, which is translated from
// C, then takes some ten times as long, and what is tested here is processes.
const underRace = true
