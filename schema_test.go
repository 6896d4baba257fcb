package graphcache_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/memory"
)

type schemaUser struct {
	ID   graphcache.ID[schemaUser] `json:"id"`
	Name string                    `json:"name"`
}

type schemaTeam struct {
	Key  graphcache.ID[schemaTeam] `graph:"id"`
	Lead graphcache.ID[schemaUser]
}

var (
	schemaUsers = graphcache.NewObjectKind[schemaUser]("user")
	schemaTeams = graphcache.NewObjectKind[schemaTeam]("team")
)

type (
	schemaNoID   struct{ Name string }
	schemaTwoIDs struct {
		ID   graphcache.ID[schemaTwoIDs]
		A, B graphcache.ID[schemaTwoIDs] `graph:"id"`
	}
	schemaTwoVersions struct {
		ID   graphcache.ID[schemaTwoVersions]
		A, B graphcache.Version
	}
	schemaAny struct {
		ID   graphcache.ID[schemaAny]
		Data struct{ Deep any }
	}
	schemaHidden struct {
		ID  graphcache.ID[schemaHidden]
		Box struct{ n int }
	}
	schemaReserved struct {
		ID graphcache.ID[schemaReserved]
		X  int `json:"_x"`
	}
	schemaIndexed struct {
		ID   graphcache.ID[schemaIndexed]
		City string `graph:"index"`
	}
	schemaVersioned struct{ V graphcache.Version }
)

// noData is short for an edge kind without data.
func noData[A, B any](name string, from *graphcache.ObjectKind[A], to *graphcache.ObjectKind[B]) *graphcache.EdgeKind[A, B, graphcache.NoData] {
	return graphcache.NewEdgeKind[graphcache.NoData](name, from, to)
}

func TestSchemaMistakes(t *testing.T) {
	tests := []struct {
		name  string
		kinds []graphcache.Kind
		want  string
	}{
		{"empty", nil, `no object kinds`},
		{"nil", []graphcache.Kind{schemaUsers, nil, (*graphcache.ObjectKind[schemaTeam])(nil)}, `2 of the kinds are nil`},
		{"bad name", []graphcache.Kind{graphcache.NewObjectKind[schemaUser]("a b")}, `object kind "a b": a name has 1 to 64 letters`},
		{"empty name", []graphcache.Kind{graphcache.NewObjectKind[schemaUser]("")}, `object kind "": a name has 1 to 64 letters`},
		{"name used twice", []graphcache.Kind{schemaUsers, graphcache.NewObjectKind[schemaTeam]("user")}, `object kind "user": the name is used twice`},
		{"name of an edge kind used twice", []graphcache.Kind{schemaUsers, noData("user", schemaUsers, schemaUsers)}, `edge kind "user": the name is used twice`},
		{"not a struct", []graphcache.Kind{graphcache.NewObjectKind[string]("s")}, `object kind "s": string is not a struct`},
		{"no ID", []graphcache.Kind{graphcache.NewObjectKind[schemaNoID]("n")}, `object kind "n": no field is the ID: graphcache_test.schemaNoID needs a field ID of type graphcache.ID[schemaNoID]`},
		{"two IDs by tag", []graphcache.Kind{graphcache.NewObjectKind[schemaTwoIDs]("i")}, `object kind "i": field "B": a second field tagged ` + "`graph:\"id\"`"},
		{"two versions", []graphcache.Kind{graphcache.NewObjectKind[schemaTwoVersions]("v")}, `object kind "v": field "B": a second field of type graphcache.Version`},
		{"interface", []graphcache.Kind{graphcache.NewObjectKind[schemaAny]("a")}, `object kind "a": field "Data.Deep"`},
		{"unexported only", []graphcache.Kind{graphcache.NewObjectKind[schemaHidden]("h")}, `object kind "h": field "Box"`},
		{"reserved name", []graphcache.Kind{graphcache.NewObjectKind[schemaReserved]("r")}, `object kind "r": field "X": the name "_x" starts with '_'`},
		{"index tag in data", []graphcache.Kind{schemaUsers, graphcache.NewEdgeKind[schemaIndexed]("e", schemaUsers, schemaUsers)}, `edge kind "e": field "City": only objects have indexes`},
		{"end missing", []graphcache.Kind{schemaUsers, noData("in", schemaUsers, schemaTeams)}, `edge kind "in": the object kind "team" at an end is not in the schema`},
		{"end nil", []graphcache.Kind{schemaUsers, noData[schemaUser, schemaTeam]("in", schemaUsers, nil)}, `edge kind "in": the object kind at an end is nil`},
		{"data not a struct", []graphcache.Kind{schemaUsers, graphcache.NewEdgeKind[int]("e", schemaUsers, schemaUsers)}, `edge kind "e": its data, int, is not a struct`},
		{"version in data", []graphcache.Kind{schemaUsers, graphcache.NewEdgeKind[schemaVersioned]("e", schemaUsers, schemaUsers)}, `edge kind "e": field "V": only objects have a graphcache.Version`},
		{"symmetric between two kinds", []graphcache.Kind{schemaUsers, schemaTeams, noData("s", schemaUsers, schemaTeams).Symmetric()}, `edge kind "s": a symmetric kind joins objects of one kind, not "user" and "team"`},
		{"symmetric and to-one", []graphcache.Kind{schemaUsers, noData("s", schemaUsers, schemaUsers).Symmetric().ToOne()}, `edge kind "s": a kind cannot be both symmetric and to-one`},
		{"bad family", []graphcache.Kind{schemaUsers, noData("a", schemaUsers, schemaUsers).Family("1")}, `edge kind "a": the family name "1"`},
		{
			"family with other ends", []graphcache.Kind{schemaUsers, schemaTeams, noData("a", schemaUsers, schemaUsers).Family("f"), noData("b", schemaUsers, schemaTeams).Family("f")},
			`edge kind "b": its ends differ from those of "a" in the same family "f"`,
		},
		{
			"family with other data", []graphcache.Kind{schemaUsers, noData("a", schemaUsers, schemaUsers).Family("f"), graphcache.NewEdgeKind[schemaNoID]("b", schemaUsers, schemaUsers).Family("f")},
			`edge kind "b": its data type graphcache_test.schemaNoID differs from that of "a"`,
		},
		{
			"family with other form", []graphcache.Kind{schemaUsers, noData("a", schemaUsers, schemaUsers).Family("f"), noData("b", schemaUsers, schemaUsers).Family("f").ToOne()},
			`edge kind "b": it differs in ToOne or Symmetric from "a"`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := graphcache.Open(t.Context(), graphcache.NewSchema(tt.kinds...), memory.NewStore(nil), nil)
			if !errors.Is(err, graphcache.ErrSchema) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Open = %v\nwant ErrSchema with: %s", err, tt.want)
			}
		})
	}
}

