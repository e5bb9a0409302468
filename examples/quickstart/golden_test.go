package main

import (
	"testing"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/internal/golden"
)

func TestEvents_Shape(t *testing.T) {
	t.Parallel()
	var registry tidings.Registry
	tidings.Register[OrderPlaced](&registry, "orders.order_placed", 1)
	golden.Check(t, &registry, OrderPlaced{OrderID: 1, Item: "Middlemarch"})
}
