package graphcache_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/driver"
)

// backfillOld writes records as older and other programs would: n items and n edges.
func backfillOld(t testing.TB, e *fixtureEngine, n int) {
	t.Helper()
	writes := []driver.Write{{Op: driver.Insert, Kind: "buyer", Object: &driver.Object{ID: "b0", Version: 1}}}
	for i := range n {
		writes = append(writes,
			driver.Write{Op: driver.Insert, Kind: "item", Object: &driver.Object{ID: bulkID(i), Version: 5, Doc: driver.Document{
				{Name: "headline", Value: fmt.Sprint("title ", i)}, {Name: "sales", Value: int64(i)}, {Name: "city", Value: "rome"},
				{Name: "slot", Value: int64(i)}, {Name: "unknown", Value: driver.Document{{Name: "deep", Value: int64(7)}}},
			}}},
			driver.Write{Op: driver.Insert, Kind: "bought", Edge: &driver.Edge{From: "b0", To: bulkID(i), Version: 3, Time: time.UnixMilli(int64(i)).UTC(), Data: driver.Document{
				{Name: "remark", Value: fmt.Sprint("note ", i)}, {Name: "unknown", Value: "kept"},
			}}})
	}
	_, err := e.store.Write(t.Context(), writes)
	fixtureMust(t, err)
}

// backfillDoc returns the record of an item or, of kind bought, the edge to it.
func backfillDoc(t testing.TB, e *fixtureEngine, kind, id string) (driver.Document, int64) {
	t.Helper()
	if kind == "item" {
		results, err := e.store.Read(t.Context(), []driver.Step{{Op: driver.GetObjects, Kind: kind, IDs: []string{id}}}, "")
		fixtureMust(t, err)
		o := results[0].Objects[0]
		return o.Doc, o.Version
	}
	results, err := e.store.Read(t.Context(), []driver.Step{{Op: driver.GetEdges, Kind: kind, IDs: []string{"b0"}, Ends: []string{id}}}, "")
	fixtureMust(t, err)
	return results[0].Lists[0][0].Data, results[0].Lists[0][0].Version
}

// TestBackfill: records get the names and the fields that this program gives them, keep
// what it does not know, and are left alone the next time; reads answer as before.
func TestBackfill(t *testing.T) {
	const n = 600
	ctx, e := t.Context(), shopNew(t)
	other := shopAnother(t, e)
	backfillOld(t, e, n)
	view := func(p *fixtureEngine) (v []string) {
		for _, q := range []shopItemsQ{
			shopItems.Where(itemTitle.Eq("title 7")), shopItems.Where(itemSold.Ge(590)), shopItems.Where(itemCity.Eq("rome"), itemSold.Lt(3)),
		} {
			all, err := q.All(ctx, p)
			fixtureMust(t, err)
			for _, i := range all {
				v = append(v, fmt.Sprint(i.ID, i.Title, i.Sold, i.City, i.Stock))
			}
		}
		edges, err := shopBought.Out(shopBuyerID("b0")).WhereEdge(saleNote.In("note 3", "note 500")).Edges(ctx, p)
		fixtureMust(t, err)
		for _, edge := range edges {
			v = append(v, fmt.Sprint(edge.To, edge.Data, edge.Time.UnixMilli()))
		}
		p.settle(t)
		return v
	}
	before := view(other)
	if len(before) != 1+10+3+2 {
		t.Fatalf("the queries find %v", before)
	}
	for _, kind := range []graphcache.Kind{shopItems, shopBought} {
		for i, want := range []graphcache.BackfillReport{{Read: n, Written: n}, {Read: n}} {
			if got, err := e.Backfill(ctx, kind); got != want || err != nil {
				t.Errorf("Backfill number %d of a kind: %+v, %v, want %+v", i, got, err, want)
			}
		}
	}
	for _, p := range []*fixtureEngine{other, e, other} {
		if diff := gocmp.Diff(before, view(p)); diff != "" {
			t.Errorf("Backfill has changed what queries answer (-before +after):\n%s", diff)
		}
	}
	doc, version := backfillDoc(t, e, "item", bulkID(42))
	for name, want := range map[string]driver.Value{"title": "title 42", "sold": int64(42), "headline": nil, "sales": nil, "stock": int64(0), "shelf": ""} {
		if v, ok := doc.Get(name); v != want || ok != (want != nil) {
			t.Errorf("the item has %v as %q, want %v", v, name, want)
		}
	}
	if unknown, _ := doc.Get("unknown"); !driver.Equal(unknown, driver.Document{{Name: "deep", Value: int64(7)}}) {
		t.Errorf("what the program does not know is now %v", unknown)
	}
	data, edgeVersion := backfillDoc(t, e, "bought", bulkID(42))
	want := driver.Document{{Name: "note", Value: "note 42"}, {Name: "price", Value: float64(0)}, {Name: "unknown", Value: "kept"}}
	if !driver.Equal(data, want) || version != 6 || edgeVersion != 4 {
		t.Errorf("the edge has %v, the versions are %d and %d, want 6 and 4", data, version, edgeVersion)
	}
}

