// Package moving takes the monolith of package coupled apart, in the steps
// of docs/moving-a-monolith.md.
package moving
