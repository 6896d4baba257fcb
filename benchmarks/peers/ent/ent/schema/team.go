package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/schema/edge"
	"entgo.io/ent/schema/field"
)

// count:begin declare ent

// Team is a team.
type Team struct{ ent.Schema }

// Fields implements ent.Interface.
func (Team) Fields() []ent.Field { return []ent.Field{field.String("id")} }

// Edges implements ent.Interface.
func (Team) Edges() []ent.Edge {
	return []ent.Edge{
		edge.From("members", User.Type).Ref("teams"),
		edge.To("events", Event.Type),
	}
}

// count:end
