package bench

import (
	"math"
	"strconv"
	"strings"
)

// Number writes a time in nanoseconds, or bytes: three digits of it at least,
// and thousands apart.
func Number(v float64) string {
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return "–"
	case math.Abs(v) < 9.995:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case math.Abs(v) < 99.95:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return thousands(strconv.FormatFloat(v, 'f', 0, 64))
}

// Ratio writes a ratio, without its x.
func Ratio(v float64) string { return Number(v) }

// Count writes how many allocations or bytes an operation took: whole numbers
// as such, others (a queue that grows now and then) with two decimals.
func Count(v float64) string {
	if whole := math.Round(v); math.Abs(v-whole) <= 0.01 || whole >= 100 {
		return thousands(strconv.FormatFloat(whole, 'f', 0, 64))
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// Whole writes a whole number, thousands apart.
func Whole(n int) string { return thousands(strconv.Itoa(n)) }

func thousands(digits string) string {
	sign := ""
	if strings.HasPrefix(digits, "-") {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}
