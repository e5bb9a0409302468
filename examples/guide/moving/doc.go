// Package moving moves the monolith of package coupled to events, in the steps
// of docs/moving-a-monolith.md.
package moving
