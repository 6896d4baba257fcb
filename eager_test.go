package graphcache_test

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/driver"
)

// eagerItems sets what a buyer has bought, and eagerBuyers who has bought an item.
var (
	eagerItems  = shopBought.OutInto(func(b *shopBuyer, items []*shopItem) { b.Items = items })
	eagerBuyers = shopBought.InInto(func(i *shopItem, buyers []*shopBuyer) { i.Buyers = buyers })
	eagerPeers  = shopPeers.OutInto(func(b *shopBuyer, peers []*shopBuyer) { b.Peers = peers })
	buyerID     = graphcache.FieldOf(shopBuyers, func(b *shopBuyer) *shopBuyerID { return &b.ID })
)

// eagerWorld is a shop in which everybody has bought something but b7.
func eagerWorld(t testing.TB, e *fixtureEngine) {
	t.Helper()
	shopFill(t, e)
	for b := range 7 {
		for i := range 12 {
			if (i+b)%4 != 0 {
				continue
			}
			_, err := shopBought.AddEdge(t.Context(), e, shopEdge{
				From: shopBuyerID(fmt.Sprint("b", b)), To: shopItemID(fmt.Sprintf("i%02d", i)),
				Time: time.UnixMilli(int64(i)), Data: shopSale{Note: fmt.Sprint("n", i%2), Price: float64(i % 3)},
			})
			fixtureMust(t, err)
		}
		fixtureMust(t, shopPeers.Add(t.Context(), e, "b0", shopBuyerID(fmt.Sprint("b", b)), graphcache.NoData{}))
	}
}

// eagerString is a tree of buyers and items.
func eagerString(buyers []*shopBuyer) string {
	var b strings.Builder
	for _, buyer := range buyers {
		fmt.Fprintf(&b, "%s(", buyer.ID)
		for _, i := range buyer.Items {
			fmt.Fprintf(&b, " %s", i.ID)
			for _, of := range i.Buyers {
				fmt.Fprintf(&b, ".%s", of.ID)
			}
		}
		for _, p := range buyer.Peers {
			fmt.Fprintf(&b, " %s", p.ID)
		}
		b.WriteString(") ")
	}
	return strings.TrimSpace(b.String())
}

// TestWith: what is loaded along with objects is what a query for each of them gives,
// from the cache, from the store and in a transaction.
func TestWith(t *testing.T) {
	some := shopBuyers.Where(buyerID.In("b0", "b2", "b7"))
	for _, tt := range []struct {
		name  string
		query graphcache.Query[shopBuyer, graphcache.NoEdge]
		want  string
	}{
		{"nothing", some, "b0() b2() b7()"},
		{"items", some.With(eagerItems), "b0( i08 i04 i00) b2( i10 i06 i02) b7()"},
		{"a few", some.With(eagerItems.LimitPer(2)), "b0( i08 i04) b2( i10 i06) b7()"},
		{"where", some.With(eagerItems.Where(itemStock.Gt(3))), "b0( i08 i04) b2( i10 i06) b7()"},
		{"where edge", some.With(eagerItems.WhereEdge(salePrice.Eq(0))), "b0( i00) b2( i06) b7()"},
		{"order", some.With(eagerItems.OrderBy(itemStock.Asc())), "b0( i00 i04 i08) b2( i02 i06 i10) b7()"},
		{"order by edge", some.With(eagerItems.OrderByEdge(salePrice.Desc()).LimitPer(1)), "b0( i08) b2( i02) b7()"},
		{"two", some.With(eagerItems.LimitPer(1), eagerPeers.OrderBy(buyerName.Desc()).LimitPer(2)), "b0( i08 b6 b5) b2( i10 b0) b7()"},
		{"two, in two calls", some.With(eagerItems.LimitPer(1)).With(eagerPeers.OrderBy(buyerName.Desc()).LimitPer(2)), "b0( i08 b6 b5) b2( i10 b0) b7()"},
		{"two levels", some.With(eagerItems.LimitPer(1).With(eagerBuyers.OrderBy(buyerName.Asc()))), "b0( i08.b0.b4) b2( i10.b2.b6) b7()"},
		{"to-one", some.With(shopHome.OutInto(func(b *shopBuyer, items []*shopItem) { b.Items = items })), "b0( i03) b2() b7()"},
		{"of what is left of a window", shopBuyers.Where().OrderBy(buyerName.Desc()).Offset(1).Limit(2).With(eagerItems.LimitPer(1)), "b6( i10) b5( i11)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, e := t.Context(), shopNew(t)
			eagerWorld(t, e)
			fixtureMust(t, shopHome.Add(ctx, e, "b0", "i03", graphcache.NoData{}))
			check := func(how string, c graphcache.Conn, q graphcache.Query[shopBuyer, graphcache.NoEdge]) {
				t.Helper()
				all, err := q.All(ctx, c)
				fixtureMust(t, err)
				if diff := gocmp.Diff(tt.want, eagerString(all)); diff != "" {
					t.Errorf("%s (-want +got):\n%s", how, diff)
				}
			}
			check("cold", e, tt.query)
			e.settle(t)
			check("warm", e, tt.query)
			check("fresh", e, tt.query.Fresh())
			fixtureMust(t, e.Tx(ctx, func(tx *graphcache.Tx) error { check("in a transaction", tx, tt.query); return nil }))
			first, err := tt.query.First(ctx, e)
			fixtureMust(t, err)
			if got := eagerString([]*shopBuyer{first}); !strings.HasPrefix(tt.want, got) {
				t.Errorf("First has %s, want the first of %s", got, tt.want)
			}
			page, _, err := tt.query.Limit(8).Page(ctx, e, "")
			fixtureMust(t, err)
			if got := eagerString(page); !strings.HasPrefix(got, tt.want) {
				t.Errorf("Page has %s, want %s", got, tt.want)
			}
		})
	}
}

