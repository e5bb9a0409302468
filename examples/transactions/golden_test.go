package transactions_test

import (
	"testing"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/internal/golden"
)

func TestEvents_Shape(t *testing.T) {
	t.Parallel()
	var registry tidings.Registry
	tidings.Register[InvoiceIssued](&registry, "billing.invoice_issued", 1)
	golden.Check(t, &registry, InvoiceIssued{Number: "2026-7"})
}
