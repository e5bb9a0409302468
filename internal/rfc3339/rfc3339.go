// Package rfc3339 parses all times that RFC 3339 allows. Package time refuses some of
// them.
package rfc3339

import (
	"strings"
	"time"
)

// Parse parses a date-time of RFC 3339, section 5.6. In addition to the times that
// [time.Parse] accepts, it accepts "t" and "z" in lower case, and a leap second,
// which is 23:59:60 in UTC on the last day of a month. Parse returns the second after
// a leap second, since time.Time cannot hold the leap second itself.
func Parse(s string) (time.Time, error) {
	at, err := time.Parse(time.RFC3339, s)
	if err == nil {
		return at, nil
	}
	const second = len("2006-01-02T15:04:")
	if len(s) < second+2 {
		return time.Time{}, err
	}
	upper := strings.ToUpper(s)
	if upper[second:second+2] != "60" {
		at, upperErr := time.Parse(time.RFC3339, upper)
		if upperErr != nil {
			return time.Time{}, err // the error for s as it was given
		}
		return at, nil
	}
	before, otherErr := time.Parse(time.RFC3339, upper[:second]+"59"+upper[second+2:])
	if otherErr != nil {
		return time.Time{}, err
	}
	at = before.Add(time.Second)
	if utc := at.UTC(); utc.Day() != 1 || utc.Hour() != 0 || utc.Minute() != 0 || utc.Second() != 0 {
		return time.Time{}, err
	}
	return at, nil
}
