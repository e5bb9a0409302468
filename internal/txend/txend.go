// Package txend is how package eventlog learns that a transaction of package
// tidings has ended, whether it has committed or rolled back.
package txend

import "context"

// Notify calls begin, and at the end of the outermost transaction that ctx is in
// the function that begin returns, before the handlers that wait for it. Both must
// not block. A second call in the same transaction with an equal key does nothing,
// and neither does one outside of a transaction or after its end. Package tidings
// sets it.
var Notify func(ctx context.Context, key any, begin func() (end func()))
