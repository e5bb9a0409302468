package kafka_test

import (
	"flag"
	"os"
	"testing"
)

// The tests wait for heartbeats most of the time, so more of them may run at
// once than there are processors.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}
