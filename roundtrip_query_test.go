package graphcache_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/driver"
)

// roundtripShop is a shop with 300 items, of which 100 are in rome and 100 on each of
// three shelves, 20 flags, and 50 buyers: b0 has bought 40 items, bmany 1,200, and each
// other one two.
func roundtripShop(t testing.TB) *fixtureEngine {
	t.Helper()
	e := shopNew(t)
	var writes []driver.Write
	object := func(kind, id string, doc driver.Document) {
		writes = append(writes, driver.Write{Op: driver.Insert, Kind: kind, Object: &driver.Object{ID: id, Version: 1, Doc: doc}})
	}
	edge := func(from, to string, n int) {
		writes = append(writes, driver.Write{Op: driver.Insert, Kind: "bought", Edge: &driver.Edge{From: from, To: to, Version: 1, Time: time.UnixMilli(int64(n)).UTC(),
			Data: driver.Document{{Name: "note", Value: fmt.Sprint("n", n%2)}, {Name: "price", Value: float64(n % 10)}}}})
	}
	item := func(i int) string { return fmt.Sprintf("i%04d", i) }
	object("buyer", "bmany", nil)
	for i := range 1200 {
		city := "elsewhere"
		if i < 300 {
			city = []string{"rome", "oslo", "kyiv"}[i%3]
		}
		object("item", item(i), driver.Document{
			{Name: "city", Value: city}, {Name: "shelf", Value: fmt.Sprint("shelf ", i/100)}, {Name: "rank", Value: int64(i % 50)},
			{Name: "stock", Value: int64(i)}, {Name: "name", Value: fmt.Sprint("name ", i%5)}, {Name: "slot", Value: int64(i)}, {Name: "code", Value: fmt.Sprint("code ", i)},
		})
		edge("bmany", item(i), i)
	}
	for i := range 50 {
		id := fmt.Sprint("b", i)
		object("buyer", id, driver.Document{{Name: "name", Value: id}, {Name: "age", Value: int64(i % 4)}})
		if i == 0 {
			for n := range 40 {
				edge(id, item(n), n)
			}
			continue
		}
		edge(id, item(i), 1)
		edge(id, item(i+100), 2)
	}
	for i := range 20 {
		object("flag", fmt.Sprint("f", i), driver.Document{{Name: "on", Value: i%2 == 0}, {Name: "level", Value: int64(i)}})
	}
	_, err := e.store.Write(t.Context(), writes)
	fixtureMust(t, err)
	return e
}

func roundtripAll[T, E any](e *fixtureEngine, q graphcache.Query[T, E]) func(context.Context) (int, error) {
	return func(ctx context.Context) (int, error) {
		all, err := q.All(ctx, e)
		return len(all), err
	}
}

func roundtripIDs[T, E any](e *fixtureEngine, q graphcache.Query[T, E]) func(context.Context) (int, error) {
	return func(ctx context.Context) (int, error) {
		ids, err := q.IDs(ctx, e)
		return len(ids), err
	}
}

func roundtripOf[T, E any](e *fixtureEngine, q graphcache.Query[T, E]) func(context.Context) (int, error) {
	return func(ctx context.Context) (int, error) { return q.Count(ctx, e) }
}

// roundtripPage reads the first page, and from its cursor the second.
func roundtripPage[T, E any](e *fixtureEngine, q graphcache.Query[T, E]) func(context.Context) (int, error) {
	return func(ctx context.Context) (int, error) {
		_, next, err := q.Page(ctx, e, "")
		if err != nil {
			return 0, err
		}
		page, _, err := q.Page(ctx, e, next)
		return len(page), err
	}
}

// roundtripQuery is a read and the calls that it costs when nothing is cached and when
// all is that can be.
type roundtripQuery struct {
	name                                       string
	coldCache, coldStore, warmCache, warmStore int
	want                                       int
	read                                       func(context.Context) (int, error)
}

