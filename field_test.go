package graphcache_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/graphcache/graphcache"
)

type fieldPlace struct {
	Street string `json:"street"`
	Zip    int    `json:"zip"`
}

type fieldEmbedded struct {
	Color string `json:"color"`
}

type fieldUser struct {
	ID      graphcache.ID[fieldUser] `json:"id"`
	Version graphcache.Version       `json:"version"`
	fieldEmbedded
	Name   string         `json:"name"`
	Age    int            `json:"age"`
	Score  float64        `json:"score"`
	On     bool           `json:"on"`
	Raw    []byte         `json:"raw"`
	Hash   [4]byte        `json:"hash"`
	At     time.Time      `json:"at"`
	Addr   netip.Addr     `json:"addr"`
	Nick   *string        `json:"nick"`
	Host   *netip.Addr    `json:"host"`
	Tags   []string       `json:"tags"`
	Home   fieldPlace     `json:"home"`
	Away   *fieldPlace    `json:"away"`
	Notes  map[string]int `json:"notes"`
	Pairs  [2]int         `json:"pairs"`
	Places []fieldPlace   `json:"places"`
	Hidden int            `json:"-"`
	secret int
}

type (
	fieldID   = graphcache.ID[fieldUser]
	fieldEdge = graphcache.Edge[fieldUser, fieldUser, fieldPlace]
)

var (
	fieldUsers  = graphcache.NewObjectKind[fieldUser]("user")
	fieldTwins  = graphcache.NewObjectKind[fieldUser]("twin") // of the same Go type
	fieldLinks  = graphcache.NewEdgeKind[fieldPlace]("links", fieldUsers, fieldUsers)
	fieldSchema = graphcache.NewSchema(fieldUsers, fieldTwins, fieldLinks)
)

