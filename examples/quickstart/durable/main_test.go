package main

// The first attempt failed, and the worker retried it.
func Example() {
	main()
	// Output:
	// shipping: the carrier does not answer
	// shipping: "Middlemarch", attempt 2
}
