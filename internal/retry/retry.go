// Package retry reads from a handler's error what it says about the next attempt, see
// Permanent and RetryAfter of package tidings.
package retry

import (
	"errors"
	"time"
)

// IsPermanent reports whether err forbids further attempts.
func IsPermanent(err error) bool {
	var p interface{ Permanent() bool }
	return errors.As(err, &p) && p.Permanent()
}

// After returns how long to wait before the next attempt, which is at least 0, and
// whether err says so.
func After(err error) (wait time.Duration, ok bool) {
	var after interface{ RetryAfter() time.Duration }
	if !errors.As(err, &after) {
		return 0, false
	}
	return max(0, after.RetryAfter()), true
}
