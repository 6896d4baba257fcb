package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/schema/edge"
	"entgo.io/ent/schema/field"
	"entgo.io/ent/schema/index"
)

// count:begin declare ent

// Event is an event of a team.
type Event struct{ ent.Schema }

// Fields implements ent.Interface.
func (Event) Fields() []ent.Field {
	return []ent.Field{
		field.String("id"),
		field.String("kind"),
		field.String("title"),
		field.String("body"),
		field.Time("created"),
	}
}

// Edges implements ent.Interface.
func (Event) Edges() []ent.Edge {
	return []ent.Edge{edge.From("team", Team.Type).Ref("events").Unique()}
}

// Indexes implements ent.Interface.
func (Event) Indexes() []ent.Index {
	return []ent.Index{index.Fields("created").Edges("team")}
}

// count:end
