package graphcache_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/driver"
)

type indexUser struct {
	ID    graphcache.ID[indexUser] `json:"id"`
	City  string                   `json:"city" graph:"index"`
	Email string                   `json:"email" graph:"unique"`
	Name  string                   `json:"name"`
	Team  *string                  `json:"team"`
	Seat  *int                     `json:"seat"`
	Tags  []string                 `json:"tags" graph:"index"`
	Codes []int                    `json:"codes"`
	Bio   string                   `json:"bio" graph:"index"`
}

type indexOther struct {
	ID   graphcache.ID[indexOther] `json:"id"`
	Name string                    `json:"name"`
}

type indexID = graphcache.ID[indexUser]

var (
	indexUsers  = graphcache.NewObjectKind[indexUser]("user")
	indexOthers = graphcache.NewObjectKind[indexOther]("other")
	indexIDs    = graphcache.StringFieldOf(indexUsers, func(u *indexUser) *indexID { return &u.ID })
	indexCity   = graphcache.StringFieldOf(indexUsers, func(u *indexUser) *string { return &u.City })
	indexEmail  = graphcache.StringFieldOf(indexUsers, func(u *indexUser) *string { return &u.Email })
	indexName   = graphcache.StringFieldOf(indexUsers, func(u *indexUser) *string { return &u.Name })
	indexTeam   = graphcache.OptionalFieldOf(indexUsers, func(u *indexUser) **string { return &u.Team })
	indexSeat   = graphcache.OptionalFieldOf(indexUsers, func(u *indexUser) **int { return &u.Seat })
	indexTags   = graphcache.SliceFieldOf(indexUsers, func(u *indexUser) *[]string { return &u.Tags })
	indexCodes  = graphcache.SliceFieldOf(indexUsers, func(u *indexUser) *[]int { return &u.Codes })
	indexBio    = graphcache.StringFieldOf(indexUsers, func(u *indexUser) *string { return &u.Bio })
	indexSeats  = graphcache.NewIndex("seats", indexUsers, indexTeam, indexSeat).Unique()
	indexByTeam = graphcache.NewIndex("by_team", indexUsers, indexTeam, indexName)
	indexSchema = graphcache.NewSchema(indexUsers, indexOthers, indexSeats, indexByTeam)
)

func indexEngine(t testing.TB) *fixtureEngine {
	return (&fixtureEngine{store: memory.NewStore(nil), cache: memory.NewCache(nil)}).withSchema(t, indexSchema)
}

// indexNew is a user that breaks no index.
func indexNew(id indexID) *indexUser { return &indexUser{ID: id, Email: string(id) + "@x"} }

// indexFind returns the IDs that a query finds, twice from the cache and once from the
// store, which must be the same.
func indexFind(t testing.TB, e *fixtureEngine, q graphcache.Query[indexUser, graphcache.NoEdge]) string {
	t.Helper()
	var found []string
	for _, q := range []graphcache.Query[indexUser, graphcache.NoEdge]{q, q, q.Fresh()} {
		ids, err := q.IDs(t.Context(), e)
		fixtureMust(t, err)
		e.settle(t)
		found = append(found, fmt.Sprint(ids))
	}
	if found[0] != found[1] || found[0] != found[2] {
		t.Errorf("cold %s, warm %s, fresh %s", found[0], found[1], found[2])
	}
	return strings.Trim(found[0], "[]")
}

