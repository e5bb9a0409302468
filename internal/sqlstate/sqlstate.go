// Package sqlstate reads the code of a Postgres error.
package sqlstate

import "errors"

// Of returns the code of a Postgres error, with any driver, and "" for other errors. It
// imports none of the drivers.
func Of(err error) string {
	var stater interface{ SQLState() string } // pgx and lib/pq have it
	if errors.As(err, &stater) {
		return stater.SQLState()
	}
	// bun's pgdriver has the field C of the server's message, see
	// https://www.postgresql.org/docs/current/protocol-error-fields.html.
	var fields interface{ Field(byte) string }
	if errors.As(err, &fields) {
		return fields.Field('C')
	}
	return ""
}
