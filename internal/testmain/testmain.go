// Package testmain is for packages whose tests spend most of their time waiting, for
// servers or for timers.
package testmain

import (
	"flag"
	"os"
	"testing"
)

// Run implements a TestMain that runs up to twelve tests at once, instead of one per
// processor as go test does. The flag -parallel overrides it.
func Run(m *testing.M) {
	Parallel()
	os.Exit(m.Run())
}

// Parallel sets the same limit, for a TestMain that must do more than Run.
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
