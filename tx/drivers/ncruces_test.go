//go:build !race

package drivers_test

import (
	_ "github.com/ncruces/go-sqlite3/driver"
	_ "github.com/ncruces/go-sqlite3/embed"
)

// With the race detector, the interpreter of this driver takes minutes.
func init() {
	drivers["ncruces"] = sqlite("sqlite3", "_txlock=immediate&_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=foreign_keys(1)")
}
