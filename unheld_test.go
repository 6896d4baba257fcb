package graphcache_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/driver"
)

// unheldStore is a store in which records are not as graphcache has left them: writes
// meet an item in the city of kyiv, and a home that is i03.
type unheldStore struct{ *memory.Store }

func (s unheldStore) Write(ctx context.Context, writes []driver.Write) ([]driver.WriteResult, error) {
	results, err := s.Store.Write(ctx, writes)
	return unheldResults(results), err
}

func (s unheldStore) Begin(ctx context.Context) (driver.Tx, error) {
	tx, err := s.Store.Begin(ctx)
	return unheldTx{tx}, err
}

type unheldTx struct{ driver.Tx }

func (t unheldTx) Write(ctx context.Context, writes []driver.Write) ([]driver.WriteResult, error) {
	results, err := t.Tx.Write(ctx, writes)
	return unheldResults(results), err
}

func unheldResults(results []driver.WriteResult) []driver.WriteResult {
	for i := range results {
		r := &results[i]
		if old := r.OldObject; old != nil {
			r.OldObject = &driver.Object{ID: old.ID, Version: old.Version, Doc: driver.Document{{Name: "city", Value: "kyiv"}}}
		}
		if old := r.OldEdge; old != nil {
			r.OldEdge = &driver.Edge{From: old.From, To: "i03", Version: old.Version, Time: old.Time}
		}
	}
	return results
}

// unheldWorld is a process on an unheldStore, and another one that has cached who is in
// kyiv and whose home is i03, both of which have changed since.
type unheldWorld struct {
	*graphcache.Graph
	cache *backendtest.FaultyCache
	other *fixtureEngine
}

func unheldNew(t testing.TB) *unheldWorld {
	t.Helper()
	ctx, other := t.Context(), shopNew(t)
	shopFill(t, other)
	fixtureMust(t, shopHome.Add(ctx, other, "b0", "i01", graphcache.NoData{}))
	w := &unheldWorld{cache: backendtest.NewFaultyCache(other.cache, nil), other: other}
	var err error
	w.Graph, err = graphcache.Open(ctx, shopSchema, unheldStore{other.store}, &graphcache.Options{
		Cache: w.cache, Logger: slog.New(slog.DiscardHandler), HoldTimeout: fixturePatience, WriteTimeout: fixturePatience, HoldTTL: 4 * fixturePatience,
	})
	fixtureMust(t, err)
	t.Cleanup(func() { fixtureMust(t, w.Close(context.WithoutCancel(ctx))) })
	w.stale(t)
	foreignWrite(t, other, foreignItem(driver.Insert, "i30", "kyiv", 30), foreignEdge(driver.Insert, "home", "b1", "i03"))
	if city, home := w.stale(t); !city || !home {
		t.Fatal("nothing is stale at first, so this shows nothing")
	}
	return w
}

// stale reports what the other process sees as it was.
func (w *unheldWorld) stale(t testing.TB) (city, home bool) {
	t.Helper()
	ctx := t.Context()
	in, err := shopItems.Where(itemCity.Eq("kyiv")).Count(ctx, w.other)
	fixtureMust(t, err)
	at, err := shopHome.In(shopItemID("i03")).Count(ctx, w.other)
	fixtureMust(t, err)
	w.other.settle(t)
	return in == 0, at == 0
}

var unheldWrites = []struct {
	name  string
	write func(context.Context, graphcache.Conn) error
	edge  bool
	count int64
}{
	{"Update", func(ctx context.Context, c graphcache.Conn) error {
		_, err := shopItems.Update(ctx, c, "i01", func(i *shopItem) error { i.City = "bonn"; return nil })
		return err
	}, false, 1},
	{"Put", func(ctx context.Context, c graphcache.Conn) error {
		return shopItems.Put(ctx, c, &shopItem{ID: "i01", City: "bonn"})
	}, false, 1},
	{"Apply in the store", func(ctx context.Context, c graphcache.Conn) error {
		_, err := shopItems.Apply(ctx, c, "i01", itemStock.Add(1))
		return err
	}, false, 1},
	{"Delete", func(ctx context.Context, c graphcache.Conn) error { return shopItems.Delete(ctx, c, "i05") }, false, 2},
	{"UpdateAll", func(ctx context.Context, c graphcache.Conn) error {
		_, err := shopItems.ByID("i01", "i02").UpdateAll(ctx, c, func(i *shopItem) error { i.City = "bonn"; return nil })
		return err
	}, false, 2},
	{"Add", func(ctx context.Context, c graphcache.Conn) error {
		return shopHome.Add(ctx, c, "b0", "i02", graphcache.NoData{})
	}, true, 1},
	{"Remove", func(ctx context.Context, c graphcache.Conn) error { return shopHome.Remove(ctx, c, "b0", "i01") }, true, 1},
}

