// Package coupled holds three modules that call each other, as a monolith
// has them that grew: crm, clients and projects.
package coupled
