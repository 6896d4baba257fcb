package graphcache_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/graphtest"
)

type queryUser struct {
	ID graphcache.ID[queryUser]
}

var (
	queryUsers   = graphcache.NewObjectKind[queryUser]("user")
	queryOthers  = graphcache.NewObjectKind[queryUser]("other") // of the same Go type
	queryFollows = noData("follows", queryUsers, queryUsers)
	queryLikes   = noData("likes", queryUsers, queryUsers)
	queryFriends = noData("friends", queryUsers, queryUsers).Symmetric()
	queryBoss    = noData("boss", queryUsers, queryUsers).ToOne()
	queryLinks   = noData("links", queryOthers, queryOthers)
	querySchema  = graphcache.NewSchema(queryUsers, queryOthers, queryFollows, queryLikes, queryFriends, queryBoss, queryLinks)
)

type queryID = graphcache.ID[queryUser]

func TestQueryMistakes(t *testing.T) {
	g := graphtest.New(t, querySchema)
	type query = graphcache.Query[queryUser, graphcache.Edge[queryUser, queryUser, graphcache.NoData]]
	out := queryFollows.Out(queryID("a"))
	tests := []struct {
		name  string
		query query
		want  string
	}{
		{"zero", query{}, "the query is empty"},
		{"refined zero", query{}.Limit(1), "the query is empty"},
		{"zero as a source", queryFollows.Out(query{}), "the query is empty"},
		{"zero as the source of a refined query", queryFollows.In(query{}).Distinct().Offset(2), "the query is empty"},
		{"zero two hops before", queryFollows.Out(queryLikes.In(query{})), "the query is empty"},
		{"refined zero as a source", queryFollows.Out(query{}.Limit(-1)), "the query is empty"},
		{"negative limit", out.Limit(-1), "Limit(-1): negative"},
		{"negative offset", out.Offset(-2), "Offset(-2): negative"},
		{"negative limit per object", out.LimitPer(-3), "LimitPer(-3): negative"},
		{"the first mistake counts", out.Limit(-1).Offset(-2), "Limit(-1): negative"},
		{"a mistake before a hop", queryFollows.Out(out.Limit(-1)), "Limit(-1): negative"},
		{"empty ID", queryFollows.Out(queryID("")), "user: the ID is empty"},
		{"long ID", queryFollows.Out(queryID(strings.Repeat("x", 513))), "user: the ID has 513 bytes, more than 512"},
		{"ID that is not text", queryFollows.In(queryID("\xff")), `user: the ID "\xff" is not valid UTF-8`},
		{"nil source", queryFollows.Out(nil), "the source is nil"},
		{"another kind of the same type", queryLinks.Out(out), `the source of "links" has objects of kind "user", not "other"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, all := tt.query.All(t.Context(), g)
			_, count := tt.query.Count(t.Context(), g)
			_, exists := tt.query.Exists(t.Context(), g)
			_, only := tt.query.Only(t.Context(), g)
			_, key := tt.query.Key()
			for _, err := range []error{all, count, exists, only, key} {
				if !errors.Is(err, graphcache.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, want ErrInvalid with %q", err, tt.want)
				}
			}
		})
	}
}

// TestQueryIsImmutable: refining a query leaves it as it was, also when two queries
// grow from the same one.
func TestQueryIsImmutable(t *testing.T) {
	base := queryFollows.Out(queryLikes.Out(queryID("a")).Limit(5)).Limit(7)
	before := queryKey(t, base)
	base.Limit(1)
	base.Distinct()
	base.Since(time.UnixMilli(1))
	one, two := queryFollows.Out(base), queryLikes.In(base)
	if k1, k2 := queryKey(t, one), queryKey(t, two); k1 == k2 {
		t.Error("two queries that grow from one share their last hop")
	}
	if after := queryKey(t, base); after != before {
		t.Error("the query has changed")
	}
}

// queryGraph returns a graph with the users.
func queryGraph(t *testing.T, ids ...queryID) *graphcache.Graph {
	t.Helper()
	g := graphtest.New(t, querySchema)
	for _, id := range ids {
		if err := queryUsers.Create(t.Context(), g, &queryUser{ID: id}); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

func queryKey[T, E any](t *testing.T, q graphcache.Query[T, E]) string {
	t.Helper()
	k, err := q.Key()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestQueryKeys: queries in one group ask for the same and have one key; those of
// different groups ask for different things and have different ones.
func TestQueryKeys(t *testing.T) {
	a, b := queryID("a"), queryID("b")
	ids := func(ids ...queryID) graphcache.IDs[queryUser] { return ids }
	at := time.UnixMilli(5)
	out := queryFollows.Out(a)
	groups := [][]string{
		{queryKey(t, out), queryKey(t, queryFollows.Out(ids(a))), queryKey(t, queryFollows.Out(ids(a, a))), queryKey(t, out.Limit(3).Limit(0)), queryKey(t, out.Fresh()), queryKey(t, out.Since(at).Since(time.Time{}))},
		{queryKey(t, queryFollows.In(a))},
		{queryKey(t, queryFollows.Out(b))},
		{queryKey(t, queryFollows.Out(ids(a, b))), queryKey(t, queryFollows.Out(ids(a, b, a)))},
		{queryKey(t, queryFollows.Out(ids(b, a)))}, // another order of results
		{queryKey(t, queryFollows.Out(ids()))},
		{queryKey(t, queryLikes.Out(a))},
		{queryKey(t, queryFriends.Out(a)), queryKey(t, queryFriends.In(a))},
		{queryKey(t, queryBoss.Out(a)), queryKey(t, queryBoss.Out(a).LimitPer(1))},
		{queryKey(t, queryBoss.In(a))},
		{queryKey(t, queryBoss.In(a).LimitPer(1))},
		{queryKey(t, out.Limit(3))},
		{queryKey(t, out.Offset(3))},
		{queryKey(t, out.LimitPer(3))},
		{queryKey(t, out.Distinct())},
		{queryKey(t, out.Since(at)), queryKey(t, out.Since(at.Add(-1))), queryKey(t, out.Since(at.In(time.FixedZone("x", 3600))))},
		{queryKey(t, out.Until(at)), queryKey(t, out.Until(at.Add(1)))},
		{queryKey(t, queryFollows.Out(out)), queryKey(t, queryFollows.Out(out.Distinct()))},
		{queryKey(t, queryFollows.Out(out.Limit(3)))},
		{queryKey(t, queryFollows.Out(out.Limit(3).Distinct()))},
		{queryKey(t, queryFollows.Out(out).Limit(3))},
		{queryKey(t, queryFollows.In(out))},
	}
	seen := map[string]int{}
	for i, group := range groups {
		for j, key := range group {
			if key != group[0] {
				t.Errorf("query %d of group %d has another key than the first", j, i)
			}
		}
		if other, ok := seen[group[0]]; ok {
			t.Errorf("groups %d and %d share a key", other, i)
		}
		seen[group[0]] = i
	}
}

func TestQueryOrderAndLimits(t *testing.T) {
	g := queryGraph(t, "a", "b", "c", "d", "e", "f")
	// a follows b (3 ms), c (2 ms), d (2 ms); b follows e (1 ms); c follows e (9 ms), f (8 ms).
	for _, e := range []struct {
		from, to queryID
		ms       int64
	}{{"a", "b", 3}, {"a", "d", 2}, {"a", "c", 2}, {"b", "e", 1}, {"c", "e", 9}, {"c", "f", 8}} {
		edge := graphcache.Edge[queryUser, queryUser, graphcache.NoData]{From: e.from, To: e.to, Time: time.UnixMilli(e.ms)}
		if created, err := queryFollows.AddEdge(t.Context(), g, edge); err != nil || !created {
			t.Fatal(created, err)
		}
	}
	one := queryFollows.Out(queryID("a"))
	two := queryFollows.Out(one)
	tests := []struct {
		name  string
		query graphcache.Query[queryUser, graphcache.Edge[queryUser, queryUser, graphcache.NoData]]
		want  string
	}{
		{"newest first, ties by ID", one, "b c d"},
		{"by parent, each newest first", two, "e e f"},
		{"distinct", two.Distinct(), "e f"},
		{"distinct before offset", two.Distinct().Offset(1), "f"},
		{"limit", two.Limit(2), "e e"},
		{"limit reads on behind repetitions", two.Distinct().Limit(2), "e f"},
		{"limit per object", two.LimitPer(1), "e e"},
		{"limit of the first hop", queryFollows.Out(one.Limit(1)), "e"},
		{"offset of the first hop", queryFollows.Out(one.Offset(1)), "e f"},
		{"offset beyond the end", one.Offset(9), ""},
		{"since", one.Since(time.UnixMilli(3)), "b"},
		{"until", one.Until(time.UnixMilli(2)), "c d"},
		{"since and until", one.Since(time.UnixMilli(2)).Until(time.UnixMilli(2)).Limit(1), "c"},
		{"in", queryFollows.In(queryID("e")), "c b"},
		{"there and back", queryFollows.In(two), "c b c"},
		{"there and back, distinct", queryFollows.In(two).Distinct(), "c b"},
		{"from several", queryFollows.Out(graphcache.IDs[queryUser]{"c", "a", "c"}), "e f b c d"},
		{"from none", queryFollows.Out(graphcache.IDs[queryUser]{}), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, temperature := range []string{"cold", "warm"} {
				ids, err := tt.query.IDs(t.Context(), g)
				if err != nil {
					t.Fatal(err)
				}
				if got := fmt.Sprint(ids); got != "["+tt.want+"]" {
					t.Errorf("%s: %s, want [%s]", temperature, got, tt.want)
				}
				if n, err := tt.query.Count(t.Context(), g); n != len(ids) || err != nil {
					t.Errorf("%s: Count = %d, %v, want %d", temperature, n, err, len(ids))
				}
				if ok, err := tt.query.Exists(t.Context(), g); ok != (len(ids) > 0) || err != nil {
					t.Errorf("%s: Exists = %v, %v, with %d results", temperature, ok, err, len(ids))
				}
			}
		})
	}
}

func TestFirstAndOnly(t *testing.T) {
	g := queryGraph(t, "a", "b", "c")
	q := queryFollows.Out(queryID("a"))
	check := func(when string, first, only error) {
		t.Helper()
		if _, err := q.First(t.Context(), g); !errors.Is(err, first) {
			t.Errorf("%s: First = %v, want %v", when, err, first)
		}
		if _, err := q.Only(t.Context(), g); !errors.Is(err, only) {
			t.Errorf("%s: Only = %v, want %v", when, err, only)
		}
	}
	add := func(to queryID) {
		t.Helper()
		if err := queryFollows.Add(t.Context(), g, "a", to, graphcache.NoData{}); err != nil {
			t.Fatal(err)
		}
	}
	check("no edge", graphcache.ErrNotFound, graphcache.ErrNotFound)
	add("b")
	check("one edge", nil, nil)
	add("c")
	check("two edges", nil, graphcache.ErrNotUnique)
	if _, err := q.Limit(1).Only(t.Context(), g); err != nil {
		t.Errorf("Limit(1).Only = %v", err)
	}
}

// TestIterStops: a loop that is left early loads no more objects.
func TestIterStops(t *testing.T) {
	g := queryGraph(t, "a")
	const n = 3000
	for i := range n {
		id := queryID(fmt.Sprintf("%05d", i))
		if err := errors.Join(queryUsers.Create(t.Context(), g, &queryUser{ID: id}), queryFollows.Add(t.Context(), g, "a", id, graphcache.NoData{})); err != nil {
			t.Fatal(err)
		}
	}
	before := g.Stats().Kinds["user"].Loads
	for _, err := range queryFollows.Out(queryID("a")).Iter(t.Context(), g) {
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	if got := g.Stats().Kinds["user"].Loads - before; got == 0 || got >= n {
		t.Errorf("%d objects were loaded for the first of %d", got, n)
	}
	all, err := queryFollows.Out(queryID("a")).All(t.Context(), g)
	if err != nil || len(all) != n {
		t.Errorf("All = %d objects, %v, want %d", len(all), err, n)
	}
}

// TestResultsBelongToTheCaller: what a caller does to an object is not seen by
// another, also when one query yields an object twice.
func TestResultsBelongToTheCaller(t *testing.T) {
	type box struct {
		ID    graphcache.ID[box]
		Bytes []byte
		List  []string
		Map   map[string]int
		Ptr   *int
	}
	boxes := graphcache.NewObjectKind[box]("box")
	links := noData("links", boxes, boxes)
	n := 1
	want := box{ID: "b", Bytes: []byte("abc"), List: []string{"x"}, Map: map[string]int{"k": 1}, Ptr: &n}
	first := want
	first.Bytes, first.List, first.Map = []byte("abc"), []string{"x"}, map[string]int{"k": 1}
	g := graphtest.New(t, graphcache.NewSchema(boxes, links), &box{ID: "a"}, &box{ID: "c"}, &first)
	for _, from := range []graphcache.ID[box]{"a", "c"} {
		if err := links.Add(t.Context(), g, from, "b", graphcache.NoData{}); err != nil {
			t.Fatal(err)
		}
	}
	spoil := func(b *box) {
		b.Bytes[0], b.List[0], b.Map["k"], *b.Ptr = 'X', "X", 9, 9
	}
	first.Bytes[0], first.List[0], first.Map["k"] = 'Y', "Y", 8
	for range 3 {
		all, err := links.Out(graphcache.IDs[box]{"a", "c"}).All(t.Context(), g)
		if err != nil || len(all) != 2 {
			t.Fatal(all, err)
		}
		for _, got := range all {
			if diff := cmp.Diff(want, *got); diff != "" {
				t.Fatalf("the object shows what another caller did (-want +got):\n%s", diff)
			}
			spoil(got)
			n = 1
		}
		if err := g.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestQueryByID: a query of objects with given IDs is one of the kind, by ID.
func TestQueryByID(t *testing.T) {
	e := fixtureNew(t)
	e.seed(t, []fixtureUserID{"cy", "ann", "bob"})
	ids, err := fixtureUsers.ByID("bob", "nobody", "ann", "bob").IDs(t.Context(), e)
	if diff := cmp.Diff(graphcache.IDs[fixtureUser]{"ann", "bob"}, ids); err != nil || diff != "" {
		t.Errorf("IDs: %v (-want +got):\n%s", err, diff)
	}
	if ids, err := fixtureUsers.ByID().IDs(t.Context(), e); err != nil || len(ids) > 0 {
		t.Errorf("of no IDs: %q, %v", ids, err)
	}
	if _, err := fixtureUsers.ByID("ann", "").IDs(t.Context(), e); !errors.Is(err, graphcache.ErrInvalid) {
		t.Errorf("with an empty ID: %v, want ErrInvalid", err)
	}
}

// TestQueryCountInOrder: an order decides how many results there are where LimitPer keeps
// the first edges of each object and Distinct what these lead to.
func TestQueryCountInOrder(t *testing.T) {
	ctx, e := t.Context(), shopNew(t)
	for _, id := range []shopBuyerID{"a", "b"} {
		fixtureMust(t, shopBuyers.Create(ctx, e, &shopBuyer{ID: id}))
	}
	for i, id := range []shopItemID{"x", "y", "z"} {
		fixtureMust(t, shopItems.Create(ctx, e, &shopItem{ID: id, Slot: shopPtr(i)}))
	}
	for i, s := range []shopEdge{
		{From: "a", To: "x", Data: shopSale{Price: 2}}, {From: "a", To: "y", Data: shopSale{Price: 1}},
		{From: "b", To: "x", Data: shopSale{Price: 2}}, {From: "b", To: "z", Data: shopSale{Price: 1}},
	} {
		s.Time = time.UnixMilli(int64(i + 1))
		_, err := shopBought.AddEdge(ctx, e, s)
		fixtureMust(t, err)
	}
	q := shopBought.Out(graphcache.IDs[shopBuyer]{"a", "b"}).OrderByEdge(salePrice.Desc()).LimitPer(1).Distinct()
	ids, err := q.IDs(ctx, e)
	fixtureMust(t, err)
	n, err := q.Count(ctx, e)
	fixtureMust(t, err)
	second, err := q.Offset(1).Exists(ctx, e)
	fixtureMust(t, err)
	if len(ids) != 1 || n != 1 || second {
		t.Errorf("%q are found, %d counted, and a second one exists: %v; want one, x", ids, n, second)
	}
}
