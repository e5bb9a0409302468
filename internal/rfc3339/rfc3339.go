// Package rfc3339 reads all times that RFC 3339 allows. Package time refuses
// some of them.
package rfc3339

import (
	"strings"
	"time"
)

// Parse reads a date-time of RFC 3339, section 5.6. Beside what [time.Parse]
// takes, it takes "t" and "z" in lower case, and a leap second, 23:59:60 in
// UTC on the last day of a month. A leap second becomes the second after it,
// since time.Time cannot hold it.
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
			return time.Time{}, err // of what was given
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
