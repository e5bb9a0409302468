//go:build !race

package faulttest_test

const underRace = false
