// Package guide holds the code that the guides in docs quote: a folder for
// each guide, compiled and run like any other test. Package coupled is a
// monolith without events, with which two of the guides begin.
package guide
