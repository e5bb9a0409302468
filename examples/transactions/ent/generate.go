// The client is generated with the feature sql/execquery, whose ExecContext
// is what sets savepoints.
package ent

//go:generate go tool ent generate --feature sql/execquery ./schema