// TestFieldOf: what can be selected, by which function, and the panic that says why
// not, with the kind and the place.
func TestFieldOf(t *testing.T) {
	other, outside := new(fieldUser), new(string)
	var noKind *graphcache.ObjectKind[fieldUser]
	for _, tt := range []struct {
		name string
		of   func()
		why  string // "" if it is a field
	}{
		{"the ID", func() { graphcache.FieldOf(fieldUsers, func(u *fieldUser) *fieldID { return &u.ID }) }, ""},
		{"the ID as a string", func() { graphcache.StringFieldOf(fieldUsers, func(u *fieldUser) *fieldID { return &u.ID }) }, ""},
		{"a string", func() { graphcache.StringFieldOf(fieldUsers, func(u *fieldUser) *string { return &u.Name }) }, ""},
		{"a number", func() { graphcache.OrderedFieldOf(fieldUsers, func(u *fieldUser) *int { return &u.Age }) }, ""},
		{"a boolean", func() { graphcache.FieldOf(fieldUsers, func(u *fieldUser) *bool { return &u.On }) }, ""},
		{"bytes", func() { graphcache.FieldOf(fieldUsers, func(u *fieldUser) *[]byte { return &u.Raw }) }, ""},
		{"a byte array", func() { graphcache.FieldOf(fieldUsers, func(u *fieldUser) *[4]byte { return &u.Hash }) }, ""},
		{"a time", func() { graphcache.OrderedFieldOf(fieldUsers, func(u *fieldUser) *time.Time { return &u.At }) }, ""},
		{"a text", func() { graphcache.FieldOf(fieldUsers, func(u *fieldUser) *netip.Addr { return &u.Addr }) }, ""},
		{"a pointer", func() { graphcache.FieldOf(fieldUsers, func(u *fieldUser) **string { return &u.Nick }) }, ""},
		{"an optional string", func() { graphcache.OptionalFieldOf(fieldUsers, func(u *fieldUser) **string { return &u.Nick }) }, ""},
		{"a pointer to a text", func() { graphcache.FieldOf(fieldUsers, func(u *fieldUser) **netip.Addr { return &u.Host }) }, ""},
		{"a slice", func() { graphcache.SliceFieldOf(fieldUsers, func(u *fieldUser) *[]string { return &u.Tags }) }, ""},
		{"a nested field", func() { graphcache.StringFieldOf(fieldUsers, func(u *fieldUser) *string { return &u.Home.Street }) }, ""},
		{"an embedded field", func() { graphcache.StringFieldOf(fieldUsers, func(u *fieldUser) *string { return &u.Color }) }, ""},
		{"an edge's time", func() { graphcache.OrderedFieldOf(fieldLinks, func(e *fieldEdge) *time.Time { return &e.Time }) }, ""},
		{"an edge's data", func() { graphcache.OrderedFieldOf(fieldLinks, func(e *fieldEdge) *int { return &e.Data.Zip }) }, ""},

		{"the version", func() {
			graphcache.OrderedFieldOf(fieldUsers, func(u *fieldUser) *graphcache.Version { return &u.Version })
		}, "not stored in the document"},
		{"a field that is not stored", func() { graphcache.FieldOf(fieldUsers, func(u *fieldUser) *int { return &u.Hidden }) }, `json:"-"`},
		{"an unexported field", func() { graphcache.FieldOf(fieldUsers, func(u *fieldUser) *int { return &u.secret }) }, "not exported"},
		{"a struct", func() { graphcache.FieldOf(fieldUsers, func(u *fieldUser) *fieldPlace { return &u.Home }) }, "select a field inside it"},
		{"an embedded struct", func() { graphcache.FieldOf(fieldUsers, func(u *fieldUser) *fieldEmbedded { return &u.fieldEmbedded }) }, "select a field inside it"},
		{"a pointer to a struct", func() { graphcache.FieldOf(fieldUsers, func(u *fieldUser) **fieldPlace { return &u.Away }) }, "behind the pointer"},
		{"what a pointer leads to", func() { graphcache.FieldOf(fieldUsers, func(u *fieldUser) *string { return &u.Away.Street }) }, "does not point into the struct"},
		{"a nil pointer", func() { graphcache.FieldOf(fieldUsers, func(u *fieldUser) *string { return u.Nick }) }, "does not point into the struct"},
		{"another struct", func() { graphcache.FieldOf(fieldUsers, func(*fieldUser) *string { return &other.Name }) }, "does not point into the struct"},
		{"a variable", func() { graphcache.FieldOf(fieldUsers, func(*fieldUser) *string { return outside }) }, "does not point into the struct"},
		{"a panic", func() { graphcache.FieldOf(fieldUsers, func(*fieldUser) *string { panic("no") }) }, "does not point into the struct"},
		{"no selector", func() { graphcache.FieldOf[fieldUser, string](fieldUsers, nil) }, "does not point into the struct"},
		{"the whole", func() { graphcache.FieldOf(fieldUsers, func(u *fieldUser) *fieldUser { return u }) }, "fieldUser"},
		{"a map", func() { graphcache.FieldOf(fieldUsers, func(u *fieldUser) *map[string]int { return &u.Notes }) }, "a map is not compared"},
		{"an array", func() { graphcache.FieldOf(fieldUsers, func(u *fieldUser) *[2]int { return &u.Pairs }) }, "use a slice"},
		{"an array's element", func() { graphcache.FieldOf(fieldUsers, func(u *fieldUser) *int { return &u.Pairs[1] }) }, "use a slice"},
		{"a byte of an array", func() { graphcache.FieldOf(fieldUsers, func(u *fieldUser) *byte { return &u.Hash[1] }) }, "array"},
		{"a slice of structs", func() { graphcache.SliceFieldOf(fieldUsers, func(u *fieldUser) *[]fieldPlace { return &u.Places }) }, "is not compared"},
		{"a slice without SliceFieldOf", func() { graphcache.FieldOf(fieldUsers, func(u *fieldUser) *[]string { return &u.Tags }) }, "use SliceFieldOf"},
		{"bytes as a slice", func() { graphcache.SliceFieldOf(fieldUsers, func(u *fieldUser) *[]byte { return &u.Raw }) }, "use FieldOf"},
		{"the ends of an edge", func() { graphcache.FieldOf(fieldLinks, func(e *fieldEdge) *fieldID { return &e.From }) }, "the Time and the fields of the Data"},
		{"the other end", func() { graphcache.FieldOf(fieldLinks, func(e *fieldEdge) *fieldID { return &e.To }) }, "the Time and the fields of the Data"},
		{"the data as a whole", func() { graphcache.FieldOf(fieldLinks, func(e *fieldEdge) *fieldPlace { return &e.Data }) }, ""}, // see below
		{"no kind", func() { graphcache.FieldOf(noKind, func(u *fieldUser) *string { return &u.Name }) }, "package variable"},
		{"nil", func() { graphcache.FieldOf(nil, func(u *fieldUser) *string { return &u.Name }) }, "the kind is nil"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.name == "the data as a whole" {
				tt.why = "fieldPlace"
			}
			got := fieldPanic(tt.of)
			if tt.why == "" {
				if got != "" {
					t.Errorf("panicked: %s", got)
				}
				return
			}
			want := []string{tt.why, "field_test.go:", `kind "`}
			switch {
			case strings.Contains(tt.name, "edge") || strings.Contains(tt.name, "end") || tt.name == "the data as a whole":
				want = append(want, `edge kind "links"`)
			case tt.name != "nil" && tt.name != "no kind":
				want = append(want, `object kind "user"`)
			}
			for _, part := range want {
				if !strings.Contains(got, part) {
					t.Errorf("the panic %q does not say %q", got, part)
				}
			}
		})
	}
}

