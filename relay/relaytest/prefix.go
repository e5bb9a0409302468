package relaytest

import (
	"strings"
	"testing"

	"github.com/google/uuid"
)

// prefix returns a new prefix for topics and groups.
func prefix(t *testing.T) string {
	t.Helper()
	return "t" + strings.ReplaceAll(uuid.NewString(), "-", "")[:12] + "."
}
