package rfc3339_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/internal/rfc3339"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text, want string // "" if it is none
		reason     string
	}{
		{"2026-03-01T09:30:00Z", "2026-03-01T09:30:00Z", ""},
		{"2026-03-01t09:30:00z", "2026-03-01T09:30:00Z", "section 5.6: they may be lower case"},
		{"2026-03-01t09:30:00Z", "2026-03-01T09:30:00Z", ""},
		{"2026-03-01T09:30:00z", "2026-03-01T09:30:00Z", ""},
		{"2026-03-01t09:30:00.5+01:00", "2026-03-01T08:30:00.5Z", ""},
		{"2026-03-01T09:30:00-00:00", "2026-03-01T09:30:00Z", "section 4.3: the offset is not known"},
		{"2026-03-01T09:30:00.1234567890123z", "2026-03-01T09:30:00.123456789Z", "any number of digits"},
		{"2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z", "section 5.7: a leap second"},
		{"2016-12-31t23:59:60.25z", "2017-01-01T00:00:00.25Z", ""},
		{"1990-12-31T15:59:60-08:00", "1991-01-01T00:00:00Z", "the example of section 5.8"},
		{"1937-01-01T12:00:27.87+00:20", "1937-01-01T11:40:27.87Z", "another one"},
		{"2016-12-31T22:59:60Z", "", "no leap second is there"},
		{"2016-12-30T23:59:60Z", "", ""},
		{"2016-12-31T23:59:61Z", "", ""},
		{"2026-03-01 09:30:00Z", "", "the grammar has a T"},
		{"2026-02-29T09:30:00Z", "", ""},
		{"2026-03-01T24:00:00Z", "", ""},
		{"2026-03-01T09:30Z", "", ""},
		{"2026-03-01T09:30:60", "", ""},
		{"2026-03-01T09:30:00", "", ""},
		{"yesterday", "", ""},
		{"", "", ""},
	} {
		at, err := rfc3339.Parse(tt.text)
		if tt.want == "" {
			require.Error(t, err, "%q: %s", tt.text, tt.reason)
			require.Zero(t, at)
			continue
		}
		require.NoError(t, err, "%q: %s", tt.text, tt.reason)
		require.Equal(t, tt.want, at.UTC().Format(time.RFC3339Nano), "%q: %s", tt.text, tt.reason)
	}
}
