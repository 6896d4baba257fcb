package graphcache_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/driver"
)

// bulkMany writes n items straight to the store, all of them in rome, their stock their
// number and their IDs in its order.
func bulkMany(t testing.TB, e *fixtureEngine, n int) {
	t.Helper()
	writes := make([]driver.Write, n)
	for i := range writes {
		writes[i] = driver.Write{Op: driver.Insert, Kind: "item", Object: &driver.Object{ID: bulkID(i), Version: 1, Doc: driver.Document{
			{Name: "city", Value: "rome"}, {Name: "stock", Value: int64(i)}, {Name: "rank", Value: int64(i % 7)},
			{Name: "code", Value: fmt.Sprint("code ", i)}, {Name: "shelf", Value: "top"}, {Name: "hall", Value: "h"}, {Name: "slot", Value: int64(i)},
		}}}
	}
	_, err := e.store.Write(t.Context(), writes)
	fixtureMust(t, err)
}

func bulkID(i int) string { return fmt.Sprintf("m%05d", i) }

// bulkCheck checks that the lists and counts of the cities, as they are cached and as
// they are then filled, say what the store has.
func bulkCheck(t testing.TB, processes ...*fixtureEngine) {
	t.Helper()
	for range 2 {
		for _, p := range processes {
			for _, q := range []shopItemsQ{
				shopItems.Where(itemCity.Eq("rome")), shopItems.Where(itemCity.Eq("oslo")), shopItems.Where(itemCity.Eq("rome"), itemStock.Ge(300)),
				shopItems.Where(itemShelf.Eq("top")).OrderBy(itemRank.Asc()).Limit(20), shopItems.Where(itemCode.Eq("code 300")),
			} {
				want, err := q.Fresh().IDs(t.Context(), p)
				fixtureMust(t, err)
				got, err := q.IDs(t.Context(), p)
				fixtureMust(t, err)
				n, err := q.Count(t.Context(), p)
				fixtureMust(t, err)
				if diff := gocmp.Diff(want, got); diff != "" || n != len(want) {
					t.Errorf("a list of %d, counted as %d, is not that of the store (-store +cached):\n%s", len(want), n, diff)
				}
			}
			p.settle(t)
		}
	}
}

// bulkWarm reads everything that bulkCheck does.
func bulkWarm(t testing.TB, e *fixtureEngine) { t.Helper(); bulkCheck(t, e) }

var errBulk = errors.New("my reason")

