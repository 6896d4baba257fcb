package graphcache_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/driver"
)

// buildingStore is a store whose indexes are ready when a test says so.
type buildingStore struct {
	*memory.Store
	ready *sync.Map // "namespace/kind/index"
	name  string
	asked *atomic.Int64
}

func (s *buildingStore) Ready(kind, index string) bool {
	s.asked.Add(1)
	_, ok := s.ready.Load(s.name + "/" + kind + "/" + index)
	return ok
}

func (s *buildingStore) Namespace(name string) driver.Store {
	return &buildingStore{s.Store.Namespace(name).(*memory.Store), s.ready, name, s.asked}
}

// Explain says what is asked for, without the values.
func (s *buildingStore) Explain(step driver.Step) string {
	asked := fmt.Sprintf("op %d on %s", step.Op, step.Kind)
	if step.Filter != nil {
		asked += " where " + buildingColumns(step.Filter)
	}
	return asked
}

func buildingColumns(f *driver.Filter) string {
	if f.Column != nil {
		return f.Column.Name()
	}
	var names []string
	for i := range f.Of {
		names = append(names, buildingColumns(&f.Of[i]))
	}
	return strings.Join(names, ", ")
}

func buildingGraph(t testing.TB, store driver.Store, cache driver.Cache) *graphcache.Graph {
	t.Helper()
	g, err := graphcache.Open(t.Context(), shopSchema, store, &graphcache.Options{Cache: cache, Logger: slog.New(slog.DiscardHandler)})
	fixtureMust(t, err)
	t.Cleanup(func() { fixtureMust(t, g.Close(context.WithoutCancel(t.Context()))) })
	return g
}

// TestBuilding: nothing is cached under an index until the store has built it, in a
// namespace by itself; another index that is ready is used meanwhile; and the store is
// asked once in a LookPeriod, and no more when all are ready.
func TestBuilding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		store := &buildingStore{memory.NewStore(nil), new(sync.Map), "", new(atomic.Int64)}
		g := buildingGraph(t, store, memory.NewCache(nil))
		tenant, err := g.Namespace(ctx, "acme")
		fixtureMust(t, err)
		access := func(g *graphcache.Graph, q shopItemsQ) (graphcache.Access, string) {
			p := q.Explain(ctx, g)
			fixtureMust(t, p.Err)
			return p.Steps[0].Access, p.Steps[0].Index + p.Steps[0].Reason
		}
		expect := func(what string, g *graphcache.Graph, q shopItemsQ, want graphcache.Access, why string) {
			t.Helper()
			if got, reason := access(g, q); got != want || reason != why {
				t.Errorf("%s: %v, %q, want %v, %q", what, got, reason, want, why)
			}
		}
		city, both := shopItems.Where(itemCity.Eq("rome")), shopItems.Where(itemCity.Eq("rome"), itemShelf.Eq("top"), itemRank.Eq(1))
		expect("at first", g, city, graphcache.ByStore, "the store is still building the index city")
		expect("at first", g, shopItems.Where(itemStock.Eq(1)), graphcache.ByStore, "no index starts with a field that the predicates set equal to a value")
		expect("IDs", g, shopItems.Where(itemID.Eq("i01")), graphcache.ByID, "")
		expect("a scan", g, shopItems.Where(), graphcache.ByStore, "all objects of a kind are asked for, and the kind has no CacheScans")
		store.ready.Store("/item/city", true)
		expect("before a LookPeriod has passed", g, city, graphcache.ByStore, "the store is still building the index city")
		if n := store.asked.Load(); n != 6 {
			t.Errorf("the store was asked %d times about 6 indexes", n)
		}
		time.Sleep(time.Second)
		expect("when it is ready", g, city, graphcache.ByIndex, "city")
		expect("in place of a better one", g, both, graphcache.ByIndex, "citythe objects are loaded to check what the index does not decide")
		expect("in the namespace", tenant, city, graphcache.ByStore, "the store is still building the index city")
		for _, name := range []string{"code", "tags", "shelf_rank", "place", "tag_grade"} {
			store.ready.Store("/item/"+name, true)
		}
		time.Sleep(time.Second)
		expect("all are ready", g, both, graphcache.ByIndex, "shelf_rankthe objects are loaded to check what the index does not decide")
		n := store.asked.Load()
		store.ready.Clear()
		time.Sleep(time.Hour)
		expect("for good", g, city, graphcache.ByIndex, "city")
		if again := store.asked.Load(); again != n {
			t.Errorf("the store was asked %d times after all were ready", again-n)
		}
		expect("in the namespace, on its own", tenant, city, graphcache.ByStore, "the store is still building the index city")
	})
}

