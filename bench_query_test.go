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

// benchKey builds a query of two hops with three predicates, and its key.
func benchKey() (string, error) {
	q := shopBought.In(shopBought.Out(shopBuyerID("b0")).Where(itemCity.Eq("rome"), itemStock.Ge(10))).Where(buyerAge.Lt(300))
	return q.Key()
}

// TestAllocBudgetOfKeys: to build a query and its key costs few allocations.
func TestAllocBudgetOfKeys(t *testing.T) {
	const budget = 8
	got := testing.AllocsPerRun(100, func() {
		if _, err := benchKey(); err != nil {
			t.Fatal(err)
		}
	})
	if got > budget && !allocRace {
		t.Errorf("%v allocations, the budget is %d", got, budget)
	}
}

func BenchmarkQueryKey(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := benchKey(); err != nil {
			b.Fatal(err)
		}
	}
}

// benchGraph is a graph without fault wrappers: 100 items in rome, 1,000 in oslo, 100 on
// a shelf, 50 flags, and a buyer of the 100 in rome.
func benchGraph(t testing.TB) (*graphcache.Graph, *memory.Cache) {
	t.Helper()
	store, cache := memory.NewStore(nil), memory.NewCache(nil)
	g, err := graphcache.Open(t.Context(), shopSchema, store, &graphcache.Options{Cache: cache, Logger: slog.New(slog.DiscardHandler)})
	fixtureMust(t, err)
	t.Cleanup(func() { fixtureMust(t, g.Close(context.Background())) })
	writes := []driver.Write{{Op: driver.Insert, Kind: "buyer", Object: &driver.Object{ID: "b0", Version: 1}}}
	for i := range 1100 {
		id, city, shelf := fmt.Sprintf("i%04d", i), "oslo", "low"
		if i < 100 {
			city, shelf = "rome", "top"
			writes = append(writes, driver.Write{Op: driver.Insert, Kind: "bought", Edge: &driver.Edge{
				From: "b0", To: id, Version: 1, Time: time.UnixMilli(int64(i)).UTC(), Data: driver.Document{{Name: "note", Value: "n"}}}})
		}
		writes = append(writes, driver.Write{Op: driver.Insert, Kind: "item", Object: &driver.Object{ID: id, Version: 1, Doc: driver.Document{
			{Name: "name", Value: "name of " + id}, {Name: "city", Value: city}, {Name: "shelf", Value: shelf}, {Name: "rank", Value: int64(i % 10)},
			{Name: "stock", Value: int64(i)}, {Name: "slot", Value: int64(i)}, {Name: "hall", Value: "h"},
		}}})
	}
	for i := range 50 {
		writes = append(writes, driver.Write{Op: driver.Insert, Kind: "flag", Object: &driver.Object{ID: fmt.Sprint("f", i), Version: 1, Doc: driver.Document{{Name: "on", Value: true}}}})
	}
	_, err = store.Write(t.Context(), writes)
	fixtureMust(t, err)
	return g, cache
}

// benchReads are queries, one of each way to answer them, and how many allocations a hit
// may cost.
var benchReads = []struct {
	name   string
	want   int
	budget float64
	read   func(context.Context, graphcache.Conn) (int, error)
}{
	{"index", 100, 130, func(ctx context.Context, c graphcache.Conn) (int, error) {
		ids, err := shopItems.Where(itemCity.Eq("rome")).IDs(ctx, c)
		return len(ids), err
	}},
	{"residual", 50, 715, func(ctx context.Context, c graphcache.Conn) (int, error) {
		all, err := shopItems.Where(itemCity.Eq("rome"), itemStock.Ge(50)).All(ctx, c)
		return len(all), err
	}},
	{"order page", 20, 530, func(ctx context.Context, c graphcache.Conn) (int, error) {
		page, _, err := shopItems.Where(itemShelf.Eq("top")).OrderBy(itemRank.Desc()).Limit(20).Page(ctx, c, "")
		return len(page), err
	}},
	{"scan", 50, 75, func(ctx context.Context, c graphcache.Conn) (int, error) {
		ids, err := shopFlags.Where(flagOn.Eq(true)).IDs(ctx, c)
		return len(ids), err
	}},
	{"where hop", 50, 245, func(ctx context.Context, c graphcache.Conn) (int, error) {
		ids, err := shopBought.Out(shopBuyerID("b0")).Where(itemStock.Ge(50)).IDs(ctx, c)
		return len(ids), err
	}},
	{"filter of 1,000", 500, 4900, func(ctx context.Context, c graphcache.Conn) (int, error) {
		return shopItems.Where(itemCity.Eq("oslo"), itemStock.Ge(600)).Count(ctx, c)
	}},
	{"explain", 1, 800, func(ctx context.Context, c graphcache.Conn) (int, error) {
		return len(shopItems.Where(itemCity.Eq("rome")).Explain(ctx, c).Steps), nil
	}},
}

// TestAllocBudgetsOfQueries is TestAllocBudgets for queries by predicates and orders.
func TestAllocBudgetsOfQueries(t *testing.T) {
	g, _ := benchGraph(t)
	for _, tt := range benchReads {
		read := func() {
			if n, err := tt.read(t.Context(), g); n != tt.want || err != nil {
				t.Fatalf("%s: found %d, %v, want %d", tt.name, n, err, tt.want)
			}
		}
		read()
		fixtureMust(t, g.Settle(t.Context()))
		loads := g.Stats().StoreReads
		got := testing.AllocsPerRun(20, read)
		if n := g.Stats().StoreReads - loads; n != 0 {
			t.Errorf("%s: %d store reads: not a hit", tt.name, n)
		}
		if got > tt.budget && !allocRace {
			t.Errorf("%s: %v allocations, the budget is %v", tt.name, got, tt.budget)
		}
	}
}

// BenchmarkQueryAccess measures a query of each sort whose values are all cached, and one
// of which none is.
func BenchmarkQueryAccess(b *testing.B) {
	for _, tt := range benchReads {
		run := func(b *testing.B, miss bool) {
			g, cache := benchGraph(b)
			allocBench(b, g, func() error {
				if miss {
					cache.Flush()
				}
				n, err := tt.read(b.Context(), g)
				if err == nil && n != tt.want {
					err = fmt.Errorf("found %d, want %d", n, tt.want)
				}
				if err == nil && miss {
					err = g.Settle(b.Context())
				}
				return err
			})
		}
		b.Run(tt.name+"/hit", func(b *testing.B) { run(b, false) })
		if tt.name != "explain" {
			b.Run(tt.name+"/miss", func(b *testing.B) { run(b, true) })
		}
	}
}

// BenchmarkQueryWrite measures writes by fields.
func BenchmarkQueryWrite(b *testing.B) {
	for _, tt := range []hazardMove{
		{"apply in place", hazardApply("i0001", itemStock.Add(1))},
		{"apply indexed", hazardApply("i0001", itemRank.Add(1))},
		{"apply all of 100", hazardApplyAll(shopItems.Where(itemCity.Eq("rome")), itemSold.Add(1))},
	} {
		b.Run(tt.name, func(b *testing.B) {
			g, _ := benchGraph(b)
			allocBench(b, g, func() error { return tt.move(b.Context(), g) })
		})
	}
}
