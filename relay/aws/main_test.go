package aws_test

import (
	"flag"
	"os"
	"testing"
)

// The tests wait for the server most of the time.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}
