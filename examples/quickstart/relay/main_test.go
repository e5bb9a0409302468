package main

import (
	"context"
	"log"
)

// The event went through a broker in memory.
func Example() {
	if err := run(context.Background(), "memory://quickstart"); err != nil {
		log.Fatal(err)
	}
	// Output:
	// shipping: "Middlemarch"
}
