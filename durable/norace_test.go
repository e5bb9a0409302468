//go:build !race

package durable_test

const underRace = false