// TestBulkStops: a bulk write that stops half-way says how far it got, to the object,
// and leaves the cache as right as it was.
func TestBulkStops(t *testing.T) {
	const n, chunk = 600, 256
	move := func(ctx context.Context, e *fixtureEngine) (graphcache.BulkReport, error) {
		return shopItems.Where(itemCity.Eq("rome")).ApplyAll(ctx, e, itemCity.Set("oslo"))
	}
	second := func(method string) backendtest.Match { return backendtest.Nth(method, 2) }
	for _, tt := range []struct {
		name string
		hook backendtest.Hook // of the store and the cache
		run  func(context.Context, *fixtureEngine) (graphcache.BulkReport, error)
		is   error
		want graphcache.BulkReport
	}{
		{"it does not", nil, move, nil, graphcache.BulkReport{Found: n, Written: n}},
		{"the query fails", backendtest.FailOn(backendtest.Nth("Read", 1), nil), move, graphcache.ErrUnavailable, graphcache.BulkReport{}},
		{"the second chunk is not read", backendtest.FailOn(backendtest.Nth("Read", 3), nil), move, graphcache.ErrUnavailable, graphcache.BulkReport{Found: n, Written: chunk}},
		{"the second chunk is refused", backendtest.FailOn(second("Write"), nil), move, graphcache.ErrUnavailable, graphcache.BulkReport{Found: n, Written: chunk}},
		{"the reply of the second chunk is lost", backendtest.DropReplies(second("Write"), nil), move, graphcache.ErrUnknownOutcome, graphcache.BulkReport{Found: n, Written: chunk}},
		{"the second chunk is not marked", backendtest.FailOn(func(c backendtest.Call) bool { return c.Method == "Hold" && c.N > 1 }, nil), move, graphcache.ErrUnavailable, graphcache.BulkReport{Found: n, Written: chunk}},
		{"the marks of the second chunk stay", backendtest.FailOn(func(c backendtest.Call) bool { return c.Method == "Release" && c.N > 1 }, nil), move, nil, graphcache.BulkReport{Found: n, Written: n}},
		{"the context ends", nil, func(ctx context.Context, e *fixtureEngine) (graphcache.BulkReport, error) {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			return shopItems.Where(itemCity.Eq("rome")).UpdateAll(ctx, e, func(i *shopItem) error {
				if i.Stock == 100 { // what has begun is done
					cancel()
				}
				i.City = "oslo"
				return nil
			})
		}, context.Canceled, graphcache.BulkReport{Found: n}},
		{"the context ends beside the first write", nil, func(ctx context.Context, e *fixtureEngine) (graphcache.BulkReport, error) {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			e.on(func(c fixtureCall) backendtest.Fault {
				if c.is("Hold") {
					cancel()
				}
				return backendtest.Fault{}
			})
			return move(ctx, e)
		}, context.Canceled, graphcache.BulkReport{Found: n, Written: chunk}},
		{"the function fails", nil, func(ctx context.Context, e *fixtureEngine) (graphcache.BulkReport, error) {
			return shopItems.Where(itemCity.Eq("rome")).UpdateAll(ctx, e, func(i *shopItem) error {
				if i.Stock == 300 {
					return errBulk
				}
				i.City = "oslo"
				return nil
			})
		}, errBulk, graphcache.BulkReport{Found: n, Written: chunk}},
		{"the function changes an ID", nil, func(ctx context.Context, e *fixtureEngine) (graphcache.BulkReport, error) {
			return shopItems.Where(itemCity.Eq("rome")).UpdateAll(ctx, e, func(i *shopItem) error {
				if i.Stock == 599 {
					i.ID = "m"
				}
				i.City = "oslo"
				return nil
			})
		}, graphcache.ErrInvalid, graphcache.BulkReport{Found: n, Written: 2 * chunk}},
		{"a unique value is taken", nil, func(ctx context.Context, e *fixtureEngine) (graphcache.BulkReport, error) {
			return shopItems.Where(itemCity.Eq("rome")).UpdateAll(ctx, e, func(i *shopItem) error {
				if i.City = "oslo"; i.Stock == 300 {
					i.Code = shopPtr("code 599")
				}
				return nil
			})
		}, graphcache.ErrExists, graphcache.BulkReport{Found: n, Written: 2*chunk - 1}},
		{"a sum overflows", nil, func(ctx context.Context, e *fixtureEngine) (graphcache.BulkReport, error) {
			if _, err := shopItems.Apply(ctx, e, shopItemID(bulkID(300)), itemSmall.Set(127)); err != nil {
				return graphcache.BulkReport{}, err
			}
			return shopItems.Where(itemCity.Eq("rome")).ApplyAll(ctx, e, itemCity.Set("oslo"), itemSmall.Add(1))
		}, graphcache.ErrInvalid, graphcache.BulkReport{Found: n, Written: chunk}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := shopNew(t)
			other := shopAnother(t, e)
			bulkMany(t, e, n)
			bulkWarm(t, other)
			e.on(nil)
			if tt.hook != nil {
				e.on(func(c fixtureCall) backendtest.Fault { return tt.hook(c.ctx, c.Call) })
			}
			got, err := tt.run(t.Context(), e)
			if got != tt.want || !errors.Is(err, tt.is) {
				t.Errorf("it returned %+v, %v, want %+v, %v", got, err, tt.want, tt.is)
			}
			e.on(nil)
			if tt.is != graphcache.ErrUnknownOutcome {
				moved, err := shopItems.Where(itemCity.Eq("oslo")).Fresh().Count(t.Context(), e)
				if moved != got.Written || err != nil {
					t.Errorf("%d items were written and the report says %d, %v", moved, got.Written, err)
				}
			}
			bulkCheck(t, other, e)
		})
	}
}

// bulkMixedStore answers the writes of a batch one by one, and loses the replies of
// some.
type bulkMixedStore struct {
	driver.Store
	lose func(driver.Write) bool
}

func (s *bulkMixedStore) Write(ctx context.Context, writes []driver.Write) (results []driver.WriteResult, err error) {
	for _, w := range writes {
		r, e := s.Store.Write(ctx, []driver.Write{w})
		if e == nil && s.lose(w) {
			r[0], e = driver.WriteResult{}, errBulk
		}
		results = append(results, r[0])
		err = errors.Join(err, e)
	}
	return results, err
}