// TestIndexDeclared: a mistake is told by Open, with the index and the kind.
func TestIndexDeclared(t *testing.T) {
	type user = indexUser
	otherName := graphcache.StringFieldOf(indexOthers, func(o *indexOther) *string { return &o.Name })
	again := graphcache.NewObjectKind[indexUser]("again")
	againName := graphcache.StringFieldOf(again, func(u *indexUser) *string { return &u.Name })
	many := []graphcache.AnyField[user]{indexCity, indexEmail, indexName, indexTeam, indexSeat, indexTags, indexBio, indexCodes, againName}
	for _, tt := range []struct {
		name  string
		index graphcache.Kind
		want  []string
	}{
		{"no field", graphcache.NewIndex("x", indexUsers), []string{`index "x"`, `"user"`, "0 fields"}},
		{"too many", graphcache.NewIndex("x", indexUsers, many...), []string{`index "x"`, `"user"`, "9 fields"}},
		{"a nil field", graphcache.NewIndex("x", indexUsers, indexCity, nil), []string{`index "x"`, `"user"`, "nil"}},
		{"an empty field", graphcache.NewIndex("x", indexUsers, graphcache.Field[user, int]{}), []string{`index "x"`, `"user"`, "nil"}},
		{"a field twice", graphcache.NewIndex("x", indexUsers, indexCity, indexCity), []string{`index "x"`, `"user"`, `"city"`, "twice"}},
		{"two slices", graphcache.NewIndex("x", indexUsers, indexTags, indexCodes), []string{`index "x"`, `"user"`, "slice"}},
		{"the ID", graphcache.NewIndex("x", indexUsers, indexIDs), []string{`index "x"`, `"user"`, "ID"}},
		{"a field of another kind", graphcache.NewIndex("x", indexUsers, againName), []string{`index "x"`, `"user"`, `"again"`}},
		{"no kind", graphcache.NewIndex[user]("x", nil, indexCity), []string{`index "x"`, "nil"}},
		{"a name", graphcache.NewIndex("no name", indexUsers, indexCity), []string{`index "no name"`, "letters"}},
		{"the name of a tag", graphcache.NewIndex("city", indexUsers, indexName), []string{`"user"`, `"city"`, "two indexes"}},
		{"an index twice", graphcache.NewIndex("seats", indexUsers, indexTeam), []string{`"user"`, `"seats"`, "two indexes"}},
		{"a kind that is not there", graphcache.NewIndex("x", again, againName), []string{`index "x"`, `"again"`, "not in the schema"}},
		{"nil", (*graphcache.Index[user])(nil), []string{"nil"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := graphcache.Open(t.Context(), graphcache.NewSchema(indexUsers, indexOthers, indexSeats, tt.index), memory.NewStore(nil), nil)
			if !errors.Is(err, graphcache.ErrSchema) {
				t.Fatalf("Open: %v, want ErrSchema", err)
			}
			for _, part := range tt.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("the error %q does not say %s", err, part)
				}
			}
		})
	}
	if _, err := graphcache.Open(t.Context(), graphcache.NewSchema(indexUsers, indexOthers,
		graphcache.NewIndex("name", indexUsers, indexName), graphcache.NewIndex("name", indexOthers, otherName)), memory.NewStore(nil), nil); err != nil {
		t.Errorf("two kinds, each with an index of one name: %v", err)
	}
	if plain := graphcache.NewIndex("plain", indexUsers, indexName); plain.Unique() == plain || plain.Unique().Name() != "plain" {
		t.Error("Unique returns the index itself, or one of another name")
	}
}

// TestIndexOfEdges: only objects have indexes.
func TestIndexOfEdges(t *testing.T) {
	type data struct {
		Note string `json:"note" graph:"index"`
	}
	kind := graphcache.NewEdgeKind[data]("noted", indexUsers, indexUsers)
	_, err := graphcache.Open(t.Context(), graphcache.NewSchema(indexUsers, kind), memory.NewStore(nil), nil)
	if !errors.Is(err, graphcache.ErrSchema) || !strings.Contains(err.Error(), "only objects have indexes") {
		t.Errorf("an index on an edge: %v", err)
	}
}

