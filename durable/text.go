package durable

import "strings"

// maxReason limits the stored text of an error, in bytes. Each attempt adds one
// to the row of the job, and the events of a dead job have the last.
const maxReason = 8 << 10

// storable returns text from outside in a form that all databases and JSON
// encodings keep unchanged: valid UTF-8 without a NUL. Texts of drivers, other
// servers and panics need be neither.
func storable(text string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(text, "\x00", "\ufffd"), "\ufffd")
}

// storableReason does the same for the text of an error, and cuts it.
func storableReason(text string) string {
	if len(text) > maxReason {
		text = strings.ToValidUTF8(text[:maxReason], "") + "…"
	}
	return storable(text)
}

// storableError returns err with a text that can be stored. River reports many
// jobs with one statement, so the text of one would keep others from being
// reported.
func storableError(err error) error {
	text := err.Error()
	if kept := storableReason(text); kept != text {
		return &cleanError{kept, err}
	}
	return err
}

type cleanError struct {
	text string
	err  error
}

func (e *cleanError) Error() string { return e.text }
func (e *cleanError) Unwrap() error { return e.err }
