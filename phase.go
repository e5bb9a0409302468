package tidings

import "fmt"

// A Phase sets when a handler runs, relative to the publisher's transaction. It is a
// [SubscribeOption]. Outside a transaction, the phases run one after the other: if a
// handler before the commit fails, Publish goes on with the AfterRollback handlers
// instead of the AfterCommit handlers.
type Phase int

const (
	// AfterCommit handlers run once the transaction has committed, and immediately if
	// there is no transaction. This is the default.
	AfterCommit Phase = iota
	// InTransaction handlers run immediately, inside the publisher's transaction,
	// which they get from [TxFrom]. Publish returns the error of the first one that
	// fails.
	InTransaction
	// BeforeCommit handlers run inside the transaction, just before its outermost
	// commit. The first one that fails rolls the transaction back.
	BeforeCommit
	// AfterRollback handlers run once the transaction has rolled back, or has failed
	// to commit.
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