// fieldPanic returns what f panics with.
func fieldPanic(f func()) (text string) {
	defer func() {
		if v := recover(); v != nil {
			text = fmt.Sprint(v)
		}
	}()
	f()
	return ""
}

// fieldLevel is kept as another text than its own.
type fieldLevel string

func (l fieldLevel) MarshalText() ([]byte, error) { return []byte("level " + l), nil }
func (l *fieldLevel) UnmarshalText(text []byte) error {
	*l = fieldLevel(strings.TrimPrefix(string(text), "level "))
	return nil
}

type fieldLeveled struct {
	ID    graphcache.ID[fieldLeveled] `json:"id"`
	Level fieldLevel                  `json:"level"`
	Maybe *fieldLevel                 `json:"maybe"`
}

// TestFieldOfText: a type that marshals itself is kept as text, which has no order that is
// that of its values.
func TestFieldOfText(t *testing.T) {
	kind := graphcache.NewObjectKind[fieldLeveled]("leveled")
	for name, of := range map[string]func(){
		"ordered":  func() { graphcache.OrderedFieldOf(kind, func(l *fieldLeveled) *fieldLevel { return &l.Level }) },
		"string":   func() { graphcache.StringFieldOf(kind, func(l *fieldLeveled) *fieldLevel { return &l.Level }) },
		"optional": func() { graphcache.OptionalFieldOf(kind, func(l *fieldLeveled) **fieldLevel { return &l.Maybe }) },
	} {
		if got := fieldPanic(of); !strings.Contains(got, "kept as text") || !strings.Contains(got, `"leveled"`) {
			t.Errorf("%s: %q", name, got)
		}
	}
	if got := fieldPanic(func() { graphcache.FieldOf(kind, func(l *fieldLeveled) *fieldLevel { return &l.Level }) }); got != "" {
		t.Errorf("FieldOf: %s", got)
	}
}

