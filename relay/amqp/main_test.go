package amqp_test

import (
	"flag"
	"os"
	"testing"
)

// Twice as many tests at once as testmain has them are no burden: they wait for
// time limits of ten seconds, and for their turn.
const parallel = "24"

func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		if err := flag.Set("test.parallel", parallel); err != nil {
			panic(err)
		}
	}
	code := m.Run()
	whenAllEnd.end()
	os.Exit(code)
}
