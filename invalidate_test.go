package graphcache_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/driver"
)

// foreignWrite writes the store as something else than graphcache does.
func foreignWrite(t testing.TB, e *fixtureEngine, writes ...driver.Write) {
	t.Helper()
	results, err := e.store.Write(t.Context(), writes)
	fixtureMust(t, err)
	for i, r := range results {
		if r.Outcome != driver.Done {
			t.Fatalf("write %d of another program: %v", i, r.Outcome)
		}
	}
}

func foreignItem(op driver.WriteOp, id, city string, stock int64) driver.Write {
	return driver.Write{Op: op, Kind: "item", Object: &driver.Object{ID: id, Version: 1, Doc: driver.Document{
		{Name: "city", Value: city}, {Name: "stock", Value: stock}, {Name: "shelf", Value: "top"}, {Name: "rank", Value: stock},
		{Name: "tags", Value: []driver.Value{"red", city}}, {Name: "slot", Value: stock}, {Name: "code", Value: "code of " + id},
	}}}
}

func foreignEdge(op driver.WriteOp, kind, from, to string) driver.Write {
	return driver.Write{Op: op, Kind: kind, Edge: &driver.Edge{From: from, To: to, Version: 1, Time: time.UnixMilli(5).UTC()}}
}

// TestInvalidateObject: after Invalidate no query has what something else than
// graphcache has changed, if the object is cached, or what it was is given.
func TestInvalidateObject(t *testing.T) {
	was := func(city string, stock int) *shopItem {
		return &shopItem{ID: "i01", City: city, Tags: []string{"red", city}, Shelf: "top", Rank: stock, Code: shopPtr("code of i01"), Slot: shopPtr(stock)}
	}
	for _, tt := range []struct {
		name   string
		warm   bool // the object is cached
		absent bool // it is not there at first
		writes []driver.Write
		ref    graphcache.Ref
	}{
		{"changed, cached", true, false, []driver.Write{foreignItem(driver.Replace, "i01", "oslo", 9)}, shopItems.Ref("i01")},
		{"changed, cached and given", true, false, []driver.Write{foreignItem(driver.Replace, "i01", "oslo", 9)}, shopItems.Ref("i01", was("rome", 1))},
		{"changed, not cached, given", false, false, []driver.Write{foreignItem(driver.Replace, "i01", "oslo", 9)}, shopItems.Ref("i01", was("rome", 1))},
		{"changed twice, all given", false, false, []driver.Write{foreignItem(driver.Replace, "i01", "kyiv", 5), foreignItem(driver.Replace, "i01", "oslo", 9)},
			shopItems.Ref("i01", was("rome", 1), was("kyiv", 5))},
		{"changed in no index", false, false, []driver.Write{foreignItem(driver.Replace, "i01", "rome", 1)}, shopItems.Ref("i01", nil)},
		{"deleted, cached", true, false, []driver.Write{foreignItem(driver.Delete, "i01", "", 0)}, shopItems.Ref("i01")},
		{"deleted, given", false, false, []driver.Write{foreignItem(driver.Delete, "i01", "", 0)}, shopItems.Ref("i01", was("rome", 1))},
		{"created, absence cached", true, true, []driver.Write{foreignItem(driver.Insert, "i01", "oslo", 9)}, shopItems.Ref("i01")},
		{"created, nothing cached", false, true, []driver.Write{foreignItem(driver.Insert, "i01", "oslo", 9)}, shopItems.Ref("i01")},
		{"never there", true, true, nil, shopItems.Ref("i01")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, e := t.Context(), shopNew(t)
			other := shopAnother(t, e)
			foreignWrite(t, e, foreignItem(driver.Insert, "i02", "rome", 2), foreignItem(driver.Insert, "i03", "oslo", 3))
			if !tt.absent {
				foreignWrite(t, e, foreignItem(driver.Insert, "i01", "rome", 1))
			}
			queries := []shopItemsQ{
				shopItems.Where(itemCity.Eq("rome")), shopItems.Where(itemCity.Eq("kyiv")), shopItems.Where(itemCity.Eq("oslo")), shopItems.Where(itemTags.Has("red")),
				shopItems.Where(itemTags.Has("rome")), shopItems.Where(itemShelf.Eq("top")).OrderBy(itemRank.Desc()), shopItems.Where(itemCode.Eq("code of i01")),
			}
			view := func(p *fixtureEngine, fresh bool) (v []string) {
				for _, q := range queries {
					if fresh {
						q = q.Fresh()
					}
					ids, err := q.IDs(ctx, p)
					fixtureMust(t, err)
					v = append(v, strings.Join(hazardStrings(ids), " "))
				}
				if fresh || tt.warm {
					items, err := shopItems.GetMany(ctx, p, []shopItemID{"i01"}, map[bool]graphcache.Freshness{true: graphcache.Fresh}[fresh])
					fixtureMust(t, err)
					if i := items["i01"]; i != nil {
						v = append(v, i.City)
					}
				}
				p.settle(t)
				return v
			}
			view(other, false)
			foreignWrite(t, e, tt.writes...)
			if tt.name == "changed, cached" {
				if diff := gocmp.Diff(view(e, true), view(other, false)); diff == "" {
					t.Error("nothing is stale before Invalidate, so this shows nothing")
				}
			}
			fixtureMust(t, e.Invalidate(ctx, tt.ref))
			tt.warm = true
			want := view(e, true)
			for range 2 {
				for _, p := range []*fixtureEngine{other, e} {
					if diff := gocmp.Diff(want, view(p, false)); diff != "" {
						t.Errorf("after Invalidate (-store +cached):\n%s", diff)
					}
				}
			}
			if n := e.cache.Tokens(); n != 0 {
				t.Errorf("%d marks are left", n)
			}
		})
	}
}

