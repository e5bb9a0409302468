package gormtx_test

import (
	"testing"

	"github.com/tidings-go/tidings/internal/testmain"
)

func TestMain(m *testing.M) { testmain.Run(m) }