// TestWithErrors: what is wrong with an attachment is said when the query is run, even
// if there is nothing to attach it to.
func TestWithErrors(t *testing.T) {
	ctx, e := t.Context(), shopNew(t)
	eagerWorld(t, e)
	for _, tt := range []struct {
		name  string
		query graphcache.Query[shopBuyer, graphcache.NoEdge]
		is    error
	}{
		{"nil", shopBuyers.Where().With(nil), graphcache.ErrInvalid},
		{"a nil function", shopBuyers.Where().With(shopBought.OutInto(nil)), graphcache.ErrInvalid},
		{"a bad limit", shopBuyers.Where().With(eagerItems.LimitPer(-1)), graphcache.ErrInvalid},
		{"a bad predicate", shopBuyers.Where().With(eagerItems.Where(itemName.Eq("\xff"))), graphcache.ErrInvalid},
		{"a zero value", shopBuyers.Where().With(graphcache.Neighbours[shopBuyer, shopItem, shopEdge]{}), graphcache.ErrInvalid},
		{"two levels down", shopBuyers.Where().With(eagerItems.With(eagerBuyers.LimitPer(-1))), graphcache.ErrInvalid},
	} {
		if _, err := tt.query.All(ctx, e); !errors.Is(err, tt.is) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.is)
		}
	}
	e.settle(t)
	e.cache.Flush()
	gone := errors.New("gone")
	e.on(func(c fixtureCall) backendtest.Fault {
		if steps, ok := c.Batch.([]driver.Step); ok && steps[0].Op == driver.ListEdges {
			return backendtest.Fault{Action: backendtest.Fail, Err: gone}
		}
		return backendtest.Fault{}
	})
	if _, err := shopBuyers.Where().With(eagerItems).All(ctx, e); !errors.Is(err, gone) {
		t.Errorf("a store that fails: %v, want its error", err)
	}
}

// TestWithOwnObjects: an object that is reached twice is decoded twice, so that nobody
// sees what somebody else does to it.
func TestWithOwnObjects(t *testing.T) {
	ctx, e := t.Context(), shopNew(t)
	eagerWorld(t, e)
	all, err := shopBuyers.Where(buyerID.In("b0", "b4")).With(eagerItems).All(ctx, e)
	fixtureMust(t, err)
	seen := map[*shopItem]bool{}
	for _, b := range all {
		for _, i := range b.Items {
			if seen[i] {
				t.Errorf("%s is shared by two buyers", i.ID)
			}
			seen[i] = true
		}
	}
	if len(all) != 2 || len(all[0].Items) == 0 || all[0].Items[0].ID != all[1].Items[0].ID {
		t.Fatalf("they have nothing in common: %s", eagerString(all))
	}
}

// TestWithUnderWrites: writes to what is attached are seen by the next query.
func TestWithUnderWrites(t *testing.T) {
	ctx, e := t.Context(), shopNew(t)
	other := shopAnother(t, e)
	eagerWorld(t, e)
	q := shopBuyers.Where(buyerID.In("b0", "b1", "b7")).With(eagerItems.Where(itemCity.Eq("rome")).OrderBy(itemStock.Asc()).With(eagerBuyers.OrderBy(buyerName.Asc())))
	for i, write := range []func() error{
		func() error { return nil },
		func() error { return hazardApply("i04", itemCity.Set("oslo"))(ctx, other) },
		func() error { return hazardApply("i00", itemStock.Set(99))(ctx, other) },
		func() error { return shopBought.Add(ctx, other, "b7", "i02", shopSale{}) },
		func() error { return shopBought.Remove(ctx, other, "b0", "i08") },
		func() error { return shopItems.Delete(ctx, other, "i02") },
		func() error { return shopBuyers.Delete(ctx, other, "b4") },
		func() error { _, err := shopItems.Where().ApplyAll(ctx, other, itemCity.Set("rome")); return err },
	} {
		fixtureMust(t, write())
		want, err := q.Fresh().All(ctx, e)
		fixtureMust(t, err)
		for range 2 {
			got, err := q.All(ctx, e)
			fixtureMust(t, err)
			if diff := gocmp.Diff(eagerString(want), eagerString(got)); diff != "" {
				t.Errorf("after write %d (-fresh +cached):\n%s", i, diff)
			}
			e.settle(t)
		}
	}
}

