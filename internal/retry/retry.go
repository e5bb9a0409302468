// Package retry reads what the error of a handler says about the next attempt, see
// Permanent and RetryAfter of package tidings.
package retry

import (
	"errors"
	"time"
)

// IsPermanent reports whether there is to be no further attempt.
func IsPermanent(err error) bool {
	var p interface{ Permanent() bool }
	return errors.As(err, &p) && p.Permanent()
}

// After returns how long the next attempt is to wait, at least 0, if err says so.
func After(err error) (wait time.Duration, ok bool) {
	var after interface{ RetryAfter() time.Duration }
	if !errors.As(err, &after) {
		return 0, false
	}
	return max(0, after.RetryAfter()), true
}