// TestBulkMixedOutcomes: of a chunk of which some writes were not answered, those that
// were count as written, and the lists of all of them are right.
func TestBulkMixedOutcomes(t *testing.T) {
	ctx, e := t.Context(), shopNew(t)
	bulkMany(t, e, 10)
	mixed := &bulkMixedStore{e.fstore, func(w driver.Write) bool { return w.Object.ID == bulkID(3) || w.Object.ID == bulkID(7) }}
	g, err := graphcache.Open(ctx, shopSchema, mixed, &graphcache.Options{Cache: e.fcache})
	fixtureMust(t, err)
	defer func() { fixtureMust(t, g.Close(context.Background())) }()
	bulkWarm(t, e)
	report, err := shopItems.Where(itemCity.Eq("rome")).ApplyAll(ctx, g, itemCity.Set("oslo"))
	if want := (graphcache.BulkReport{Found: 10, Written: 8}); report != want || !errors.Is(err, graphcache.ErrUnknownOutcome) || !errors.Is(err, errBulk) {
		t.Errorf("it returned %+v, %v, want %+v and ErrUnknownOutcome with the reason", report, err, want)
	}
	bulkCheck(t, e)
}

// TestBulkSkips: objects that vanish or stop matching after they were found are
// skipped, those that change otherwise are written as they are then.
func TestBulkSkips(t *testing.T) {
	type result struct {
		report graphcache.BulkReport
		err    error
	}
	for _, tt := range []struct {
		name string
		at   backendtest.Match // the call before which somebody else writes
		run  func(context.Context, *fixtureEngine) (graphcache.BulkReport, error)
		want []string // what oslo has then; the first skipped, that other city
	}{
		{"ApplyAll, before the objects are read", backendtest.Nth("Read", 2), func(ctx context.Context, e *fixtureEngine) (graphcache.BulkReport, error) {
			return shopItems.Where(itemCity.Eq("rome")).ApplyAll(ctx, e, itemCity.Set("oslo"))
		}, []string{bulkID(0), bulkID(3), bulkID(4)}},
		{"ApplyAll, before they are written", backendtest.Nth("Hold", 1), func(ctx context.Context, e *fixtureEngine) (graphcache.BulkReport, error) {
			return shopItems.Where(itemCity.Eq("rome")).ApplyAll(ctx, e, itemCity.Set("oslo"))
		}, []string{bulkID(0), bulkID(3), bulkID(4)}},
		{"UpdateAll, before they are written", backendtest.Nth("Hold", 1), func(ctx context.Context, e *fixtureEngine) (graphcache.BulkReport, error) {
			return shopItems.Where(itemCity.Eq("rome"), itemStock.Lt(100)).UpdateAll(ctx, e, func(i *shopItem) error { i.City = "oslo"; return nil })
		}, []string{bulkID(0), bulkID(3), bulkID(4)}},
		{"DeleteAll, before the first is deleted", backendtest.Nth("Read", 2), func(ctx context.Context, e *fixtureEngine) (graphcache.BulkReport, error) {
			return shopItems.Where(itemCity.Eq("rome")).DeleteAll(ctx, e)
		}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, e := t.Context(), shopNew(t)
			other := shopAnother(t, e)
			bulkMany(t, e, 5)
			gate := e.stopAt(tt.at)
			done := fixtureGo(t, func() result {
				report, err := tt.run(ctx, e)
				return result{report, err}
			})
			gate.await(t)
			fixtureMust(t, shopItems.Delete(ctx, other, shopItemID(bulkID(1))))
			fixtureMust(t, hazardApply(shopItemID(bulkID(2)), itemCity.Set("kyiv"))(ctx, other))
			fixtureMust(t, hazardApply(shopItemID(bulkID(3)), itemName.Set("kept"), itemStock.Add(40))(ctx, other))
			bulkWarm(t, other)
			gate.Open()
			r := done()
			if want := (graphcache.BulkReport{Found: 5, Written: 3, Skipped: 2}); r.report != want || r.err != nil {
				t.Errorf("it returned %+v, %v, want %+v", r.report, r.err, want)
			}
			e.on(nil)
			ids, err := shopItems.Where(itemCity.Eq("oslo")).IDs(ctx, other)
			fixtureMust(t, err)
			if diff := gocmp.Diff(append([]string{}, tt.want...), append([]string{}, hazardStrings(ids)...)); diff != "" {
				t.Errorf("oslo has (-want +got):\n%s", diff)
			}
			kept, err := shopItems.GetMany(ctx, e, []shopItemID{shopItemID(bulkID(3))}, graphcache.Fresh)
			fixtureMust(t, err)
			if k := kept[shopItemID(bulkID(3))]; tt.want != nil && (k.Name != "kept" || k.Stock != 43) {
				t.Errorf("what somebody else wrote meanwhile is lost: %+v", k)
			}
			bulkCheck(t, other, e)
		})
	}
}