// TestInvalidateScans: a kind whose scans are cached, and one without anything.
func TestInvalidateScans(t *testing.T) {
	ctx, e := t.Context(), shopNew(t)
	shopFill(t, e)
	read := func() string {
		ids, err := shopFlags.Where(flagOn.Eq(true)).IDs(ctx, e)
		fixtureMust(t, err)
		b, err := shopBuyers.Get(ctx, e, "b1")
		fixtureMust(t, err)
		e.settle(t)
		return strings.Join(hazardStrings(ids), " ") + " " + b.Name
	}
	read()
	foreignWrite(t, e,
		driver.Write{Op: driver.Replace, Kind: "flag", Object: &driver.Object{ID: "f0", Version: 1}},
		driver.Write{Op: driver.Replace, Kind: "buyer", Object: &driver.Object{ID: "b1", Version: 1, Doc: driver.Document{{Name: "name", Value: "new"}}}})
	if got := read(); got != "f0 f2 f4 f6 name 1" {
		t.Errorf("before Invalidate there is %q, which shows nothing", got)
	}
	fixtureMust(t, e.Invalidate(ctx, shopFlags.Ref("f0"), shopBuyers.Ref("b1")))
	if got := read(); got != "f2 f4 f6 new" {
		t.Errorf("after Invalidate there is %q", got)
	}
}

// TestInvalidateEdges: the lists of both ends, of a to-one edge those of all ends that
// it has had.
func TestInvalidateEdges(t *testing.T) {
	ctx, e := t.Context(), shopNew(t)
	other := shopAnother(t, e)
	shopFill(t, e)
	foreignWrite(t, e, foreignEdge(driver.Insert, "bought", "b0", "i01"), foreignEdge(driver.Insert, "home", "b0", "i01"), foreignEdge(driver.Insert, "peers", "b0", "b1"))
	view := func(fresh bool) (v []string) {
		add := func(ids []string, err error) {
			fixtureMust(t, err)
			v = append(v, strings.Join(ids, " "))
		}
		items := func(q graphcache.Query[shopItem, shopEdge]) ([]string, error) {
			if fresh {
				q = q.Fresh()
			}
			ids, err := q.IDs(ctx, other)
			return hazardStrings(ids), err
		}
		buyers := func(ids graphcache.IDs[shopBuyer], err error) ([]string, error) { return hazardStrings(ids), err }
		f := func(q graphcache.Query[shopBuyer, graphcache.Edge[shopBuyer, shopItem, graphcache.NoData]]) graphcache.Query[shopBuyer, graphcache.Edge[shopBuyer, shopItem, graphcache.NoData]] {
			if fresh {
				return q.Fresh()
			}
			return q
		}
		add(items(shopBought.Out(shopBuyerID("b0"))))
		add(items(shopBought.Out(shopBuyerID("b0")).Where(itemStock.Ge(0))))
		for _, item := range []shopItemID{"i01", "i02"} {
			add(buyers(f(shopHome.In(item)).IDs(ctx, other)))
			q := shopBought.In(item)
			if fresh {
				q = q.Fresh()
			}
			add(buyers(q.IDs(ctx, other)))
		}
		for _, b := range []shopBuyerID{"b0", "b1", "b2"} {
			q := shopPeers.Out(b)
			if fresh {
				q = q.Fresh()
			}
			add(buyers(q.IDs(ctx, other)))
		}
		other.settle(t)
		return v
	}
	view(false)
	foreignWrite(t, e,
		foreignEdge(driver.Insert, "bought", "b0", "i02"), foreignEdge(driver.Delete, "bought", "b0", "i01"),
		foreignEdge(driver.Replace, "home", "b0", "i02"), foreignEdge(driver.Insert, "peers", "b0", "b2"), foreignEdge(driver.Delete, "peers", "b0", "b1"))
	fixtureMust(t, e.Invalidate(ctx,
		shopBought.Ref("b0", "i01"), shopBought.Ref("b0", "i02"), shopHome.Ref("b0", "i01"), shopHome.Ref("b0", "i02"),
		shopPeers.Ref("b2", "b0"), shopPeers.Ref("b1", "b0")))
	want := view(true)
	if diff := gocmp.Diff([]string{"i02", "i02", "", "", "b0", "b0", "b2", "", "b0"}, want); diff != "" {
		t.Errorf("the store (-want +got):\n%s", diff)
	}
	for range 2 {
		if diff := gocmp.Diff(want, view(false)); diff != "" {
			t.Errorf("after Invalidate (-store +cached):\n%s", diff)
		}
	}
}