func roundtripQueries(e *fixtureEngine) []roundtripQuery {
	rome, b0, many := shopItems.Where(itemCity.Eq("rome")), shopBought.Out(shopBuyerID("b0")), shopBought.Out(shopBuyerID("bmany"))
	buyers := shopBuyers.Where(graphcache.FieldOf(shopBuyers, func(b *shopBuyer) *shopBuyerID { return &b.ID }).In("b1", "b2", "b3", "b4", "b5"))
	with := shopBought.OutInto(func(b *shopBuyer, items []*shopItem) { b.Items = items })
	deep := with.With(shopBought.InInto(func(i *shopItem, of []*shopBuyer) { i.Buyers = of }))
	return []roundtripQuery{
		// A value costs Lookup, Claim and Fill, and one read of the store; cached, a Lookup.
		{"by ID", 3, 1, 1, 0, 2, roundtripAll(e, shopItems.Where(itemID.In("i0001", "i0002", "none")))},
		{"by ID and more", 3, 1, 1, 0, 1, roundtripOf(e, shopItems.Where(itemID.In("i0001", "i0002", "none"), itemStock.Gt(1)))},
		{"index, IDs", 3, 1, 1, 0, 100, roundtripIDs(e, rome)},
		{"index, count", 3, 1, 1, 0, 100, roundtripOf(e, rome)},
		{"index, whether there is one", 3, 1, 1, 0, 1, func(ctx context.Context) (int, error) {
			ok, err := rome.Exists(ctx, e)
			return map[bool]int{true: 1}[ok], err
		}},
		{"index, objects", 6, 2, 2, 0, 100, roundtripAll(e, rome)},
		{"index, a window", 6, 2, 2, 0, 10, roundtripAll(e, rome.Offset(20).Limit(10))},
		{"index, residual", 6, 2, 2, 0, 66, roundtripAll(e, rome.Where(itemStock.Ge(100)))},
		{"index, residual, count", 6, 2, 2, 0, 66, roundtripOf(e, rome.Where(itemStock.Ge(100)))},
		{"index, in another order", 6, 2, 2, 0, 5, roundtripAll(e, rome.OrderBy(itemName.Asc()).Limit(5))},
		{"index, three values", 3, 1, 1, 0, 200, roundtripIDs(e, shopItems.Where(itemCity.In("rome", "oslo", "none")))},
		{"index, three values, objects", 6, 2, 2, 0, 200, roundtripAll(e, shopItems.Where(itemCity.In("rome", "oslo", "none")))},
		{"unique", 6, 2, 2, 0, 1, roundtripAll(e, shopItems.Where(itemCode.Eq("code 7")))},
		{"index order, a page", 6, 2, 2, 0, 10, roundtripAll(e, shopItems.Where(itemShelf.Eq("shelf 1")).OrderBy(itemRank.Desc()).Limit(10))},
		{"index order, count", 3, 1, 1, 0, 10, roundtripOf(e, shopItems.Where(itemShelf.Eq("shelf 1")).OrderBy(itemRank.Desc()).Limit(10))},
		{"index order, two pages", 12, 4, 4, 0, 10, roundtripPage(e, shopItems.Where(itemShelf.Eq("shelf 1")).OrderBy(itemRank.Desc()).Limit(10))},
		{"index, longer than a prefix, window", 6, 2, 2, 0, 10, roundtripAll(e, shopItems.Where(itemCity.Eq("elsewhere")).Limit(10))},
		{"scan, IDs", 3, 1, 1, 0, 10, roundtripIDs(e, shopFlags.Where(flagOn.Eq(true)))},
		{"scan, count", 3, 1, 1, 0, 10, roundtripOf(e, shopFlags.Where(flagOn.Eq(true)))},
		{"scan, objects", 6, 2, 2, 0, 3, roundtripAll(e, shopFlags.Where(flagOn.Eq(true)).OrderBy(flagLevel.Desc()).Limit(3))},
		{"list, where", 6, 2, 2, 0, 20, roundtripAll(e, b0.Where(itemStock.Ge(20)))},
		{"list, where edge", 3, 1, 1, 0, 20, roundtripIDs(e, b0.WhereEdge(saleNote.Eq("n1")))},
		{"list, where edge, count", 3, 1, 1, 0, 20, roundtripOf(e, b0.WhereEdge(saleNote.Eq("n1")))},
		{"list, where and where edge", 6, 2, 2, 0, 10, roundtripAll(e, b0.WhereEdge(saleNote.Eq("n1")).Where(itemStock.Ge(20)))},
		{"list, order", 6, 2, 2, 0, 5, roundtripAll(e, b0.OrderBy(itemStock.Asc()).Limit(5))},
		{"list, order by edge", 6, 2, 2, 0, 5, roundtripAll(e, b0.OrderByEdge(salePrice.Desc()).Limit(5))},
		{"list, with its objects", 6, 2, 2, 0, 40, func(ctx context.Context) (int, error) {
			pairs, err := b0.WithObjects(ctx, e)
			return len(pairs), err
		}},
		{"two hops, where on both", 12, 4, 4, 0, 3, roundtripIDs(e, shopBought.In(b0.Where(itemStock.Lt(4))).Where(buyerName.Ne("bmany")).Distinct().Limit(3))},
		{"from an index to lists", 6, 2, 2, 0, 4, roundtripIDs(e, shopBought.In(shopItems.Where(itemCode.In("code 7", "code 8", "code 107"))).Distinct().Limit(11))},
		// A list that is longer than its prefix is filtered in it while that is enough, and
		// else by the store, every time.
		{"long list, a few that are new", 6, 2, 2, 0, 5, roundtripAll(e, many.Where(itemStock.Ge(1000)).Limit(5))},
		{"long list, where", 9, 4, 3, 1, 100, roundtripAll(e, many.Where(itemStock.Lt(100)))},
		{"long list, order", 6, 3, 2, 1, 5, roundtripAll(e, many.OrderBy(itemStock.Asc()).Limit(5))},
		// The store's search is not cached, the objects that it finds are.
		{"store", 3, 2, 1, 1, 10, roundtripAll(e, shopItems.Where(itemStock.Lt(10)))},
		{"store, IDs", 0, 1, 0, 1, 10, roundtripIDs(e, shopItems.Where(itemStock.Lt(10)))},
		{"store, count", 0, 1, 0, 1, 10, roundtripOf(e, shopItems.Where(itemStock.Lt(10)))},
		{"store, a page", 3, 2, 1, 1, 5, roundtripAll(e, shopBuyers.Where(buyerAge.Ge(1)).OrderBy(buyerName.Asc()).Limit(5))},
		{"fresh", 0, 2, 0, 2, 100, roundtripAll(e, rome.Fresh())},
		// A level costs a list and its objects, however many objects it starts from.
		{"with neighbours", 9, 3, 3, 0, 5, roundtripAll(e, buyers.With(with))},
		{"with neighbours of one", 9, 3, 3, 0, 1, roundtripAll(e, buyers.Limit(1).With(with))},
		{"with two levels", 15, 5, 5, 0, 5, roundtripAll(e, buyers.With(deep))},
		{"with two levels of one", 15, 5, 5, 0, 1, roundtripAll(e, buyers.Limit(1).With(deep))},
		{"with two of one level", 15, 5, 5, 0, 5, roundtripAll(e, buyers.With(with, shopHome.OutInto(func(*shopBuyer, []*shopItem) {}), shopPeers.OutInto(func(b *shopBuyer, of []*shopBuyer) { b.Peers = of })))},
		{"with a few of each, filtered", 9, 3, 3, 0, 5, roundtripAll(e, buyers.With(with.Where(itemStock.Ge(3)).OrderBy(itemStock.Desc()).LimitPer(1)))},
	}
}