// TestBulkConcurrent: bulk writes beside each other and beside single ones lose nothing:
// conflicts are tried again.
func TestBulkConcurrent(t *testing.T) {
	const n, workers, rounds = 40, 3, 5
	many := func(o *graphcache.Options) { o.MaxAttempts = 1000 }
	e := shopNew(t, many)
	other := shopAnother(t, e, many)
	bulkMany(t, e, n)
	var wg sync.WaitGroup
	for w := range workers {
		p := []*fixtureEngine{e, other}[w%2]
		wg.Go(func() {
			for range rounds {
				report, err := shopItems.Where(itemCity.Eq("rome")).UpdateAll(t.Context(), p, func(i *shopItem) error { i.Sold++; return nil })
				if want := (graphcache.BulkReport{Found: n, Written: n}); report != want || err != nil {
					t.Errorf("UpdateAll returned %+v, %v, want %+v", report, err, want)
				}
			}
		})
		wg.Go(func() {
			for i := range rounds * n {
				if _, err := shopItems.Apply(t.Context(), p, shopItemID(bulkID(i%n)), itemRank.Add(1)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	items, err := shopItems.Where(itemCity.Eq("rome")).All(t.Context(), other)
	fixtureMust(t, err)
	for i, item := range items {
		if sold, rank := item.Sold, item.Rank-i%7; sold != workers*rounds || rank != workers*rounds {
			t.Errorf("%s: UpdateAll has added %d and Apply %d, want %d of both", item.ID, sold, rank, workers*rounds)
		}
	}
	bulkCheck(t, e, other)
}

// TestBulkQueries: which objects a bulk write changes, each once however often the query
// leads to it, and within its limits.
func TestBulkQueries(t *testing.T) {
	ctx, e := t.Context(), shopNew(t)
	shopFill(t, e)
	for _, edge := range [][2]string{{"b0", "i00"}, {"b0", "i01"}, {"b1", "i01"}, {"b1", "i02"}} {
		fixtureMust(t, shopBought.Add(ctx, e, shopBuyerID(edge[0]), shopItemID(edge[1]), shopSale{Note: edge[1]}))
	}
	both := shopBought.Out(graphcache.IDs[shopBuyer]{"b0", "b1"})
	want := map[shopItemID]int64{}
	for _, i := range shopStock() {
		want[i.ID] = i.Stock
	}
	for _, tt := range []struct {
		name string
		run  func() (graphcache.BulkReport, error)
		ids  []shopItemID
	}{
		{"of a list", func() (graphcache.BulkReport, error) {
			return shopBought.Out(shopBuyerID("b0")).ApplyAll(ctx, e, itemStock.Add(100))
		}, []shopItemID{"i00", "i01"}},
		{"of several lists", func() (graphcache.BulkReport, error) { return both.ApplyAll(ctx, e, itemStock.Add(100)) }, []shopItemID{"i00", "i01", "i02"}},
		{"of lists, by their edges", func() (graphcache.BulkReport, error) {
			return both.WhereEdge(saleNote.Eq("i02")).ApplyAll(ctx, e, itemStock.Add(100))
		}, []shopItemID{"i02"}},
		{"of lists, in an order", func() (graphcache.BulkReport, error) {
			return both.Distinct().OrderBy(itemStock.Desc()).Limit(1).ApplyAll(ctx, e, itemStock.Add(100))
		}, []shopItemID{"i02"}},
		{"of a kind, a window", func() (graphcache.BulkReport, error) {
			return shopItems.Where().Offset(3).Limit(2).ApplyAll(ctx, e, itemStock.Add(100))
		}, []shopItemID{"i03", "i04"}},
		{"of IDs", func() (graphcache.BulkReport, error) {
			return shopItems.Where(itemID.In("i05", "i99")).ApplyAll(ctx, e, itemStock.Add(100))
		}, []shopItemID{"i05"}},
		{"of what an order gives", func() (graphcache.BulkReport, error) {
			return shopItems.Where(itemShelf.Eq("low")).OrderBy(itemRank.Desc()).Limit(1).ApplyAll(ctx, e, itemStock.Add(100))
		}, []shopItemID{"i10"}},
		{"of nothing", func() (graphcache.BulkReport, error) {
			return shopItems.Where(itemCity.Eq("nowhere")).ApplyAll(ctx, e, itemStock.Add(100))
		}, nil},
	} {
		report, err := tt.run()
		if wrote := (graphcache.BulkReport{Found: len(tt.ids), Written: len(tt.ids)}); report != wrote || err != nil {
			t.Errorf("%s: %+v, %v, want %+v", tt.name, report, err, wrote)
		}
		for _, id := range tt.ids {
			want[id] += 100
		}
		got := map[shopItemID]int64{}
		all, err := shopItems.Where().All(ctx, e)
		fixtureMust(t, err)
		for _, i := range all {
			got[i.ID] = i.Stock
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
	for name, run := range map[string]func() (graphcache.BulkReport, error){
		"no changes": func() (graphcache.BulkReport, error) { return shopItems.Where().ApplyAll(ctx, e) },
		"changed twice": func() (graphcache.BulkReport, error) {
			return shopItems.Where().ApplyAll(ctx, e, itemStock.Add(1), itemStock.Set(1))
		},
		"a zero query": func() (graphcache.BulkReport, error) { return shopItemsQ{}.ApplyAll(ctx, e, itemStock.Add(1)) },
		"a zero query, 2": func() (graphcache.BulkReport, error) {
			return shopItemsQ{}.UpdateAll(ctx, e, func(*shopItem) error { return nil })
		},
		"a zero query, 3": func() (graphcache.BulkReport, error) { return shopItemsQ{}.DeleteAll(ctx, e) },
		"a bad query":     func() (graphcache.BulkReport, error) { return shopItems.Where().Limit(-1).DeleteAll(ctx, e) },
	} {
		report, err := run()
		if report.Written != 0 || !errors.Is(err, graphcache.ErrInvalid) {
			t.Errorf("%s: %+v, %v, want ErrInvalid", name, report, err)
		}
	}
}

// TestBulkDeleteAll: the edges go with the objects, and a deletion that fails stops it
// with a report that is exact.
func TestBulkDeleteAll(t *testing.T) {
	ctx, e := t.Context(), shopNew(t)
	other := shopAnother(t, e)
	shopFill(t, e)
	for i := range 12 {
		fixtureMust(t, shopBought.Add(ctx, e, "b0", shopItemID(fmt.Sprintf("i%02d", i)), shopSale{}))
	}
	list := func() []string {
		ids, err := shopBought.Out(shopBuyerID("b0")).Where(itemStock.Ge(0)).IDs(ctx, other)
		fixtureMust(t, err)
		other.settle(t)
		s := hazardStrings(ids)
		slices.Sort(s)
		return s
	}
	list()
	deleted := 0
	e.on(func(c fixtureCall) backendtest.Fault {
		if writes, ok := c.Batch.([]driver.Write); ok && writes[0].Op == driver.Replace {
			if deleted++; deleted == 3 {
				return backendtest.Fault{Action: backendtest.Fail}
			}
		}
		return backendtest.Fault{}
	})
	report, err := shopItems.Where(itemCity.Eq("rome")).DeleteAll(ctx, e)
	if want := (graphcache.BulkReport{Found: 6, Written: 2}); report != want || !errors.Is(err, graphcache.ErrUnavailable) {
		t.Errorf("DeleteAll returned %+v, %v, want %+v and ErrUnavailable", report, err, want)
	}
	e.on(nil)
	if diff := gocmp.Diff([]string{"i01", "i03", "i04", "i05", "i06", "i07", "i08", "i09", "i10", "i11"}, list()); diff != "" {
		t.Errorf("the list has (-want +got):\n%s", diff)
	}
	report, err = shopItems.Where(itemCity.Eq("rome")).DeleteAll(ctx, e)
	if want := (graphcache.BulkReport{Found: 4, Written: 4}); report != want || err != nil {
		t.Errorf("DeleteAll returned %+v, %v, want %+v", report, err, want)
	}
	if diff := gocmp.Diff([]string{"i01", "i03", "i05", "i07", "i09", "i11"}, list()); diff != "" {
		t.Errorf("the list has (-want +got):\n%s", diff)
	}
	shopCheck(t, "after DeleteAll", other, e)
}

// TestBulkTx: in a transaction a bulk write is all or nothing.
func TestBulkTx(t *testing.T) {
	ctx, e := t.Context(), shopNew(t)
	other := shopAnother(t, e)
	bulkMany(t, e, 300)
	bulkWarm(t, other)
	run := func(tx *graphcache.Tx) error {
		for _, q := range []shopItemsQ{shopItems.Where(itemStock.Lt(270)), shopItems.Where(itemCity.Eq("oslo"), itemStock.Lt(100))} {
			report, err := q.ApplyAll(ctx, tx, itemCity.Set("oslo"), itemCode.Clear())
			if err != nil || report.Written != report.Found {
				return fmt.Errorf("%+v: %w", report, err)
			}
		}
		_, err := shopItems.Where(itemStock.Ge(295)).DeleteAll(ctx, tx)
		return err
	}
	err := e.Tx(ctx, func(tx *graphcache.Tx) error { return errors.Join(run(tx), errBulk) })
	if !errors.Is(err, errBulk) {
		t.Errorf("Tx returned %v", err)
	}
	if n, err := shopItems.Where(itemCity.Eq("rome")).Count(ctx, other); n != 300 || err != nil {
		t.Errorf("after a rollback %d of 300 items are where they were, %v", n, err)
	}
	bulkCheck(t, other, e)
	fixtureMust(t, e.Tx(ctx, run))
	if n, err := shopItems.Where(itemCity.Eq("rome")).Count(ctx, other); n != 25 || err != nil {
		t.Errorf("after a commit %d items are left, want 25, %v", n, err)
	}
	bulkCheck(t, other, e)
}

// TestBulkVersion: whoever has read an object before a bulk write cannot put it back.
func TestBulkVersion(t *testing.T) {
	ctx, e := t.Context(), shopNew(t)
	form := changeItem()
	fixtureMust(t, shopItems.Create(ctx, e, form))
	for _, run := range []func() (graphcache.BulkReport, error){
		func() (graphcache.BulkReport, error) { return shopItems.Where().ApplyAll(ctx, e, itemName.Set("new")) },
		func() (graphcache.BulkReport, error) {
			return shopItems.Where().UpdateAll(ctx, e, func(i *shopItem) error { i.Name = "newer"; return nil })
		},
	} {
		_, err := run()
		fixtureMust(t, err)
		if err := shopItems.Put(ctx, e, form); !errors.Is(err, graphcache.ErrConflict) {
			t.Errorf("Put with an old version: %v, want ErrConflict", err)
		}
		form, err = shopItems.Get(ctx, e, form.ID)
		fixtureMust(t, err)
	}
}

// TestBulkAnchors: objects with many index entries are written in several calls, so that
// no call holds many more anchors than the cache can be expected to take in time.
func TestBulkAnchors(t *testing.T) {
	ctx, e := t.Context(), shopNew(t)
	const items, tags, most = 120, 40, 4096 + 4*40 + 8 // one object may go beyond the bound
	for i := range items {
		item := &shopItem{ID: shopItemID(fmt.Sprintf("i%03d", i)), Stock: 7}
		for j := range tags {
			item.Tags = append(item.Tags, fmt.Sprintf("%d-%d", i, j))
		}
		fixtureMust(t, shopItems.Create(ctx, e, item))
	}
	calls, largest := 0, 0
	e.on(func(c fixtureCall) backendtest.Fault {
		if holds, ok := c.Batch.([]driver.Hold); ok {
			calls, largest = calls+1, max(largest, len(holds))
		}
		return backendtest.Fault{}
	})
	report, err := shopItems.Where(itemStock.Eq(7)).UpdateAll(ctx, e, func(i *shopItem) error {
		for j := range i.Tags {
			i.Tags[j] += "+"
		}
		return nil
	})
	fixtureMust(t, err)
	if want := (graphcache.BulkReport{Found: items, Written: items}); report != want {
		t.Errorf("the report is %+v, want %+v", report, want)
	}
	if calls < 2 || largest > most {
		t.Errorf("%d calls held up to %d anchors, want several with at most %d", calls, largest, most)
	}
	for _, tag := range []string{"0-0+", "119-39+"} {
		if n, err := shopItems.Where(itemTags.Has(tag)).Count(ctx, e); err != nil || n != 1 {
			t.Errorf("%d items have the tag %s (%v), want 1", n, tag, err)
		}
	}
}
