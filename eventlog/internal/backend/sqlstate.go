package backend

import "errors"

// SQLState returns the code of an error of Postgres, through whichever driver,
// and "" for other errors. None of the drivers has to be imported for it.
func SQLState(err error) string {
	var stater interface{ SQLState() string } // of pgx and lib/pq
	if errors.As(err, &stater) {
		return stater.SQLState()
	}
	// Of bun's pgdriver: the field C of the server's message, see
	// https://www.postgresql.org/docs/current/protocol-error-fields.html.
	var fields interface{ Field(byte) string }
	if errors.As(err, &fields) {
		return fields.Field('C')
	}
	return ""
}