func TestSchemaReportsEveryMistake(t *testing.T) {
	s := graphcache.NewSchema(graphcache.NewObjectKind[schemaNoID]("n"), graphcache.NewObjectKind[schemaReserved]("r"), noData("in", schemaUsers, schemaUsers))
	_, err := graphcache.Open(t.Context(), s, memory.NewStore(nil), nil)
	for _, kind := range []string{`"n"`, `"r"`, `"in"`} {
		if err == nil || !strings.Contains(err.Error(), kind) {
			t.Errorf("the error does not name kind %s: %v", kind, err)
		}
	}
}

func TestIDByTag(t *testing.T) {
	g, err := graphcache.Open(t.Context(), graphcache.NewSchema(schemaUsers, schemaTeams), memory.NewStore(nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	team := &schemaTeam{Lead: "ann"}
	if err := schemaTeams.Create(t.Context(), g, team); err != nil {
		t.Fatal(err)
	}
	got, err := schemaTeams.Get(t.Context(), g, team.Key)
	if err != nil || *got != *team || len(got.Key) != 26 {
		t.Errorf("Get = %+v, %v, want %+v with a generated ID of 26 characters", got, err, team)
	}
}

func TestKindNotInSchema(t *testing.T) {
	g, err := graphcache.Open(t.Context(), graphcache.NewSchema(schemaUsers), memory.NewStore(nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	in := noData("in", schemaUsers, schemaTeams)
	_, getErr := schemaTeams.Get(t.Context(), g, "x")
	_, queryErr := in.Out(graphcache.ID[schemaUser]("x")).All(t.Context(), g)
	for name, err := range map[string]error{
		"Get": getErr, "All": queryErr,
		"Create": schemaTeams.Create(t.Context(), g, &schemaTeam{}),
		"Add":    in.Add(t.Context(), g, "x", "y", graphcache.NoData{}),
	} {
		if !errors.Is(err, graphcache.ErrSchema) || !strings.Contains(err.Error(), "is not in the graph's schema") {
			t.Errorf("%s = %v, want ErrSchema", name, err)
		}
	}
}

// TestKindWithoutEnd: an edge kind that was declared without an end is in no schema, and
// every use of it says so.
func TestKindWithoutEnd(t *testing.T) {
	g, err := graphcache.Open(t.Context(), graphcache.NewSchema(schemaUsers, schemaTeams), memory.NewStore(nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, k := range map[string]*graphcache.EdgeKind[schemaUser, schemaTeam, graphcache.NoData]{
		"no from":   noData[schemaUser]("in", nil, schemaTeams),
		"no to":     noData[schemaUser, schemaTeam]("in", schemaUsers, nil),
		"no end":    noData[schemaUser, schemaTeam]("in", nil, nil),
		"symmetric": noData[schemaUser, schemaTeam]("in", nil, nil).Symmetric(),
		"to-one":    noData[schemaUser, schemaTeam]("in", nil, nil).ToOne(),
	} {
		user, team := graphcache.ID[schemaUser]("ann"), graphcache.ID[schemaTeam]("t")
		_, get := k.Get(t.Context(), g, user, team)
		_, count := k.Count(t.Context(), g, user)
		_, out := k.Out(user).All(t.Context(), g)
		_, in := k.In(team).IDs(t.Context(), g)
		for use, err := range map[string]error{
			"Get": get, "Count": count, "Out": out, "In": in,
			"Add":        k.Add(t.Context(), g, user, team, graphcache.NoData{}),
			"Remove":     k.Remove(t.Context(), g, user, team),
			"ChangeKind": k.ChangeKind(t.Context(), g, user, team, k),
		} {
			if !errors.Is(err, graphcache.ErrSchema) {
				t.Errorf("%s: %s = %v, want ErrSchema", name, use, err)
			}
		}
	}
}

func TestSchemaDriver(t *testing.T) {
	d, err := shopSchema.Driver()
	if err != nil || len(d.Objects) == 0 || len(d.Edges) == 0 {
		t.Errorf("Driver: %+v, %v", d, err)
	}
	if _, err := graphcache.NewSchema().Driver(); !errors.Is(err, graphcache.ErrSchema) {
		t.Errorf("Driver of a schema without kinds: %v, want ErrSchema", err)
	}
}
