// Package txend tells package eventlog when a transaction of package tidings has
// ended, by commit or by rollback.
package txend

import "context"

// Notify calls begin. When the outermost transaction that ctx is in ends, the bus
// calls the function that begin returned, before it runs the handlers that wait for
// the end. Neither function may block. A second call in the same transaction with an
// equal key does nothing, and neither does a call outside a transaction or after its
// end. Package tidings sets Notify.
var Notify func(ctx context.Context, key any, begin func() (end func()))