// TestIndexEntries: what is in an index under which values: zero values are, nils are
// not, a slice is by its elements, and what is too long is found without.
func TestIndexEntries(t *testing.T) {
	e := indexEngine(t)
	team, empty, seat, long := "red", "", 7, strings.Repeat("x", 1025)
	users := []*indexUser{
		{ID: "a", Email: "a", City: "", Tags: []string{"x", "y", "x"}, Team: &team, Seat: &seat, Name: "ann"},
		{ID: "b", Email: "b", City: "rome", Tags: nil, Team: &team, Name: "bob", Bio: long},
		{ID: "c", Email: "c", City: "rome", Tags: []string{}, Team: &empty, Name: "cid", Bio: long + "y"},
		{ID: "d", Email: "d", City: "rome", Tags: []string{"y", ""}, Name: "dan", Bio: strings.Repeat("x", 1024)},
	}
	for _, u := range users {
		fixtureMust(t, indexUsers.Create(t.Context(), e, u))
	}
	for _, tt := range []struct {
		name   string
		where  graphcache.Predicate[indexUser]
		want   string
		access graphcache.Access
	}{
		{"a zero value", indexCity.Eq(""), "a", graphcache.ByIndex},
		{"a value", indexCity.Eq("rome"), "b c d", graphcache.ByIndex},
		{"no value", indexCity.Eq("oslo"), "", graphcache.ByIndex},
		{"an element", indexTags.Has("x"), "a", graphcache.ByIndex},
		{"an element of two", indexTags.Has("y"), "a d", graphcache.ByIndex},
		{"an empty element", indexTags.Has(""), "d", graphcache.ByIndex},
		{"no elements", indexTags.Eq([]string{}), "c", graphcache.ByStore},
		{"a nil slice", indexTags.IsNil(), "b", graphcache.ByStore},
		{"a pointer", indexTeam.Eq("red"), "a b", graphcache.ByIndex},
		{"a pointer to a zero value", indexTeam.Eq(""), "c", graphcache.ByIndex},
		{"a nil pointer", indexTeam.IsNil(), "d", graphcache.ByStore},
		{"a long value", indexBio.Eq(long), "b", graphcache.ByStore},
		{"a long value among others", indexBio.In(long, ""), "a b", graphcache.ByStore},
		{"the longest value", indexBio.Eq(strings.Repeat("x", 1024)), "d", graphcache.ByIndex},
		{"a compound index", graphcache.And(indexTeam.Eq("red"), indexSeat.Eq(7)), "a", graphcache.ByIndex},
		{"a compound index and a nil", graphcache.And(indexTeam.Eq("red"), indexSeat.IsNil()), "b", graphcache.ByIndex},
	} {
		t.Run(tt.name, func(t *testing.T) {
			q := indexUsers.Where(tt.where)
			if got := indexFind(t, e, q); got != tt.want {
				t.Errorf("found %q, want %q", got, tt.want)
			}
			if n, err := q.Count(t.Context(), e); err != nil || n != len(strings.Fields(tt.want)) {
				t.Errorf("counted %d, %v", n, err)
			}
			if got := q.Explain(t.Context(), e).Steps[0].Access; got != tt.access {
				t.Errorf("answered by %v, want %v", got, tt.access)
			}
		})
	}
	// Every change of what is cached is seen.
	for i, change := range []func(u *indexUser){
		func(u *indexUser) { u.Tags = []string{"y"} },
		func(u *indexUser) { u.Tags = nil },
		func(u *indexUser) { u.City = "rome" },
		func(u *indexUser) { u.Team = nil },
		func(u *indexUser) { u.Bio = long },
		func(u *indexUser) { u.Bio = long + "z" },
		func(u *indexUser) { u.Team, u.Name = &empty, "aaa" },
	} {
		_, err := indexUsers.Update(t.Context(), e, "a", func(u *indexUser) error { change(u); return nil })
		fixtureMust(t, err)
		for _, where := range []graphcache.Predicate[indexUser]{
			indexTags.Has("x"), indexTags.Has("y"), indexCity.Eq("rome"), indexCity.Eq(""), indexTeam.Eq("red"), indexTeam.Eq(""), indexBio.Eq(long), indexBio.In(long+"z", ""),
		} {
			q := indexUsers.Where(where)
			indexFind(t, e, q)
			indexFind(t, e, q.OrderBy(indexName.Desc()))
		}
		if t.Failed() {
			t.Fatalf("after change %d", i)
		}
	}
}

// indexTaken checks that the error is ErrExists and names the index.
func indexTaken(t *testing.T, what, index string, err error) {
	t.Helper()
	if !errors.Is(err, graphcache.ErrExists) || !strings.Contains(err.Error(), fmt.Sprintf("index %q", index)) {
		t.Errorf("%s: %v, want ErrExists because of %q", what, err, index)
	}
}

