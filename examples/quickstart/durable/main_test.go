package main

// The first attempt failed, and the second came by itself.
func Example() {
	main()
	// Output:
	// shipping: the carrier does not answer
	// shipping: "Middlemarch", attempt 2
}
