package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReportOfOneCase(t *testing.T) {
	var page, progress strings.Builder
	err := run([]string{"-count", "1", "-benchtime", "1ms", "-run", "^(stamp|types)$"}, &page, &progress)
	require.NoError(t, err, "bars that were missed or not measured are no error")
	require.Contains(t, page.String(), "`go run ./bench/cmd/report -count 1 -benchtime 1ms -run '^(stamp|types)$'`")
	require.Contains(t, page.String(), "\n## Stamping an event\n")
	require.Contains(t, page.String(), "\n## A thousand event types\n")
	require.NotContains(t, page.String(), "\n## One handler\n")
	require.Contains(t, page.String(), "| Ten handlers | ≤ 4x bare |  | not measured |")
	require.Contains(t, progress.String(), "stamp\n")
}

func TestReportRefusesWhatItCannotRun(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
	}{
		{"an argument", []string{"handlers-1"}},
		{"no measurement", []string{"-count", "0"}},
		{"no time", []string{"-benchtime", "0s"}},
		{"no such case", []string{"-run", "^nothing$"}},
		{"an open expression", []string{"-run", "("}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var page, progress strings.Builder
			require.Error(t, run(tt.args, &page, &progress))
			require.Empty(t, page.String())
		})
	}
}

func TestCommandCanBeTypedAgain(t *testing.T) {
	require.Equal(t, "go run ./bench/cmd/report", command(nil))
	require.Equal(t, `go run ./bench/cmd/report -run 'it'\''s|x' -count=3`, command([]string{"-run", "it's|x", "-count=3"}))
}