// TestRoundtripsOfQueries: what a query costs in calls of the cache and of the store
// depends on its plan, not on what it finds.
func TestRoundtripsOfQueries(t *testing.T) {
	e := roundtripShop(t)
	for _, tt := range roundtripQueries(e) {
		t.Run(tt.name, func(t *testing.T) {
			e.cache.Flush()
			e.on(nil)
			for _, pass := range []struct {
				name         string
				cache, store int
			}{{"cold", tt.coldCache, tt.coldStore}, {"warm", tt.warmCache, tt.warmStore}} {
				n, err := tt.read(t.Context())
				if n != tt.want || err != nil {
					t.Errorf("%s: found %d, %v, want %d", pass.name, n, err, tt.want)
				}
				roundtripCount(t, e, pass.name, pass.cache, pass.store)
			}
		})
	}
}

// roundtripChanges are writes by fields, in bulk and of other programs, with the calls
// that they cost.
var roundtripChanges = []struct {
	name         string
	cache, store int
	write        func(context.Context, *fixtureEngine) error
}{
	// A Hold, a Release and the write.
	{"Apply in place", 2, 1, func(ctx context.Context, e *fixtureEngine) error {
		return hazardApply("i0001", itemStock.Add(1), itemName.Set("new"))(ctx, e)
	}},
	{"Apply of an indexed field", 2, 2, func(ctx context.Context, e *fixtureEngine) error {
		return hazardApply("i0001", itemStock.Add(1), itemCity.Set("new"))(ctx, e)
	}},
	{"Apply of a renamed field", 2, 2, func(ctx context.Context, e *fixtureEngine) error {
		return hazardApply("i0001", itemSold.Add(1))(ctx, e)
	}},
	{"Apply to a kind whose scans are cached", 2, 1, func(ctx context.Context, e *fixtureEngine) error {
		_, err := shopFlags.Apply(ctx, e, "f1", flagLevel.Add(1))
		return err
	}},
	{"Update of an indexed field", 2, 2, func(ctx context.Context, e *fixtureEngine) error {
		return hazardUpdate("i0001", func(i *shopItem) { i.City = "new" })(ctx, e)
	}},
	// The query, and for each of 4 chunks a read, a Hold, a write and a Release.
	{"ApplyAll of 1,000", 8, 9, func(ctx context.Context, e *fixtureEngine) error {
		return roundtripReport(shopItems.Where(itemStock.Lt(1000)).ApplyAll(ctx, e, itemCity.Set("new")))
	}},
	{"UpdateAll of 1,000", 8, 9, func(ctx context.Context, e *fixtureEngine) error {
		return roundtripReport(shopItems.Where(itemStock.Lt(1000)).UpdateAll(ctx, e, func(i *shopItem) error { i.Stock++; return nil }))
	}},
	{"ApplyAll of none", 0, 1, func(ctx context.Context, e *fixtureEngine) error {
		return roundtripReport(shopItems.Where(itemStock.Lt(0)).ApplyAll(ctx, e, itemCity.Set("new")))
	}},
	{"ApplyAll in a transaction", 2, 11, func(ctx context.Context, e *fixtureEngine) error {
		return e.Tx(ctx, func(tx *graphcache.Tx) error {
			return roundtripReport(shopItems.Where(itemStock.Lt(1000)).ApplyAll(ctx, tx, itemCity.Set("new")))
		})
	}},
	// The read of both by their IDs; for each, what roundtripWrites says of Delete: it is
	// read, marked, looked for in four lists and removed; one list has edges, which are read
	// beside the mark, removed and looked for once more.
	{"DeleteAll of 2", 12, 21, func(ctx context.Context, e *fixtureEngine) error {
		return roundtripReport(shopItems.Where(itemID.In("i0101", "i0102")).DeleteAll(ctx, e))
	}},
	{"Backfill of 1,200", 10, 16, func(ctx context.Context, e *fixtureEngine) error {
		report, err := e.Backfill(ctx, shopItems)
		if err == nil && report != (graphcache.BackfillReport{Read: 1200, Written: 1200}) {
			err = fmt.Errorf("%+v", report)
		}
		return err
	}},
	{"Backfill of what is as it is to be", 0, 7, func(ctx context.Context, e *fixtureEngine) error {
		_, err := e.Backfill(ctx, shopBought)
		return err
	}},
	{"Invalidate of an object without indexes", 2, 0, func(ctx context.Context, e *fixtureEngine) error { return e.Invalidate(ctx, shopBuyers.Ref("b1")) }},
	{"Invalidate of an object with indexes", 3, 1, func(ctx context.Context, e *fixtureEngine) error { return e.Invalidate(ctx, shopItems.Ref("i0001")) }},
	{"Invalidate of 3 edges", 2, 0, func(ctx context.Context, e *fixtureEngine) error {
		return e.Invalidate(ctx, shopBought.Ref("b0", "i0001"), shopBought.Ref("b0", "i0002"), shopHome.Ref("b0", "i0001"))
	}},
	{"Invalidate of nothing", 0, 0, func(ctx context.Context, e *fixtureEngine) error { return e.Invalidate(ctx) }},
	{"InvalidateKind of 2", 0, 2, func(ctx context.Context, e *fixtureEngine) error { return e.InvalidateKind(ctx, shopItems, shopBought) }},
}

