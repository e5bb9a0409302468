// Package guide holds the code that the guides in docs quote: a folder for
// each guide, compiled and run like any other test. Package coupled is the
// monolith without events that two of the guides begin with.
package guide
