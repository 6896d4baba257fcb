package graphcache_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/driver"
)

// TestApply: every change of a field, with what Apply returns, what the store has and
// what the cache says then.
func TestApply(t *testing.T) {
	for _, tt := range []struct {
		name    string
		changes []graphcache.Change[shopItem]
		want    func(*shopItem)
	}{
		{"Set of a string", []graphcache.Change[shopItem]{itemName.Set("new")}, func(i *shopItem) { i.Name = "new" }},
		{"Set of an indexed field", []graphcache.Change[shopItem]{itemCity.Set("oslo")}, func(i *shopItem) { i.City = "oslo" }},
		{"Set of a slice", []graphcache.Change[shopItem]{itemTags.Set([]string{"b", "a"})}, func(i *shopItem) { i.Tags = []string{"b", "a"} }},
		{"Set of a slice to nil", []graphcache.Change[shopItem]{itemTags.Set(nil)}, func(i *shopItem) { i.Tags = nil }},
		{"Set of a pointer", []graphcache.Change[shopItem]{itemNote.Set("hi")}, func(i *shopItem) { i.Note = shopPtr("hi") }},
		{"Clear", []graphcache.Change[shopItem]{itemNote.Clear()}, func(i *shopItem) { i.Note = nil }},
		{"Clear of an indexed field", []graphcache.Change[shopItem]{itemCode.Clear()}, func(i *shopItem) { i.Code = nil }},
		{"Add", []graphcache.Change[shopItem]{itemStock.Add(5)}, func(i *shopItem) { i.Stock = 15 }},
		{"Add of a negative number", []graphcache.Change[shopItem]{itemStock.Add(-15)}, func(i *shopItem) { i.Stock = -5 }},
		{"Add of nothing", []graphcache.Change[shopItem]{itemStock.Add(0)}, func(*shopItem) {}},
		{"Add to a float", []graphcache.Change[shopItem]{itemPrice.Add(-0.25)}, func(i *shopItem) { i.Price = 1.25 }},
		{"Add to an indexed field", []graphcache.Change[shopItem]{itemRank.Add(2)}, func(i *shopItem) { i.Rank = 3 }},
		{"Add to a renamed field", []graphcache.Change[shopItem]{itemSold.Add(2)}, func(i *shopItem) { i.Sold = 6 }},
		{"several", []graphcache.Change[shopItem]{itemStock.Add(1), itemName.Set("x"), itemNote.Clear()}, func(i *shopItem) { i.Stock, i.Name, i.Note = 11, "x", nil }},
		{"several, one of them indexed", []graphcache.Change[shopItem]{itemStock.Add(1), itemCity.Set("oslo"), itemTiny.Add(1)}, func(i *shopItem) { i.Stock, i.City, i.Tiny = 11, "oslo", 201 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, e := t.Context(), shopNew(t)
			want := changeItem()
			fixtureMust(t, shopItems.Create(ctx, e, want))
			_, err := shopItems.Get(ctx, e, "i01") // which fills
			fixtureMust(t, err)
			e.settle(t)
			version := want.Version
			got, err := shopItems.Apply(ctx, e, "i01", tt.changes...)
			fixtureMust(t, err)
			tt.want(want)
			want.Version = version + 1
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Errorf("Apply returned (-want +got):\n%s", diff)
			}
			for _, fresh := range []graphcache.Freshness{graphcache.Fresh, graphcache.Cached, graphcache.Cached} {
				if got, err = shopItems.Get(ctx, e, "i01", fresh); err != nil {
					t.Fatal(err)
				}
				if diff := gocmp.Diff(want, got); diff != "" {
					t.Errorf("a read after Apply (-want +got):\n%s", diff)
				}
				e.settle(t)
			}
		})
	}
}

func changeItem() *shopItem {
	return &shopItem{
		ID: "i01", Name: "name", City: "rome", Code: shopPtr("code"), Tags: []string{"a"}, Rank: 1, Stock: 10,
		Small: 100, Tiny: 200, Price: 1.5, Weight: 0.1, Note: shopPtr("note"), Title: "title", Sold: 4,
	}
}