// TestBackfillKinds: kinds of every sort can be filled, others say so.
func TestBackfillKinds(t *testing.T) {
	ctx, e := t.Context(), shopNew(t)
	shopFill(t, e)
	no := graphcache.NoData{}
	fixtureMust(t, shopHome.Add(ctx, e, "b0", "i01", no))
	fixtureMust(t, shopHome.Add(ctx, e, "b1", "i01", no))
	fixtureMust(t, shopPeers.Add(ctx, e, "b3", "b1", no))
	for _, kind := range []graphcache.Kind{shopItems, shopFlags, shopBuyers, shopBought, shopHome, shopPeers} {
		report, err := e.Backfill(ctx, kind)
		if err != nil || report.Written != 0 {
			t.Errorf("%T: %+v, %v of what is in the current layout", kind, report, err)
		}
	}
	for name, tt := range map[string]struct {
		kind graphcache.Kind
		is   error
	}{
		"an index":                  {graphcache.NewIndex("x", shopItems, itemName), graphcache.ErrInvalid},
		"nil":                       {nil, graphcache.ErrInvalid},
		"a kind of another schema":  {fixtureUsers, graphcache.ErrSchema},
		"edges of another schema":   {fixtureFollows, graphcache.ErrSchema},
		"a kind that was never set": {(*graphcache.ObjectKind[shopItem])(nil), graphcache.ErrInvalid},
	} {
		if _, err := e.Backfill(ctx, tt.kind); !errors.Is(err, tt.is) {
			t.Errorf("%s: %v, want %v", name, err, tt.is)
		}
	}
}

