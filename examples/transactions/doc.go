// Package transactions shows how tidings runs on top of the database libraries of
// Go. pgx, GORM, bun and sqlx have a module each, such as tx/gormtx; for
// database/sql there is [tidings.InTx]. For ent there is a [tidings.Transactor] to
// copy here. Sqlx is the same for sqlx, as an example of another library.
//
// One suite tests all of them on a real database.
//
// The DB of a Transactor stands for the database. Code that uses the same database
// through another library, such as an event log on the *sql.DB below GORM, needs the
// same DB, and its own form of the transaction, which the TxFunc adds.
package transactions
