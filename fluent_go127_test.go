//go:build go1.27

package graphcache_test

import (
	"testing"

	"github.com/graphcache/graphcache"
)

// TestFluent: a query in the order in which it is followed has the key of the nested one,
// and finds the same.
func TestFluent(t *testing.T) {
	ctx, e := t.Context(), shopNew(t)
	eagerWorld(t, e)
	b0, i04 := shopBuyerID("b0"), shopItemID("i04")
	buyers, items := graphcache.IDs[shopBuyer]{"b0", "b1"}, graphcache.IDs[shopItem]{"i04", "i05"}
	for _, tt := range []struct {
		name           string
		fluent, nested interface {
			Key() (string, error)
		}
	}{
		{"ID out", b0.Out(shopBought), shopBought.Out(b0)},
		{"ID in", i04.In(shopBought), shopBought.In(i04)},
		{"IDs out", buyers.Out(shopBought), shopBought.Out(buyers)},
		{"IDs in", items.In(shopBought), shopBought.In(items)},
		{"two hops", i04.In(shopBought).Out(shopBought), shopBought.Out(shopBought.In(i04))},
		{"a kind, out", shopBuyers.Where(buyerAge.Ge(1)).Out(shopPeers).In(shopPeers), shopPeers.In(shopPeers.Out(shopBuyers.Where(buyerAge.Ge(1))))},
		{
			"refined on the way",
			shopItems.Where(itemCity.Eq("rome")).Limit(3).In(shopBought).Where(buyerAge.Lt(3)).Distinct().Out(shopBought).WhereEdge(saleNote.Eq("n1")).OrderBy(itemStock.Desc()),
			shopBought.Out(shopBought.In(shopItems.Where(itemCity.Eq("rome")).Limit(3)).Where(buyerAge.Lt(3)).Distinct()).WhereEdge(saleNote.Eq("n1")).OrderBy(itemStock.Desc()),
		},
		{"a mistake", shopBuyerID("").Out(shopBought), shopBought.Out(shopBuyerID(""))},
	} {
		fluent, err := tt.fluent.Key()
		nested, nestedErr := tt.nested.Key()
		if fluent != nested || (err == nil) != (nestedErr == nil) {
			t.Errorf("%s: the keys differ: %q, %v and %q, %v", tt.name, fluent, err, nested, nestedErr)
		}
	}
	got, err := i04.In(shopBought).Out(shopBought).Where(itemStock.Gt(4)).IDs(ctx, e)
	fixtureMust(t, err)
	want, err := shopBought.Out(shopBought.In(i04)).Where(itemStock.Gt(4)).IDs(ctx, e)
	fixtureMust(t, err)
	if len(got) == 0 || len(got) != len(want) || got[0] != want[0] {
		t.Errorf("it finds %v, the nested query %v", got, want)
	}
}
