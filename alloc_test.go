package graphcache_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/driver"
)

// allocGraph is a graph without fault wrappers in which ann follows 100 users, each
// of whom wrote one post.
func allocGraph(t testing.TB) (*graphcache.Graph, []fixtureUserID) {
	t.Helper()
	store, cache := memory.NewStore(nil), memory.NewCache(nil)
	g, err := graphcache.Open(t.Context(), fixtureSchema, store, &graphcache.Options{Cache: cache, Logger: slog.New(slog.DiscardHandler)})
	fixtureMust(t, err)
	t.Cleanup(func() { fixtureMust(t, g.Close(context.Background())) })
	ids := make([]fixtureUserID, 100)
	fixtureMust(t, g.CreateAll(t.Context(), &fixtureUser{ID: "ann", Name: "Ann"}))
	var writes []driver.Write
	for i := range ids {
		id := fmt.Sprintf("u%05d", i)
		ids[i] = fixtureUserID(id)
		at := time.UnixMilli(int64(i)).UTC()
		writes = append(writes,
			driver.Write{Op: driver.Insert, Kind: "user", Object: &driver.Object{ID: id, Version: 1, Doc: driver.Document{{Name: "name", Value: "user " + id}, {Name: "age", Value: int64(i)}}}},
			driver.Write{Op: driver.Insert, Kind: "post", Object: &driver.Object{ID: "p" + id, Version: 1, Doc: driver.Document{{Name: "title", Value: "post of " + id}}}},
			driver.Write{Op: driver.Insert, Kind: "follows", Edge: &driver.Edge{From: "ann", To: id, Version: 1, Time: at}},
			driver.Write{Op: driver.Insert, Kind: "wrote", Edge: &driver.Edge{From: id, To: "p" + id, Version: 1, Time: at}})
	}
	_, err = store.Write(t.Context(), writes)
	fixtureMust(t, err)
	return g, ids
}

// TestAllocBudgets: a hit costs no more allocations than it did. The figures are
// those of the memory cache and of go1.26, with some room where they are large;
// whoever lowers them lowers the budgets.
func TestAllocBudgets(t *testing.T) {
	ctx, ann := t.Context(), fixtureUserID("ann")
	g, ids := allocGraph(t)
	out := fixtureFollows.Out(ann)
	twoHops := fixtureWrote.Out(out)
	for _, tt := range []struct {
		name   string
		budget float64
		read   func() (n int, err error)
		want   int
	}{
		{"Get", 6, func() (int, error) { _, err := fixtureUsers.Get(ctx, g, ann); return 1, err }, 1},
		{"GetMany of 10", 39, func() (int, error) { m, err := fixtureUsers.GetMany(ctx, g, ids[:10]); return len(m), err }, 10},
		{"edge Get", 7, func() (int, error) { _, err := fixtureFollows.Get(ctx, g, ann, ids[99]); return 1, err }, 1},
		{"Count", 4, func() (int, error) { return fixtureWrote.Count(ctx, g, ids[0]) }, 1},
		{"one hop, 100 IDs", 112, func() (int, error) { l, err := out.IDs(ctx, g); return len(l), err }, 100},
		{"one hop, 100 objects", 345, func() (int, error) { l, err := out.All(ctx, g); return len(l), err }, 100},
		{"two hops, 100 objects", 465, func() (int, error) { l, err := twoHops.All(ctx, g); return len(l), err }, 100},
	} {
		t.Run(tt.name, func(t *testing.T) {
			read := func() {
				if n, err := tt.read(); n != tt.want || err != nil {
					t.Fatalf("found %d, %v, want %d", n, err, tt.want)
				}
			}
			read()
			fixtureMust(t, g.Settle(ctx))
			loads := g.Stats().StoreReads
			got := testing.AllocsPerRun(100, read)
			if n := g.Stats().StoreReads - loads; n != 0 {
				t.Fatalf("%d store reads: not a hit", n)
			}
			if got > tt.budget && !allocRace {
				t.Errorf("%v allocations, the budget is %v", got, tt.budget)
			}
		})
	}
}

// allocBench runs read as often as the benchmark asks, and before that once, to fill.
func allocBench(b *testing.B, g *graphcache.Graph, read func() error) {
	b.Helper()
	fixtureMust(b, read())
	fixtureMust(b, g.Settle(b.Context()))
	b.ReportAllocs()
	for b.Loop() {
		if err := read(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGet(b *testing.B) {
	get := func(g *graphcache.Graph) func() error {
		return func() error { _, err := fixtureUsers.Get(b.Context(), g, "ann"); return err }
	}
	b.Run("hit", func(b *testing.B) {
		g, _ := allocGraph(b)
		allocBench(b, g, get(g))
	})
	b.Run("miss", func(b *testing.B) {
		g, _ := allocGraph(b)
		i := 0
		allocBench(b, g, func() error {
			i++ // an absent object is loaded and cached like any other
			_, err := fixtureUsers.GetMany(b.Context(), g, []fixtureUserID{fixtureUserID(fmt.Sprint(i))})
			return err
		})
	})
	b.Run("parallel", func(b *testing.B) {
		g, _ := allocGraph(b)
		read := get(g)
		fixtureMust(b, read())
		fixtureMust(b, g.Settle(b.Context()))
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := read(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
}

func BenchmarkQuery(b *testing.B) {
	b.Run("two-hop-100-warm", func(b *testing.B) {
		g, _ := allocGraph(b)
		q := fixtureWrote.Out(fixtureFollows.Out(fixtureUserID("ann")))
		allocBench(b, g, func() error { _, err := q.All(b.Context(), g); return err })
	})
}

func BenchmarkAdd(b *testing.B) {
	g, ids := allocGraph(b)
	i := 0
	allocBench(b, g, func() error {
		i++
		return fixtureFollows.Add(b.Context(), g, ids[i%100], ids[i/100%100], fixtureFollow{Note: "hi"})
	})
}
