//go:build race

package durabletest_test

// underRace says that the race detector is on. SQLite, which is translated
// from C, then takes some ten times as long.
const underRace = true
