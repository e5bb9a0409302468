//go:build race

package main

// underRace says that the race detector is on. SQLite, which is translated
// from C, then takes some ten times as long.
const underRace = true