// TestFieldOfBroken: a field of a kind whose declaration is wrong leaves it to Open to
// say so, and queries return it.
func TestFieldOfBroken(t *testing.T) {
	broken := graphcache.NewObjectKind[fieldNoID]("broken")
	name := graphcache.StringFieldOf(broken, func(n *fieldNoID) *string { return &n.Name })
	for what, p := range map[string]graphcache.Predicate[fieldNoID]{
		"Eq": name.Eq("x"), "Contains": name.Contains(""), "In": name.In(), "IsZero": name.IsZero(), "IsNil": name.IsNil(), "Not": graphcache.Not(name.Lt("x")),
	} {
		if _, err := broken.Where(p).Key(); !errors.Is(err, graphcache.ErrSchema) {
			t.Errorf("%s: %v, want ErrSchema", what, err)
		}
	}
	if _, err := broken.Where().OrderBy(name.Asc()).Key(); !errors.Is(err, graphcache.ErrSchema) {
		t.Errorf("OrderBy: %v, want ErrSchema", err)
	}
}

type fieldNoID struct{ Name string }

// TestFieldIsPure: a field that is declared twice is one field, to a query's key and to an
// index, whatever was declared between.
func TestFieldIsPure(t *testing.T) {
	declare := func() graphcache.StringField[fieldUser, string] {
		return graphcache.StringFieldOf(fieldUsers, func(u *fieldUser) *string { return &u.Home.Street })
	}
	a := declare()
	calls := 0
	graphcache.FieldOf(fieldUsers, func(u *fieldUser) *int { calls++; return &u.Age })
	if calls != 1 {
		t.Errorf("the selector was called %d times", calls)
	}
	b := declare()
	first, err := fieldUsers.Where(a.Eq("x"), b.Ne("y")).OrderBy(a.Asc(), b.Desc()).Key()
	fixtureMust(t, err)
	second, err := fieldUsers.Where(b.Eq("x"), a.Ne("y")).OrderBy(b.Asc()).Key()
	fixtureMust(t, err)
	if first != second {
		t.Error("a field that is declared twice is two")
	}
	_, err = graphcache.Open(t.Context(), graphcache.NewSchema(fieldUsers, graphcache.NewIndex("x", fieldUsers, a, b)), fixtureNew(t).store, nil)
	if !errors.Is(err, graphcache.ErrSchema) || !strings.Contains(err.Error(), "twice") {
		t.Errorf("an index of a field that is declared twice: %v", err)
	}
}

