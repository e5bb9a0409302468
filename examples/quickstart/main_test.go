package main

// The order that was rolled back reached nobody, and left no row.
func Example() {
	main()
	// Output:
	// 20 copies: not enough on the shelf
	// shipping: 2 of "Middlemarch", order 1
	//  2 copies: <nil>
}
