package amqp_test

import (
	"os"
	"testing"

	"github.com/tidings-go/tidings/internal/testmain"
)

func TestMain(m *testing.M) {
	testmain.Parallel()
	code := m.Run()
	whenAllEnd.end()
	os.Exit(code)
}