// TestUnique: every way to write a value that is taken.
func TestUnique(t *testing.T) {
	e, ctx := indexEngine(t), t.Context()
	fixtureMust(t, indexUsers.Create(ctx, e, indexNew("ann")))
	fixtureMust(t, indexUsers.Create(ctx, e, indexNew("bob")))
	taken := indexNew("cid")
	taken.Email = "ann@x"
	indexTaken(t, "Create", "email", indexUsers.Create(ctx, e, taken))
	if taken.ID != "cid" {
		t.Errorf("the object's ID is now %q", taken.ID)
	}
	indexTaken(t, "Put of a new object", "email", indexUsers.Put(ctx, e, taken))
	taken.ID = "bob"
	indexTaken(t, "Put", "email", indexUsers.Put(ctx, e, taken))
	_, err := indexUsers.Update(ctx, e, "bob", func(u *indexUser) error { u.Email = "ann@x"; return nil })
	indexTaken(t, "Update", "email", err)
	_, err = indexUsers.Apply(ctx, e, "bob", indexEmail.Set("ann@x"))
	indexTaken(t, "Apply", "email", err)
	report, err := indexUsers.Where(indexIDs.Eq("bob")).ApplyAll(ctx, e, indexEmail.Set("ann@x"))
	indexTaken(t, "ApplyAll", "email", err)
	if report.Written != 0 {
		t.Errorf("ApplyAll reports %+v", report)
	}
	_, err = indexUsers.Where().UpdateAll(ctx, e, func(u *indexUser) error { u.Email = "one"; return nil })
	indexTaken(t, "UpdateAll", "email", err)
	indexTaken(t, "CreateAll", "email", e.CreateAll(ctx, &indexUser{ID: "dan", Email: "bob@x"}))
	indexTaken(t, "a Tx", "email", e.Tx(ctx, func(tx *graphcache.Tx) error {
		return indexUsers.Create(ctx, tx, &indexUser{ID: "eve", Email: "bob@x"})
	}))
	if got := indexFind(t, e, indexUsers.Where(indexEmail.Eq("bob@x"))); got != "bob" {
		t.Errorf("bob@x is that of %q", got)
	}
	if err := indexUsers.Create(ctx, e, indexNew("bob")); !errors.Is(err, graphcache.ErrExists) || strings.Contains(err.Error(), "index") {
		t.Errorf("an ID that is taken, with its own value: %v", err)
	}
}

// TestUniqueIsFree: a value is free again after its object is gone or has another, and
// nobody needs one that is nil.
func TestUniqueIsFree(t *testing.T) {
	e, ctx := indexEngine(t), t.Context()
	create := func(id, email string, team *string, seat *int) error {
		return indexUsers.Create(ctx, e, &indexUser{ID: indexID(id), Email: email, Team: team, Seat: seat})
	}
	red, one, two := "red", 1, 2
	fixtureMust(t, create("a", "a", &red, &one))
	fixtureMust(t, create("b", "b", &red, nil))
	fixtureMust(t, create("c", "c", &red, nil))
	fixtureMust(t, create("d", "d", nil, &one))
	fixtureMust(t, create("e", "e", nil, &one))
	fixtureMust(t, create("f", "f", &red, &two))
	indexTaken(t, "a pair of values", "seats", create("g", "g", &red, &one))

	fixtureMust(t, indexUsers.Delete(ctx, e, "a"))
	fixtureMust(t, create("h", "a", &red, &one))
	_, err := indexUsers.Apply(ctx, e, "h", indexSeat.Clear())
	fixtureMust(t, err)
	_, err = indexUsers.Apply(ctx, e, "f", indexSeat.Set(1))
	fixtureMust(t, err)
	fixtureMust(t, indexUsers.Put(ctx, e, &indexUser{ID: "f", Email: "f", Team: &red, Seat: &one})) // its own
	_, err = indexUsers.Apply(ctx, e, "h", indexSeat.Set(1))
	indexTaken(t, "a pair that came by Apply", "seats", err)
	long := strings.Repeat("x", 2000)
	fixtureMust(t, create("i", long, nil, nil))
	indexTaken(t, "a long value", "email", create("j", long, nil, nil))
}

// TestUniqueSwap: two objects exchange their values in a transaction, by way of a third
// value.
func TestUniqueSwap(t *testing.T) {
	e, ctx := indexEngine(t), t.Context()
	fixtureMust(t, indexUsers.Create(ctx, e, indexNew("ann")))
	fixtureMust(t, indexUsers.Create(ctx, e, indexNew("bob")))
	q := indexUsers.Where(indexEmail.Eq("ann@x"))
	if got := indexFind(t, e, q); got != "ann" {
		t.Fatalf("found %q", got)
	}
	fixtureMust(t, e.Tx(ctx, func(tx *graphcache.Tx) error {
		for _, step := range []struct{ id, email string }{{"ann", "none"}, {"bob", "ann@x"}, {"ann", "bob@x"}} {
			if _, err := indexUsers.Apply(ctx, tx, indexID(step.id), indexEmail.Set(step.email)); err != nil {
				return err
			}
		}
		return nil
	}))
	if got := indexFind(t, e, q); got != "bob" {
		t.Errorf("after the swap ann@x is that of %q", got)
	}
}

