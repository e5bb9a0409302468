package bench_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/bench"
)

func TestMedian(t *testing.T) {
	tests := []struct {
		name   string
		values []float64
		want   float64
	}{
		{"one", []float64{7}, 7},
		{"odd, in any order", []float64{9, 1, 5}, 5},
		{"even: between the two", []float64{4, 1, 3, 2}, 2.5},
		{"an outlier changes little", []float64{10, 11, 12, 13, 14, 100_000}, 12.5},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			values := append([]float64(nil), tt.values...)
			require.InDelta(t, tt.want, bench.Median(values), 0)
			require.Equal(t, tt.values, values, "the caller's order is kept")
		})
	}
	require.True(t, math.IsNaN(bench.Median(nil)), "no values have no median, not 0")
}

func TestFormats(t *testing.T) {
	tests := []struct {
		format func(float64) string
		value  float64
		want   string
		reason string
	}{
		{bench.Number, 0.564, "0.56", "below ten: two decimals, enough for a bar of 1.05"},
		{bench.Number, 9.99, "9.99", ""},
		{bench.Number, 9.996, "10.0", "rounds into the next range, not to 10.00"},
		{bench.Number, 27.96, "28.0", "one decimal"},
		{bench.Number, 99.96, "100", "rounds into the next range"},
		{bench.Number, 283_000.4, "283,000", "thousands apart"},
		{bench.Number, 1_234_567, "1,234,567", ""},
		{bench.Number, math.NaN(), "–", "a median of nothing"},
		{bench.Number, math.Inf(1), "–", "a ratio to nothing"},
		{bench.Ratio, 1.049, "1.05", ""},
		{bench.Count, 0, "0", ""},
		{bench.Count, 1.0004, "1", "the runtime allocates now and then as well"},
		{bench.Count, 0.02, "0.02", "an allocation in fifty is not none"},
		{bench.Count, 1.5, "1.50", ""},
		{bench.Count, 1672.4, "1,672", ""},
	}
	for _, tt := range tests {
		require.Equal(t, tt.want, tt.format(tt.value), "%v %s", tt.value, tt.reason)
	}
	require.Equal(t, "-12,345", bench.Whole(-12_345))
	require.Equal(t, "-123", bench.Whole(-123))
}
