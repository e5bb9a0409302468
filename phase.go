package tidings

import "fmt"

// A Phase says when a handler runs, relative to the transaction of the
// publisher. It is a [SubscribeOption].
type Phase int

const (
	// AfterCommit handlers run once the transaction has committed, and at
	// once where there is none. It is the default.
	AfterCommit Phase = iota
	// InTransaction handlers run at once, inside the publisher's
	// transaction ([TxFrom] gives it); Publish returns the error of the
	// first that fails.
	InTransaction
	// BeforeCommit handlers run inside the transaction, just before its
	// outermost commit; the first that fails rolls it back.
	BeforeCommit
	// AfterRollback handlers run once the transaction has rolled back, or
	// failed to commit.
	AfterRollback

	phases = 4
)

// String returns the name of the constant.
func (p Phase) String() string {
	switch p {
	case AfterCommit:
		return "AfterCommit"
	case InTransaction:
		return "InTransaction"
	case BeforeCommit:
		return "BeforeCommit"
	case AfterRollback:
		return "AfterRollback"
	}
	return fmt.Sprintf("Phase(%d)", int(p))
}
