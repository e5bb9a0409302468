// Package coupled holds a monolith without events, whose modules call each
// other: crm, clients and projects.
package coupled
