//go:build go1.27

package fluent

import (
	"testing"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/graphtest"
)

type user struct {
	ID  graphcache.ID[user] `json:"id"`
	Age int                 `json:"age"`
}

type post struct {
	ID graphcache.ID[post] `json:"id"`
}

var (
	users   = graphcache.NewObjectKind[user]("user")
	posts   = graphcache.NewObjectKind[post]("post")
	follows = graphcache.NewEdgeKind[graphcache.NoData]("follows", users, users)
	wrote   = graphcache.NewEdgeKind[graphcache.NoData]("wrote", users, posts)
	age     = graphcache.OrderedFieldOf(users, func(u *user) *int { return &u.Age })
	schema  = graphcache.NewSchema(users, posts, follows, wrote)
)

// TestFluent: a query in the order in which it is followed has the key of the nested one,
// and finds the same.
func TestFluent(t *testing.T) {
	ctx, g := t.Context(), graphtest.New(t, schema, &user{ID: "ann", Age: 40}, &user{ID: "bob", Age: 20}, &post{ID: "p"})
	for _, err := range []error{
		follows.Add(ctx, g, "ann", "bob", graphcache.NoData{}), wrote.Add(ctx, g, "bob", "p", graphcache.NoData{}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	ann, p := graphcache.ID[user]("ann"), graphcache.ID[post]("p")
	some, papers := graphcache.IDs[user]{"ann", "bob"}, graphcache.IDs[post]{"p", "q"}
	for _, tt := range []struct {
		name           string
		fluent, nested interface{ Key() (string, error) }
	}{
		{"ID out", ann.Out(follows), follows.Out(ann)},
		{"ID in", p.In(wrote), wrote.In(p)},
		{"IDs out", some.Out(wrote), wrote.Out(some)},
		{"IDs in", papers.In(wrote), wrote.In(papers)},
		{"two hops", ann.Out(follows).Limit(3).Out(wrote), wrote.Out(follows.Out(ann).Limit(3))},
		{"back", p.In(wrote).In(follows), follows.In(wrote.In(p))},
		{"a kind", users.Where(age.Ge(30)).Out(follows).Out(wrote), wrote.Out(follows.Out(users.Where(age.Ge(30))))},
	} {
		fluent, err := tt.fluent.Key()
		nested, nestedErr := tt.nested.Key()
		if err != nil || nestedErr != nil || fluent != nested {
			t.Errorf("%s: the keys %q (%v) and %q (%v) differ", tt.name, fluent, err, nested, nestedErr)
		}
	}
	if ids, err := users.Where(age.Ge(30)).Out(follows).Out(wrote).IDs(ctx, g); err != nil || len(ids) != 1 || ids[0] != "p" {
		t.Errorf("the posts of whom those over 30 follow are %q, %v, want p", ids, err)
	}
}
