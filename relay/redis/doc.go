// Package redis is the broker of package relay for Redis streams.
package redis
