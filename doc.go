// Package tidings carries domain events between the modules of a Go monolith.
package tidings
