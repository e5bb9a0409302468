// Package testmain is for packages whose tests wait most of the time, for servers
// and for times that are up.
package testmain

import (
	"flag"
	"os"
	"testing"
)

// Run is a TestMain that runs up to twelve tests at once, where go test runs one
// for each processor. -parallel overrides it.
func Run(m *testing.M) {
	Parallel()
	os.Exit(m.Run())
}

// Parallel is for a TestMain that has more to do than Run.
func Parallel() {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if given {
		return
	}
	if err := flag.Set("test.parallel", "12"); err != nil {
		panic(err)
	}
}