// TestInvalidateLateFill: a load that has read the store before the other program's
// write does not survive Invalidate, in any order of the calls.
func TestInvalidateLateFill(t *testing.T) {
	reader := shopNew(t)
	writer, other := shopAnother(t, reader), shopAnother(t, reader)
	foreignWrite(t, reader, foreignItem(driver.Insert, "i01", "old", 1))
	before := &shopItem{ID: "i01", City: "old"}
	for _, city := range []string{"old", "new"} {
		h := hazardIndexRace(city, hazardMove{})
		h.reset = func(t testing.TB, e *fixtureEngine) {
			foreignWrite(t, e, foreignItem(driver.Replace, "i01", "old", 1))
			fixtureMust(t, e.Invalidate(t.Context(), shopItems.Ref("i01", before, &shopItem{City: "new"})))
		}
		h.write = func(ctx context.Context, e *fixtureEngine) error {
			// The other program writes when Invalidate is called.
			if _, err := e.store.Write(ctx, []driver.Write{foreignItem(driver.Replace, "i01", "new", 1)}); err != nil {
				return err
			}
			return e.Invalidate(ctx, shopItems.Ref("i01", before))
		}
		for _, order := range hazardOrders(h.readCalls, h.writeCalls) {
			h.reset(t, other)
			h.play(t, order, nil, reader, writer, other)
		}
	}
}

// TestInvalidateErrors: what Invalidate returns for what it cannot do.
func TestInvalidateErrors(t *testing.T) {
	ctx, e := t.Context(), shopNew(t)
	shopFill(t, e)
	for name, tt := range map[string]struct {
		refs []graphcache.Ref
		is   error
	}{
		"nothing":                        {nil, nil},
		"nil":                            {[]graphcache.Ref{shopItems.Ref("i01"), nil}, graphcache.ErrInvalid},
		"an empty ID":                    {[]graphcache.Ref{shopItems.Ref("")}, graphcache.ErrInvalid},
		"an edge without an end":         {[]graphcache.Ref{shopBought.Ref("b0", "")}, graphcache.ErrInvalid},
		"an object of another schema":    {[]graphcache.Ref{fixtureUsers.Ref("ann")}, graphcache.ErrSchema},
		"an edge of another schema":      {[]graphcache.Ref{fixtureFollows.Ref("ann", "bob")}, graphcache.ErrSchema},
		"an object that cannot be kept":  {[]graphcache.Ref{shopItems.Ref("i01", &shopItem{Name: "\xff"})}, graphcache.ErrInvalid},
		"what does not exist":            {[]graphcache.Ref{shopItems.Ref("i99"), shopBought.Ref("b0", "i99")}, nil},
		"the same several times, and so": {[]graphcache.Ref{shopItems.Ref("i01"), shopItems.Ref("i01")}, nil},
	} {
		if err := e.Invalidate(ctx, tt.refs...); !errors.Is(err, tt.is) {
			t.Errorf("%s: %v, want %v", name, err, tt.is)
		}
	}
	for _, method := range []string{"Hold", "Read"} {
		e.on(func(c fixtureCall) backendtest.Fault {
			return backendtest.Fault{Action: changeFault(c, method, backendtest.Fail)}
		})
		if err := e.Invalidate(ctx, shopItems.Ref("i01")); !errors.Is(err, graphcache.ErrUnavailable) {
			t.Errorf("%s fails: %v, want ErrUnavailable", method, err)
		}
	}
	e.on(nil)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if err := e.Invalidate(ended, shopBuyers.Ref("b1")); !errors.Is(err, context.Canceled) {
		t.Errorf("the context has ended: %v", err)
	}
	plain := shopAnother(t, e, func(o *graphcache.Options) { o.Cache = nil })
	if err := plain.Invalidate(ctx, shopItems.Ref("i01")); err != nil {
		t.Errorf("without a cache: %v", err)
	}
}
