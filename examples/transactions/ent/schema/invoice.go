// Package schema describes the entities of the ent example.
package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/schema/field"
)

// Invoice is the table invoices, the same that the other examples use.
type Invoice struct{ ent.Schema }

// Fields implements ent.Interface.
func (Invoice) Fields() []ent.Field {
	return []ent.Field{field.String("number")}
}
