//go:build !race

package durabletest_test

const underRace = false