// roundtripReport says when a bulk write has left something out.
func roundtripReport(report graphcache.BulkReport, err error) error {
	if err == nil && report.Written != report.Found {
		err = fmt.Errorf("%+v", report)
	}
	return err
}

// TestRoundtripsOfChanges: what writes by fields, in bulk and after other programs cost.
func TestRoundtripsOfChanges(t *testing.T) {
	for _, tt := range roundtripChanges {
		t.Run(tt.name, func(t *testing.T) {
			e := roundtripShop(t)
			e.on(nil)
			fixtureMust(t, tt.write(t.Context(), e))
			roundtripCount(t, e, tt.name, tt.cache, tt.store)
			if n := e.cache.Tokens(); n != 0 {
				t.Errorf("%d marks are left", n)
			}
		})
	}
}

// TestRoundtripsOfQueriesCollapse: 100 readers of one query at the same time read the
// store as often as one. Of a search that is not cached only those are joined that are
// not sent yet: whoever comes after the first was sent waits for a second one, all of
// them for the same, because the first may have been answered before they began.
func TestRoundtripsOfQueriesCollapse(t *testing.T) {
	for _, tt := range []struct {
		name  string
		reads int
		read  func(context.Context, *fixtureEngine) (int, error)
	}{
		{"index, IDs", 1, func(ctx context.Context, e *fixtureEngine) (int, error) {
			return roundtripIDs(e, shopItems.Where(itemCity.Eq("rome")))(ctx)
		}},
		{"index, residual", 2, func(ctx context.Context, e *fixtureEngine) (int, error) {
			return roundtripAll(e, shopItems.Where(itemCity.Eq("rome"), itemStock.Ge(0)))(ctx)
		}},
		{"index order, a page", 2, func(ctx context.Context, e *fixtureEngine) (int, error) {
			page, _, err := shopItems.Where(itemShelf.Eq("top")).OrderBy(itemRank.Asc()).Limit(2).Page(ctx, e, "")
			return len(page), err
		}},
		{"scan", 1, func(ctx context.Context, e *fixtureEngine) (int, error) {
			return roundtripIDs(e, shopFlags.Where(flagOn.Eq(true)))(ctx)
		}},
		{"store", 2, func(ctx context.Context, e *fixtureEngine) (int, error) {
			return roundtripIDs(e, shopItems.Where(itemStock.Ge(0)))(ctx)
		}},
		{"store, count", 2, func(ctx context.Context, e *fixtureEngine) (int, error) {
			return roundtripOf(e, shopItems.Where(itemStock.Ge(0)))(ctx)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := shopNew(t)
				shopFill(t, e)
				want, err := tt.read(t.Context(), e)
				fixtureMust(t, err)
				e.settle(t)
				e.cache.Flush()
				gate := backendtest.NewGate(backendtest.Nth("Read", 1))
				e.on(func(c fixtureCall) backendtest.Fault { return gate.Hook(c.ctx, c.Call) })
				read := func() func() error {
					return fixtureGo(t, func() error {
						n, err := tt.read(t.Context(), e)
						if err == nil && n != want {
							err = fmt.Errorf("found %d, want %d", n, want)
						}
						return err
					})
				}
				waits := []func() error{read()}
				synctest.Wait() // its read is sent
				for range 99 {
					waits = append(waits, read())
				}
				synctest.Wait()
				gate.Open()
				for _, wait := range waits {
					fixtureMust(t, wait())
				}
				if n := e.fstore.Calls("Read"); n != tt.reads {
					t.Errorf("100 readers read the store %d times, want %d", n, tt.reads)
				}
			})
		})
	}
}
