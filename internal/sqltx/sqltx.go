// Package sqltx gives the modules for libraries above database/sql the transactions of
// tidings.InTx.
package sqltx

import (
	"context"
	"database/sql"
)

// TxFunc returns the TxFunc of tidings.InTx with opts. Package tidings sets it.
var TxFunc func(db *sql.DB, opts *sql.TxOptions) func(ctx context.Context, body func(context.Context) error) error