// TestFieldErrors: a mistake in a predicate or an order stays with it, and comes out of
// every way to run the query, with the field's name.
func TestFieldErrors(t *testing.T) {
	e := fixtureNew(t).withSchema(t, fieldSchema)
	score := graphcache.OrderedFieldOf(fieldUsers, func(u *fieldUser) *float64 { return &u.Score })
	name := graphcache.StringFieldOf(fieldUsers, func(u *fieldUser) *string { return &u.Name })
	id := graphcache.StringFieldOf(fieldUsers, func(u *fieldUser) *fieldID { return &u.ID })
	at := graphcache.OrderedFieldOf(fieldUsers, func(u *fieldUser) *time.Time { return &u.At })
	nick := graphcache.OptionalFieldOf(fieldUsers, func(u *fieldUser) **string { return &u.Nick })
	tags := graphcache.SliceFieldOf(fieldUsers, func(u *fieldUser) *[]string { return &u.Tags })
	twin := graphcache.StringFieldOf(fieldTwins, func(u *fieldUser) *string { return &u.Name })
	far := time.Date(10001, 1, 1, 0, 0, 0, 0, time.UTC)
	where := func(p graphcache.Predicate[fieldUser]) graphcache.Query[fieldUser, graphcache.NoEdge] {
		return fieldUsers.Where(p)
	}
	for _, tt := range []struct {
		name string
		q    graphcache.Query[fieldUser, graphcache.NoEdge]
		says string
	}{
		{"NaN", where(score.Eq(math.NaN())), `"score"`},
		{"less than NaN", where(score.Lt(math.NaN())), `"score"`},
		{"NaN among others", where(score.In(1, math.NaN())), `"score"`},
		{"not NaN", where(graphcache.Not(score.Eq(math.NaN()))), `"score"`},
		{"NaN in an And", where(graphcache.And(name.Eq("x"), score.Ne(math.NaN()))), `"score"`},
		{"invalid UTF-8", where(name.Eq("\xff")), `"name"`},
		{"an invalid prefix", where(name.HasPrefix("\xff")), `"name"`},
		{"an invalid part", where(name.Contains("\xff")), `"name"`},
		{"an invalid ID", where(id.Eq("\xff")), `"ID"`},
		{"an invalid optional", where(nick.Eq("\xff")), `"nick"`},
		{"an invalid element", where(tags.Has("\xff")), `"tags"`},
		{"an invalid slice", where(tags.Eq([]string{"a", "\xff"})), `tags[1]`},
		{"a far year", where(at.Gt(far)), `"at"`},
		{"IsNil of a string", where(name.IsNil()), `"name"`},
		{"a field of another kind", where(twin.Eq("x")), `"twin"`},
		{"an order by another kind", where(name.Eq("x")).OrderBy(twin.Asc()), `"twin"`},
		{"no order", where(name.Eq("x")).OrderBy(graphcache.Order[fieldUser]{}), "field"},
		{"no predicate", where(graphcache.Predicate[fieldUser]{}), "Predicate"},
		{"not no predicate", where(graphcache.Not(graphcache.Predicate[fieldUser]{})), "Predicate"},
		{"the first mistake", where(score.Eq(math.NaN())).Where(twin.Eq("x")).Limit(-1), `"score"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for call, err := range fieldRuns(t.Context(), e, tt.q) {
				if !errors.Is(err, graphcache.ErrInvalid) || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("%s: %v, want ErrInvalid that says %s", call, err, tt.says)
				}
			}
		})
	}
	if n := e.fstore.Total() + e.fcache.Total(); n != 0 {
		t.Errorf("%d calls of the store and the cache", n)
	}
	when := graphcache.OrderedFieldOf(fieldLinks, func(e *fieldEdge) *time.Time { return &e.Time })
	for call, p := range map[string]graphcache.Predicate[fieldEdge]{"IsZero": when.IsZero(), "IsNil": when.IsNil(), "Eq": when.Eq(far)} {
		if _, err := fieldLinks.Out(fieldID("a")).WhereEdge(p).Edges(t.Context(), e); !errors.Is(err, graphcache.ErrInvalid) || !strings.Contains(err.Error(), `"Time"`) {
			t.Errorf("%s of an edge's time: %v", call, err)
		}
	}
}

// fieldRuns are the errors of all the ways to run a query.
func fieldRuns(ctx context.Context, e *fixtureEngine, q graphcache.Query[fieldUser, graphcache.NoEdge]) map[string]error {
	errs := map[string]error{}
	_, errs["All"] = q.All(ctx, e)
	_, errs["First"] = q.First(ctx, e)
	_, errs["Only"] = q.Only(ctx, e)
	_, errs["IDs"] = q.IDs(ctx, e)
	_, errs["Count"] = q.Count(ctx, e)
	_, errs["Exists"] = q.Exists(ctx, e)
	_, _, errs["Page"] = q.Limit(1).Page(ctx, e, "")
	_, errs["Key"] = q.Key()
	_, errs["DeleteAll"] = q.DeleteAll(ctx, e)
	_, errs["UpdateAll"] = q.UpdateAll(ctx, e, func(*fieldUser) error { return nil })
	errs["Explain"] = q.Explain(ctx, e).Err
	_, errs["a hop"] = fieldLinks.Out(q).IDs(ctx, e)
	for _, err := range q.Iter(ctx, e) {
		errs["Iter"] = err
	}
	return errs
}
