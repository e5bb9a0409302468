package tidingstest_test

import (
	"regexp"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/tidingstest"
)

type tenant struct {
	tidings.DomainEvent
	Tenant string
}

type ordered struct {
	tenant
	At       time.Time
	Ref      uuid.UUID
	Lines    tidings.List[string]
	Shipping struct{ City string }
	secret   string
	count    uint8
}

type generic[T any] struct {
	tidings.DomainEvent
	Value T
}

func TestEventsString(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	tests := []struct {
		name  string
		event tidings.Event
		want  string
	}{
		{"no fields", tidings.Stamp(ctx, signed{}), `tidingstest_test.signed{} …ID`},
		{"not stamped", created{ClientID: -3}, `tidingstest_test.created{ClientID: -3} (not stamped)`},
		{"zero values", tidings.Stamp(ctx, accepted{}), `tidingstest_test.accepted{ProposalID: 0, Number: ""} …ID`},
		{"nil", nil, "nil"},
		{"nil pointer", (*signed)(nil), "nil"},
		{"pointer", &created{ClientID: 3}, `tidingstest_test.created{ClientID: 3} (not stamped)`},
		{"only generic", tidings.Stamp(ctx, generic[int]{Value: 4}), `tidingstest_test.generic[int]{Value: 4} …ID`},
		{
			"all kinds of",
			tidings.Stamp(ctx, ordered{
				tenant:   tenant{Tenant: "acme \"inc\""},
				At:       time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC),
				Ref:      uuid.MustParse("0192f1a4-5cf3-7d3e-8a6b-3c1d2e4f5a6b"),
				Lines:    tidings.ListOf("a", "b"),
				Shipping: struct{ City string }{"Basel"},
				secret:   "hidden",
				count:    7,
			}),
			`tidingstest_test.ordered{Tenant: "acme \"inc\"", At: 2026-03-01 09:00:00 +0000 UTC, ` +
				`Ref: 0192f1a4-5cf3-7d3e-8a6b-3c1d2e4f5a6b, Lines: [a b], Shipping: {City:Basel}, secret: "hidden", count: 7} …ID`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, "\t1. "+tt.want, shortID.ReplaceAllString(tidingstest.Events{tt.event}.String(), "…ID"))
		})
	}
	require.Equal(t, "\t(no events)", tidingstest.Events{}.String())
}

// The cause is shown by the same part of its ID.
func TestEventsStringCause(t *testing.T) {
	t.Parallel()
	bus := tidingstest.NewBus(t)
	rec := tidingstest.Record(bus)
	tidings.Subscribe(bus, onAccepted(bus))
	require.NoError(t, tidings.Publish(t.Context(), bus, accepted{}))

	s := rec.Delivered().String()
	m := regexp.MustCompile(`(?s)1\. [^\n]*} (…[0-9a-f]{8})\n\t2\. [^\n]*} …[0-9a-f]{8}, caused by (…[0-9a-f]{8})$`).FindStringSubmatch(s)
	require.NotNil(t, m, s)
	require.Equal(t, m[1], m[2])
}