// TestBackfillBesideWriters: Backfill runs beside Updates, Adds, Puts and deletions, and
// nothing of what they write is lost.
func TestBackfillBesideWriters(t *testing.T) {
	const n = 60
	many := func(o *graphcache.Options) { o.MaxAttempts = 1000 }
	ctx, e := t.Context(), shopNew(t, many)
	other := shopAnother(t, e, many)
	backfillOld(t, e, n)
	var wg sync.WaitGroup
	wg.Go(func() {
		for range 10 {
			for _, kind := range []graphcache.Kind{shopItems, shopBought} {
				if _, err := e.Backfill(ctx, kind); err != nil {
					t.Error(err)
				}
			}
		}
	})
	wg.Go(func() {
		for i := range n {
			if err := hazardApply(shopItemID(bulkID(i)), itemSold.Add(1000), itemStock.Add(1))(ctx, other); err != nil {
				t.Error(err)
			}
			if err := hazardApply(shopItemID(bulkID(i)), itemStock.Add(1))(ctx, other); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Go(func() {
		for i := range n {
			if err := hazardUpdate(shopItemID(bulkID(n-1-i)), func(item *shopItem) { item.City = "oslo" })(ctx, other); err != nil {
				t.Error(err)
			}
			if i%5 == 0 {
				if err := shopBought.Remove(ctx, other, "b0", shopItemID(bulkID(i))); err != nil {
					t.Error(err)
				}
			} else if i%2 == 0 {
				if err := shopBought.Add(ctx, other, "b0", shopItemID(bulkID(i)), shopSale{Note: "new"}); err != nil {
					t.Error(err)
				}
			}
		}
	})
	wg.Wait()
	for _, p := range []*fixtureEngine{other, e} {
		for i := range n {
			item, err := shopItems.Get(ctx, p, shopItemID(bulkID(i)))
			fixtureMust(t, err)
			if item.Sold != 1000+i || item.Stock != 2 || item.City != "oslo" || item.Title != fmt.Sprint("title ", i) {
				t.Errorf("%s is now %+v", item.ID, item)
			}
			note := fmt.Sprint("note ", i)
			switch {
			case i%5 == 0:
				note = ""
			case i%2 == 0:
				note = "new"
			}
			edges, err := shopBought.GetMany(ctx, p, "b0", []shopItemID{item.ID})
			fixtureMust(t, err)
			if edge, ok := edges[item.ID]; ok != (note != "") || ok && edge.Data.Note != note {
				t.Errorf("the edge to %s is %+v, want the note %q", item.ID, edge, note)
			}
		}
	}
	ids, err := shopItems.Where(itemCity.Eq("rome")).IDs(ctx, other)
	if fixtureMust(t, err); len(ids) != 0 {
		t.Errorf("the list of the city that all have left still has %v", ids)
	}
}

// TestBackfillOvertaken: a record that somebody writes between Backfill's read and its
// write keeps what was written there.
func TestBackfillOvertaken(t *testing.T) {
	for _, kind := range []graphcache.Kind{shopItems, shopBought} {
		t.Run(fmt.Sprintf("%T", kind), func(t *testing.T) {
			ctx, e := t.Context(), shopNew(t)
			other := shopAnother(t, e)
			backfillOld(t, e, 3)
			gate := e.stopAt(backendtest.Nth("Hold", 1))
			done := fixtureGo(t, func() error { _, err := e.Backfill(ctx, kind); return err })
			gate.await(t)
			fixtureMust(t, hazardApply(shopItemID(bulkID(1)), itemSold.Set(99), itemCity.Set("oslo"))(ctx, other))
			fixtureMust(t, shopBought.Add(ctx, other, "b0", shopItemID(bulkID(1)), shopSale{Note: "new"}))
			gate.Open()
			fixtureMust(t, done())
			item, err := shopItems.Get(ctx, e, shopItemID(bulkID(1)))
			fixtureMust(t, err)
			edge, err := shopBought.Get(ctx, e, "b0", shopItemID(bulkID(1)))
			fixtureMust(t, err)
			if item.Sold != 99 || item.City != "oslo" || item.Title != "title 1" || edge.Data.Note != "new" {
				t.Errorf("the item is %+v and the edge %+v", item, edge)
			}
		})
	}
}

// TestBackfillStops: what fails half-way is in the report, and can be begun again.
func TestBackfillStops(t *testing.T) {
	const n, chunk = 600, 256
	for _, kind := range []graphcache.Kind{shopItems, shopBought} {
		for _, tt := range []struct {
			name string
			hook backendtest.Hook
			is   error
		}{
			{"the second write is refused", backendtest.FailOn(backendtest.Nth("Write", 2), nil), graphcache.ErrUnavailable},
			{"the second write is not answered", backendtest.DropReplies(backendtest.Nth("Write", 2), nil), graphcache.ErrUnknownOutcome},
			{"the second marks are not accepted", backendtest.FailOn(func(c backendtest.Call) bool { return c.Method == "Hold" && c.N > 1 }, nil), graphcache.ErrUnavailable},
		} {
			t.Run(fmt.Sprintf("%T/%s", kind, tt.name), func(t *testing.T) {
				ctx, e := t.Context(), shopNew(t)
				backfillOld(t, e, n)
				e.on(func(c fixtureCall) backendtest.Fault { return tt.hook(c.ctx, c.Call) })
				report, err := e.Backfill(ctx, kind)
				if report.Written != chunk || report.Read < chunk || !errors.Is(err, tt.is) {
					t.Errorf("it returned %+v, %v, want %d written and %v", report, err, chunk, tt.is)
				}
				e.on(nil)
				again, err := e.Backfill(ctx, kind)
				left := n - chunk
				if tt.is == graphcache.ErrUnknownOutcome {
					left -= chunk
				}
				if want := (graphcache.BackfillReport{Read: n, Written: left}); again != want || err != nil {
					t.Errorf("begun again: %+v, %v, want %+v", again, err, want)
				}
			})
		}
		t.Run(fmt.Sprintf("%T/the context ends", kind), func(t *testing.T) {
			e := shopNew(t)
			backfillOld(t, e, n)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			e.on(func(c fixtureCall) backendtest.Fault {
				if c.is("Write") {
					cancel()
				}
				return backendtest.Fault{}
			})
			if report, err := e.Backfill(ctx, kind); report.Written != chunk || !errors.Is(err, context.Canceled) {
				t.Errorf("it returned %+v, %v, want %d written and context.Canceled", report, err, chunk)
			}
		})
	}
}

// TestBackfillNamespace: only the records of the graph's own namespace are rewritten.
func TestBackfillNamespace(t *testing.T) {
	ctx, e := t.Context(), shopNew(t)
	backfillOld(t, e, 3)
	tenant, err := e.Namespace(ctx, "tenant")
	fixtureMust(t, err)
	if report, err := tenant.Backfill(ctx, shopItems); report.Read != 0 || err != nil {
		t.Errorf("the empty namespace: %+v, %v", report, err)
	}
	if doc, version := backfillDoc(t, e, "item", bulkID(1)); version != 5 {
		t.Errorf("the record of another namespace was rewritten: %v", doc)
	}
}