// TestUniqueRace: of many who create the same value at once, one wins, and the others
// are told which index stood against them.
func TestUniqueRace(t *testing.T) {
	a := indexEngine(t)
	b := a.withSchema(t, indexSchema)
	for round := range 20 {
		var won atomic.Int64
		var group sync.WaitGroup
		for i := range 8 {
			group.Go(func() {
				e := []*fixtureEngine{a, b}[i%2]
				u := &indexUser{ID: indexID(fmt.Sprint("u", round, "-", i)), Email: fmt.Sprint("e", round)}
				switch err := indexUsers.Create(t.Context(), e, u); {
				case err == nil:
					won.Add(1)
				case !errors.Is(err, graphcache.ErrExists):
					t.Errorf("Create: %v", err)
				}
				ids, err := indexUsers.Where(indexEmail.Eq(u.Email)).IDs(t.Context(), e)
				if err != nil || len(ids) != 1 {
					t.Errorf("found %v, %v after a create", ids, err)
				}
			})
		}
		group.Wait()
		if n := won.Load(); n != 1 {
			t.Fatalf("round %d: %d have won", round, n)
		}
	}
}

// TestUniqueAdded: Open builds an index on what is there, and refuses one that this
// breaks.
func TestUniqueAdded(t *testing.T) {
	store := memory.NewStore(nil)
	others := graphcache.NewObjectKind[indexOther]("other")
	name := graphcache.StringFieldOf(others, func(o *indexOther) *string { return &o.Name })
	open := func(kinds ...graphcache.Kind) (*graphcache.Graph, error) {
		return graphcache.Open(t.Context(), graphcache.NewSchema(append(kinds, others)...), store, nil)
	}
	g, err := open()
	fixtureMust(t, err)
	for _, id := range []graphcache.ID[indexOther]{"a", "b"} {
		fixtureMust(t, others.Create(t.Context(), g, &indexOther{ID: id, Name: "same"}))
	}
	fixtureMust(t, g.Close(t.Context()))
	index := graphcache.NewIndex("names", others, name)
	if _, err := open(index.Unique()); !errors.Is(err, graphcache.ErrExists) || !strings.Contains(err.Error(), "names") {
		t.Errorf("Open with an index that the data breaks: %v", err)
	}
	g, err = open(index)
	fixtureMust(t, err)
	ids, err := others.Where(name.Eq("same")).IDs(t.Context(), g)
	if diff := cmp.Diff(graphcache.IDs[indexOther]{"a", "b"}, ids); diff != "" || err != nil {
		t.Errorf("an index that was added finds %v, %v", ids, err)
	}
	_, err = others.Apply(t.Context(), g, "b", name.Set("other"))
	fixtureMust(t, err)
	fixtureMust(t, g.Close(t.Context()))
	if g, err = open(index.Unique()); err != nil {
		t.Fatalf("Open with an index that the data no longer breaks: %v", err)
	}
	indexTaken(t, "a write under the new index", "names", others.Create(t.Context(), g, &indexOther{Name: "same"}))
	fixtureMust(t, g.Close(t.Context()))
}

// TestIndexOfOldRecords: a record from before a field was there is in its index with the
// zero value.
func TestIndexOfOldRecords(t *testing.T) {
	e := indexEngine(t)
	_, err := e.store.Write(t.Context(), []driver.Write{{Op: driver.Insert, Kind: "user", Object: &driver.Object{ID: "old", Version: 1, Doc: driver.Document{{Name: "email", Value: "o"}}}}})
	fixtureMust(t, err)
	q := indexUsers.Where(indexCity.Eq(""))
	if got := indexFind(t, e, q); got != "old" {
		t.Errorf("found %q", got)
	}
	_, err = indexUsers.Apply(t.Context(), e, "old", indexCity.Set("rome"))
	fixtureMust(t, err)
	if got := indexFind(t, e, q); got != "" {
		t.Errorf("found %q after it has a city", got)
	}
	if got := indexFind(t, e, indexUsers.Where(indexCity.Eq("rome"))); got != "old" {
		t.Errorf("found %q by its city", got)
	}
}