// TestApplyErrors: what cannot be changed changes nothing, and says why.
func TestApplyErrors(t *testing.T) {
	ctx, e := t.Context(), shopNew(t)
	before := changeItem()
	before.Price, before.Weight, before.Stock = math.MaxFloat64, math.MaxFloat32, math.MaxInt64-1
	fixtureMust(t, shopItems.Create(ctx, e, before))
	fixtureMust(t, shopItems.Create(ctx, e, &shopItem{ID: "i02", Code: shopPtr("taken")}))
	apply := func(id shopItemID, changes ...graphcache.Change[shopItem]) error {
		_, err := shopItems.Apply(ctx, e, id, changes...)
		return err
	}
	for _, tt := range []struct {
		name string
		err  error
		is   error
	}{
		{"int8 over", apply("i01", itemSmall.Add(28)), graphcache.ErrInvalid},
		{"the second of two over", apply("i01", itemSmall.Add(-128), itemStock.Add(2)), graphcache.ErrInvalid},
		{"uint8 over", apply("i01", itemTiny.Add(56)), graphcache.ErrInvalid},
		{"int64 over", apply("i01", itemStock.Add(2)), graphcache.ErrInvalid},
		{"int over, beside an index", apply("i01", itemRank.Add(math.MaxInt)), graphcache.ErrInvalid},
		{"float64 over", apply("i01", itemPrice.Add(math.MaxFloat64)), graphcache.ErrInvalid},
		{"float32 over", apply("i01", itemWeight.Add(math.MaxFloat32)), graphcache.ErrInvalid},
		{"renamed over", apply("i01", itemSold.Add(math.MaxInt)), graphcache.ErrInvalid},
		{"one of several over", apply("i01", itemName.Set("no"), itemSmall.Add(28)), graphcache.ErrInvalid},
		{"Add of NaN", apply("i01", itemPrice.Add(math.NaN())), graphcache.ErrInvalid},
		{"Add of infinity", apply("i01", itemPrice.Add(math.Inf(1))), graphcache.ErrInvalid},
		{"Add to a string", apply("i01", itemName.Add("x")), graphcache.ErrInvalid},
		{"changed twice", apply("i01", itemStock.Add(1), itemName.Set("no"), itemStock.Set(3)), graphcache.ErrInvalid},
		{"no changes", apply("i01"), graphcache.ErrInvalid},
		{"a zero Change", apply("i01", graphcache.Change[shopItem]{}), graphcache.ErrInvalid},
		{"the ID", apply("i01", itemID.Set("i07")), graphcache.ErrInvalid},
		{"no text", apply("i01", itemName.Set("\xff")), graphcache.ErrInvalid},
		{"an empty ID", apply("", itemStock.Add(1)), graphcache.ErrInvalid},
		{"nobody", apply("i09", itemName.Set("no")), graphcache.ErrNotFound},
		{"nobody, indexed", apply("i09", itemCity.Set("no")), graphcache.ErrNotFound},
		{"a unique value", apply("i01", itemName.Set("no"), itemCode.Set("taken")), graphcache.ErrExists},
	} {
		if !errors.Is(tt.err, tt.is) {
			t.Errorf("%s: %v, want %v", tt.name, tt.err, tt.is)
		}
	}
	after, err := shopItems.Get(ctx, e, "i01", graphcache.Fresh)
	fixtureMust(t, err)
	if diff := gocmp.Diff(before, after); diff != "" {
		t.Errorf("changes that failed have changed (-want +got):\n%s", diff)
	}
	if n := e.cache.Tokens(); n != 0 {
		t.Errorf("changes that failed have left %d marks", n)
	}
}

// TestApplyFloat32: what Add makes of a float32 is a float32 in the store too, so that
// a query finds it by the value that a read returns.
func TestApplyFloat32(t *testing.T) {
	ctx, e := t.Context(), shopNew(t)
	fixtureMust(t, shopItems.Create(ctx, e, &shopItem{ID: "i01", City: "rome", Weight: 0.1}))
	for _, tt := range []struct {
		name    string
		changes []graphcache.Change[shopItem]
	}{
		{"in place", []graphcache.Change[shopItem]{itemWeight.Add(0.2)}},
		{"by compare-and-set", []graphcache.Change[shopItem]{itemWeight.Add(0.4), itemCity.Set("oslo")}},
	} {
		got, err := shopItems.Apply(ctx, e, "i01", tt.changes...)
		fixtureMust(t, err)
		read, err := shopItems.Get(ctx, e, "i01")
		fixtureMust(t, err)
		if read.Weight != got.Weight {
			t.Errorf("%s: Apply returned %v and a read %v", tt.name, got.Weight, read.Weight)
		}
		for how, q := range map[string]shopItemsQ{
			"the store":  shopItems.Where(itemWeight.Eq(got.Weight)),
			"the engine": shopItems.Where(itemCity.Eq(got.City), itemWeight.Eq(got.Weight)),
		} {
			n, err := q.Count(ctx, e)
			fixtureMust(t, err)
			if n != 1 {
				t.Errorf("%s: %s finds %d items by the weight %v that a read returns, want 1", tt.name, how, n, got.Weight)
			}
		}
		report, err := e.Backfill(ctx, shopItems)
		if err != nil || report.Written != 0 {
			t.Errorf("%s: Apply has written what is not in the current layout: %+v, %v", tt.name, report, err)
		}
	}
}