// TestBuildingHolds: a process for which an index is not ready invalidates what another
// one, for which it is, has cached under it.
func TestBuildingHolds(t *testing.T) {
	ctx := t.Context()
	reader := shopNew(t)
	writer := buildingGraph(t, &buildingStore{reader.store, new(sync.Map), "", new(atomic.Int64)}, reader.cache)
	shopFill(t, reader)
	for i := range 3 {
		shopCheck(t, "before", reader)
		_, err := shopItems.Update(ctx, writer, "i01", func(item *shopItem) error {
			item.City, item.Shelf, item.Rank, item.Tags = fmt.Sprint("city ", i), "top", i, []string{"blue", fmt.Sprint(i)}
			return nil
		})
		fixtureMust(t, err)
		shopCheck(t, "after", reader)
		for _, diff := range shopDiff(t, writer) {
			t.Errorf("the process that does not use it: %s", diff)
		}
	}
}

// slowStore takes its time to say that an index is built.
type slowStore struct{ *memory.Store }

func (s slowStore) Ready(string, string) bool {
	time.Sleep(5 * time.Millisecond)
	return true
}

// TestBuildingFirst: queries that are planned while the store is asked for the first time
// wait for its answer; they would all read from the store otherwise.
func TestBuildingFirst(t *testing.T) {
	g := buildingGraph(t, slowStore{memory.NewStore(nil)}, memory.NewCache(nil))
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			p := shopItems.Where(itemCity.Eq("rome")).Explain(t.Context(), g)
			if p.Err != nil || p.Steps[0].Access != graphcache.ByIndex {
				t.Errorf("planned %v, error %v, want %v", p.Steps, p.Err, graphcache.ByIndex)
			}
		})
	}
	wg.Wait()
}

// TestExplainStore: a plan has what the store would be asked, for every step that is
// known, whether or not it is cached, each sort of question once.
func TestExplainStore(t *testing.T) {
	ctx := t.Context()
	store := &buildingStore{memory.NewStore(nil), new(sync.Map), "", new(atomic.Int64)}
	for _, name := range []string{"city", "tags", "shelf_rank"} {
		store.ready.Store("/item/"+name, true)
	}
	counted := backendtest.NewFaultyStore(store, nil)
	g := buildingGraph(t, struct {
		*backendtest.FaultyStore
		driver.Explainer
	}{counted, store}, memory.NewCache(nil))
	for i := range 3 {
		fixtureMust(t, shopItems.Create(ctx, g, &shopItem{ID: shopItemID(fmt.Sprint("i", i)), City: "rome", Code: shopPtr(fmt.Sprint(i))}))
	}
	fixtureMust(t, shopBuyers.Create(ctx, g, &shopBuyer{ID: "b0"}))
	fixtureMust(t, shopBought.Add(ctx, g, "b0", "i0", shopSale{}))
	cities := shopItems.Where(itemCity.In("rome", "oslo"))
	for _, tt := range []struct {
		name    string
		explain func() graphcache.Plan
		want    []string
	}{
		{"an index, cold", func() graphcache.Plan { return cities.Explain(ctx, g) }, []string{"op 6 on item where city"}},
		{"an index, warm", func() graphcache.Plan {
			_, err := cities.All(ctx, g)
			fixtureMust(t, err)
			fixtureMust(t, g.Settle(ctx))
			return cities.Explain(ctx, g)
		}, []string{"op 6 on item where city\nop 1 on item"}},
		{"the store", func() graphcache.Plan { return shopItems.Where(itemCode.Eq("1")).Explain(ctx, g) }, []string{"op 6 on item where code"}},
		{"lists", func() graphcache.Plan { return shopBought.Out(shopBuyerID("b0")).Explain(ctx, g) }, []string{"op 3 on bought"}},
		{"what is not known", func() graphcache.Plan { return shopBought.In(cities.Limit(1)).Fresh().Explain(ctx, g) },
			[]string{"op 6 on item where city", ""}},
		{"what is not known, but goes to the store", func() graphcache.Plan {
			return shopBought.In(cities.Limit(1)).Where(buyerAge.Ge(1)).Fresh().Explain(ctx, g)
		}, []string{"op 6 on item where city", "op 7 on bought where age"}},
	} {
		calls := counted.Total()
		p := tt.explain()
		fixtureMust(t, p.Err)
		var got []string
		for _, s := range p.Steps {
			got = append(got, s.Store)
			for line := range strings.Lines(s.Store) {
				if want := "   store: " + strings.TrimSpace(line) + "\n"; !strings.Contains(p.String(), want) {
					t.Errorf("%s: the plan does not have the line %q:\n%s", tt.name, want, p)
				}
			}
		}
		if strings.Join(got, "|") != strings.Join(tt.want, "|") {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
		if n := counted.Total() - calls; n != 0 && tt.name != "an index, warm" {
			t.Errorf("%s: %d calls of the store", tt.name, n)
		}
	}
}
