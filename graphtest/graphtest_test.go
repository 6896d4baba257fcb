package graphtest_test

import (
	"testing"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/graphtest"
)

type user struct {
	ID   graphcache.ID[user] `json:"id"`
	Name string              `json:"name"`
}

var (
	users  = graphcache.NewObjectKind[user]("user")
	schema = graphcache.NewSchema(users)
)

// TestNew: the objects are there, reads are cached, and two graphs know nothing of each
// other.
func TestNew(t *testing.T) {
	ctx, g, other := t.Context(), graphtest.New(t, schema, &user{ID: "ann", Name: "Ann"}), graphtest.New(t, schema)
	for range 2 {
		if u, err := users.Get(ctx, g, "ann"); err != nil || u.Name != "Ann" {
			t.Fatalf("Get: %+v, %v", u, err)
		}
		if err := g.Settle(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if s := g.Stats().Kinds["user"]; s.Hits != 1 || s.Loads != 1 {
		t.Errorf("%d hits and %d loads of two reads, want 1 and 1", s.Hits, s.Loads)
	}
	if m, err := users.GetMany(ctx, other, []graphcache.ID[user]{"ann"}); err != nil || len(m) > 0 {
		t.Errorf("another graph has %v, %v", m, err)
	}
}
