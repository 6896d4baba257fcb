// Package schema declares the users, teams and events of the comparison to ent.
package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/schema/edge"
	"entgo.io/ent/schema/field"
)

// count:begin declare ent

// User is a user.
type User struct{ ent.Schema }

// Fields implements ent.Interface.
func (User) Fields() []ent.Field {
	return []ent.Field{
		field.String("id"),
		field.String("name"),
		field.String("email"),
		field.String("city"),
		field.String("about"),
		field.Int("score"),
		field.Bool("active"),
		field.Time("created"),
	}
}

// Edges implements ent.Interface.
func (User) Edges() []ent.Edge { return []ent.Edge{edge.To("teams", Team.Type)} }

// count:end