// TestUnheld: what a write turns out to have touched, beyond what was expected, is not
// stale when the write is acknowledged, and is counted.
func TestUnheld(t *testing.T) {
	for _, tt := range unheldWrites {
		for _, how := range []string{"", " in a transaction", " without the check"} {
			t.Run(tt.name+how, func(t *testing.T) {
				w := unheldNew(t)
				if how == " without the check" {
					graphcache.DropAnchors(w.Graph, func(_ string, a graphcache.AnchorType, id string) bool {
						if a == graphcache.IndexAnchor {
							_, values := graphcache.ParseIndexAnchor(id)
							return values[0] == "kyiv"
						}
						return a == graphcache.InAnchor && id == "i03"
					})
				}
				if how == " in a transaction" {
					fixtureMust(t, w.Tx(t.Context(), func(tx *graphcache.Tx) error { return tt.write(t.Context(), tx) }))
				} else {
					fixtureMust(t, tt.write(t.Context(), w))
				}
				city, home := w.stale(t)
				if stale := city && !tt.edge || home && tt.edge; stale != (how == " without the check") {
					t.Errorf("stale: %v", stale)
				}
				kind := map[bool]string{false: "item", true: "home"}[tt.edge]
				if got := w.Stats().Kinds[kind].Unheld; got != tt.count {
					t.Errorf("%d writes were counted, want %d", got, tt.count)
				}
				if n := w.other.cache.Tokens(); n != 0 {
					t.Errorf("%d marks are left", n)
				}
			})
		}
	}
}

// TestUnheldNot: writes that meet what they expect are not counted, and place no holds
// besides their own.
func TestUnheldNot(t *testing.T) {
	ctx, e := t.Context(), shopNew(t)
	shopFill(t, e)
	fixtureMust(t, shopHome.Add(ctx, e, "b0", "i01", graphcache.NoData{}))
	for _, tt := range unheldWrites {
		e.on(nil)
		fixtureMust(t, tt.write(ctx, e))
		fixtureMust(t, shopHome.Add(ctx, e, "b0", "i01", graphcache.NoData{}))
		if holds, writes := e.fcache.Calls("Hold"), e.fstore.Calls("Write"); holds > writes {
			t.Errorf("%s: %d calls of Hold for %d of Write", tt.name, holds, writes)
		}
	}
	for name, k := range e.Stats().Kinds {
		if k.Unheld != 0 {
			t.Errorf("%s: %d writes were counted", name, k.Unheld)
		}
	}
}

// TestUnheldFails: if the cache does not take the holds that come late, a release does as
// well; and if it takes that neither, the write, which was applied, is acknowledged, and
// what it has touched is cleared as soon as the cache works again.
func TestUnheldFails(t *testing.T) {
	for _, methods := range [][]string{{"Hold"}, {"Hold", "Release"}} {
		w := unheldNew(t)
		w.cache.Reset()
		w.cache.SetHook(func(_ context.Context, c backendtest.Call) backendtest.Fault {
			if c.Method == "Hold" && c.N == 1 || c.Method != methods[len(methods)-1] && c.Method != methods[0] {
				return backendtest.Fault{}
			}
			return backendtest.Fault{Action: backendtest.Fail}
		})
		fixtureMust(t, unheldWrites[0].write(t.Context(), w))
		city, _ := w.stale(t)
		stats := w.Stats().Kinds["item"]
		if failed := len(methods) == 2; city != failed || (stats.AbandonedHolds > 0) != failed || stats.Unheld != 1 {
			t.Errorf("%v fail: stale %v, stats %+v", methods, city, stats)
		}
		w.cache.SetHook(nil)
		fixtureEventually(t, "kyiv is not stale", func() bool {
			time.Sleep(time.Millisecond)
			city, _ := w.stale(t)
			return !city
		})
	}
}
