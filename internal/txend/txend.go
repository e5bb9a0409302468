// Package txend ties the state of other packages to a transaction of package tidings:
// it tells package eventlog when the transaction has ended, by commit or by rollback, and
// keeps the savepoints of package nested until then.
package txend

import "context"

// Notify calls begin. When the outermost transaction that ctx is in ends, the bus
// calls the function that begin returned, before it runs the handlers that wait for
// the end. Neither function may block. A second call in the same transaction with an
// equal key does nothing, and neither does a call outside a transaction or after its
// end. Package tidings sets Notify.
var Notify func(ctx context.Context, key any, begin func() (end func()))

// Attach returns the value that is attached to the transaction of db that ctx is in. If
// there is none yet, it attaches the result of attach, which may not block. It returns
// nil outside a transaction of db. Package tidings sets Attach.
var Attach func(ctx context.Context, db any, attach func() any) any
