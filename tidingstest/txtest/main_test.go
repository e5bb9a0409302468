package txtest_test

import (
	"testing"

	"github.com/tidings-go/tidings/internal/testmain"
)

// Broken transactors make their process wait.
func TestMain(m *testing.M) { testmain.Run(m) }