// TestApplyConcurrentAdds: concurrent Adds, of several processes, lose nothing, whether
// the store adds or the record is compared and set.
func TestApplyConcurrentAdds(t *testing.T) {
	const workers, rounds = 6, 20
	for _, tt := range []struct {
		name   string
		change graphcache.Change[shopItem]
		value  func(*shopItem) int
	}{
		{"in place", itemStock.Add(1), func(i *shopItem) int { return int(i.Stock) }},
		{"indexed", itemRank.Add(1), func(i *shopItem) int { return i.Rank }},
		{"renamed", itemSold.Add(1), func(i *shopItem) int { return i.Sold }},
		{"float", itemPrice.Add(1), func(i *shopItem) int { return int(i.Price) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			many := func(o *graphcache.Options) { o.MaxAttempts = 1000 }
			e := shopNew(t, many)
			other := shopAnother(t, e, many)
			created := &shopItem{ID: "i01", Shelf: "top"}
			fixtureMust(t, shopItems.Create(t.Context(), e, created))
			var wg sync.WaitGroup
			for w := range workers {
				p := []*fixtureEngine{e, other}[w%2]
				wg.Go(func() {
					for range rounds {
						if _, err := shopItems.Apply(t.Context(), p, "i01", tt.change); err != nil {
							t.Error(err)
						}
						if _, err := shopItems.Where(itemShelf.Eq("top")).OrderBy(itemRank.Asc()).All(t.Context(), p); err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			for _, p := range []*fixtureEngine{e, other} {
				got, err := shopItems.Get(t.Context(), p, "i01")
				fixtureMust(t, err)
				if tt.value(got) != workers*rounds {
					t.Errorf("%d Adds have made %d", workers*rounds, tt.value(got))
				}
				if moved := got.Version - created.Version; moved != workers*rounds {
					t.Errorf("%d Adds have moved the version by %d", workers*rounds, moved)
				}
			}
		})
	}
}

// TestApplyRenamed: a field that a record has under its older name is changed from the
// value that it has there, and the older name is gone.
func TestApplyRenamed(t *testing.T) {
	ctx, e := t.Context(), shopNew(t)
	_, err := e.store.Write(ctx, []driver.Write{{Op: driver.Insert, Kind: "item", Object: &driver.Object{ID: "i01", Version: 7, Doc: driver.Document{
		{Name: "sales", Value: int64(40)}, {Name: "headline", Value: "old"}, {Name: "unknown", Value: "kept"},
	}}}})
	fixtureMust(t, err)
	got, err := shopItems.Apply(ctx, e, "i01", itemSold.Add(2))
	fixtureMust(t, err)
	if got.Sold != 42 || got.Title != "old" || got.Version != 8 {
		t.Errorf("Apply returned %d sold, the title %q and version %d", got.Sold, got.Title, got.Version)
	}
	results, err := e.store.Read(ctx, []driver.Step{{Op: driver.GetObjects, Kind: "item", IDs: []string{"i01"}}}, "")
	fixtureMust(t, err)
	doc := results[0].Objects[0].Doc
	for name, want := range map[string]driver.Value{"sold": int64(42), "title": "old", "unknown": "kept", "sales": nil, "headline": nil} {
		if v, ok := doc.Get(name); v != want || ok != (want != nil) {
			t.Errorf("the record has %v as %q, want %v", v, name, want)
		}
	}
}

// TestApplyVersion: an Apply is seen by whoever has read a version before it.
func TestApplyVersion(t *testing.T) {
	ctx, e := t.Context(), shopNew(t)
	form := changeItem()
	fixtureMust(t, shopItems.Create(ctx, e, form))
	_, err := shopItems.Apply(ctx, e, "i01", itemStock.Add(1))
	fixtureMust(t, err)
	if err := shopItems.Put(ctx, e, form); !errors.Is(err, graphcache.ErrConflict) {
		t.Errorf("Put with the version from before Apply: %v, want ErrConflict", err)
	}
	applied, err := shopItems.Apply(ctx, e, "i01", itemStock.Add(1))
	fixtureMust(t, err)
	if err := shopItems.Put(ctx, e, applied); err != nil {
		t.Errorf("Put with the version that Apply returned: %v", err)
	}
}

// TestApplyInterrupted: what Apply says when the backends do not answer, and that the
// cache is right all the same.
func TestApplyInterrupted(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault func(c fixtureCall) backendtest.Action
		is    error
		stock int64
	}{
		{"the cache takes no marks", func(c fixtureCall) backendtest.Action { return changeFault(c, "Hold", backendtest.Fail) }, graphcache.ErrUnavailable, 10},
		{"the store refuses", func(c fixtureCall) backendtest.Action { return changeFault(c, "Write", backendtest.Fail) }, graphcache.ErrUnavailable, 10},
		{"the store's reply is lost", func(c fixtureCall) backendtest.Action { return changeFault(c, "Write", backendtest.DropReply) }, graphcache.ErrUnknownOutcome, 11},
		{"the marks are not taken off", func(c fixtureCall) backendtest.Action { return changeFault(c, "Release", backendtest.Fail) }, nil, 11},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, e := t.Context(), shopNew(t)
			fixtureMust(t, shopItems.Create(ctx, e, changeItem()))
			read := func() int64 {
				i, err := shopItems.Get(ctx, e, "i01")
				fixtureMust(t, err)
				e.settle(t)
				return i.Stock
			}
			read()
			e.on(func(c fixtureCall) backendtest.Fault { return backendtest.Fault{Action: tt.fault(c)} })
			_, err := shopItems.Apply(ctx, e, "i01", itemStock.Add(1))
			if !errors.Is(err, tt.is) {
				t.Errorf("Apply returned %v, want %v", err, tt.is)
			}
			e.on(nil)
			for range 2 {
				if got := read(); got != tt.stock {
					t.Errorf("the stock is %d, want %d", got, tt.stock)
				}
			}
		})
	}
}

func changeFault(c fixtureCall, method string, action backendtest.Action) backendtest.Action {
	if c.is(method) {
		return action
	}
	return backendtest.Pass
}

// TestApplyBounds: the sums at the edge of a type are accepted, in place and beside an
// index.
func TestApplyBounds(t *testing.T) {
	ctx, e := t.Context(), shopNew(t)
	fixtureMust(t, shopItems.Create(ctx, e, &shopItem{ID: "i01"}))
	check := func(what string, got, want any, err error) {
		t.Helper()
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v, %v, want %v", what, got, err, want)
		}
	}
	apply := func(changes ...graphcache.Change[shopItem]) (*shopItem, error) {
		i, err := shopItems.Apply(context.WithoutCancel(ctx), e, "i01", changes...)
		if err != nil {
			return new(shopItem), err
		}
		return i, nil
	}
	for _, beside := range [][]graphcache.Change[shopItem]{nil, {itemCity.Set("oslo")}} {
		i, err := apply(append(beside, itemSmall.Add(127))...)
		check("the greatest int8", i.Small, 127, err)
		i, err = apply(append(beside, itemSmall.Add(-127))...)
		check("an int8 of 0", i.Small, 0, err)
		i, err = apply(append(beside, itemSmall.Add(-128))...)
		check("the least int8", i.Small, -128, err)
		i, err = apply(append(beside, itemTiny.Add(255))...)
		check("the greatest uint8", i.Tiny, 255, err)
		i, err = apply(append(beside, itemStock.Add(math.MaxInt64))...)
		check("the greatest int64", i.Stock, int64(math.MaxInt64), err)
		i, err = apply(append(beside, itemStock.Add(math.MinInt64))...)
		check("an int64 of -1", i.Stock, -1, err)
		i, err = apply(append(beside, itemStock.Add(-math.MaxInt64))...)
		check("the least int64", i.Stock, int64(math.MinInt64), err)
		_, err = apply(append(beside, itemSmall.Set(0), itemTiny.Set(0), itemStock.Set(0))...)
		fixtureMust(t, err)
	}
}