// TestWithMany: neighbours of more objects than are loaded at once are all there, each
// with its own.
func TestWithMany(t *testing.T) {
	ctx, e := t.Context(), shopNew(t)
	const n = 1300
	var writes []driver.Write
	for i := range n {
		id := fmt.Sprintf("b%04d", i)
		writes = append(writes,
			driver.Write{Op: driver.Insert, Kind: "buyer", Object: &driver.Object{ID: id, Version: 1}},
			driver.Write{Op: driver.Insert, Kind: "item", Object: &driver.Object{ID: "i" + id, Version: 1, Doc: driver.Document{{Name: "slot", Value: int64(i)}, {Name: "stock", Value: int64(rand.IntN(9))}}}},
			driver.Write{Op: driver.Insert, Kind: "bought", Edge: &driver.Edge{From: id, To: "i" + id, Version: 1, Time: time.UnixMilli(1).UTC()}},
			driver.Write{Op: driver.Insert, Kind: "bought", Edge: &driver.Edge{From: id, To: "ib0007", Version: 1, Time: time.UnixMilli(2).UTC()}})
	}
	_, err := e.store.Write(ctx, slices.DeleteFunc(writes, func(w driver.Write) bool {
		return w.Edge != nil && w.Edge.From == "b0007" && w.Edge.Time.UnixMilli() == 1
	}))
	fixtureMust(t, err)
	for range 2 {
		for _, q := range []graphcache.Query[shopBuyer, graphcache.NoEdge]{
			shopBuyers.Where().With(eagerItems), shopBuyers.Where().With(eagerItems.OrderBy(itemStock.Asc())),
		} {
			all, err := q.All(ctx, e)
			fixtureMust(t, err)
			if len(all) != n {
				t.Fatalf("there are %d buyers, want %d", len(all), n)
			}
			for _, b := range all {
				slices.SortFunc(b.Items, func(x, y *shopItem) int { return cmp.Compare(x.ID, y.ID) })
				want := []shopItemID{"ib0007", shopItemID("i" + b.ID)}
				if b.ID == "b0007" {
					want = want[:1]
				}
				slices.Sort(want)
				if got := shopIDs(b.Items); !slices.Equal(got, want) {
					t.Fatalf("%s has %v, want %v", b.ID, got, want)
				}
			}
		}
		e.settle(t)
	}
}

// TestWithObjects: each edge with the object that it leads to; those whose object does
// not exist make room.
func TestWithObjects(t *testing.T) {
	ctx, e := t.Context(), shopNew(t)
	eagerWorld(t, e)
	pairs, err := shopBought.Out(graphcache.IDs[shopBuyer]{"b0", "b1"}).Where(itemStock.Ge(3)).Limit(3).WithObjects(ctx, e)
	fixtureMust(t, err)
	var got []string
	for _, p := range pairs {
		if p.Edge.To != p.Object.ID {
			t.Errorf("the edge to %s comes with %s", p.Edge.To, p.Object.ID)
		}
		got = append(got, fmt.Sprint(p.Edge.From, p.Edge.To, p.Edge.Data.Note))
	}
	if diff := gocmp.Diff([]string{"b0i08n0", "b0i04n0", "b1i11n1"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	in, err := shopBought.In(shopItemID("i08")).WithObjects(ctx, e)
	fixtureMust(t, err)
	for _, p := range in {
		if p.Edge.From != p.Object.ID || p.Edge.To != "i08" {
			t.Errorf("the edge from %s comes with %s", p.Edge.From, p.Object.ID)
		}
	}
	_, err = e.store.Write(ctx, []driver.Write{{Op: driver.Delete, Kind: "item", Object: &driver.Object{ID: "i08"}}})
	fixtureMust(t, err)
	e.cache.Flush()
	pairs, err = shopBought.Out(shopBuyerID("b0")).Limit(2).WithObjects(ctx, e)
	if fixtureMust(t, err); len(pairs) != 2 || pairs[0].Object.ID != "i04" || pairs[1].Object.ID != "i00" {
		t.Errorf("beside an edge that leads nowhere there are %+v", pairs)
	}
	if _, err := shopItems.Where().WithObjects(ctx, e); !errors.Is(err, graphcache.ErrInvalid) {
		t.Errorf("WithObjects of a query without edges: %v, want ErrInvalid", err)
	}
}
