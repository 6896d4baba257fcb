package graphcache_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/driver"
)

// hazardMove is a write that moves objects in the indexes.
type hazardMove struct {
	name string
	move func(context.Context, graphcache.Conn) error
}

func hazardUpdate(id shopItemID, change func(*shopItem)) func(context.Context, graphcache.Conn) error {
	return func(ctx context.Context, c graphcache.Conn) error {
		_, err := shopItems.Update(ctx, c, id, func(i *shopItem) error { change(i); return nil })
		return err
	}
}

func hazardApply(id shopItemID, changes ...graphcache.Change[shopItem]) func(context.Context, graphcache.Conn) error {
	return func(ctx context.Context, c graphcache.Conn) error {
		_, err := shopItems.Apply(ctx, c, id, changes...)
		return err
	}
}

func hazardApplyAll(q shopItemsQ, changes ...graphcache.Change[shopItem]) func(context.Context, graphcache.Conn) error {
	return func(ctx context.Context, c graphcache.Conn) error {
		_, err := q.ApplyAll(ctx, c, changes...)
		return err
	}
}

func hazardInTx(move func(context.Context, graphcache.Conn) error) func(context.Context, graphcache.Conn) error {
	return func(ctx context.Context, c graphcache.Conn) error {
		return c.(*fixtureEngine).Tx(ctx, func(tx *graphcache.Tx) error { return move(ctx, tx) })
	}
}

// hazardMoves are played one after the other, each on what the ones before have left.
// Those whose query finds by what they change would miss objects if it came from a
// cache.
var hazardMoves = []hazardMove{
	{"Update to another city", hazardUpdate("i00", func(i *shopItem) { i.City = "kyiv" })},
	{"Update back", hazardUpdate("i00", func(i *shopItem) { i.City = "rome" })},
	{"Update of a unique value", hazardUpdate("i03", func(i *shopItem) { i.Code = shopPtr("free") })},
	{"the value is given to another", hazardUpdate("i05", func(i *shopItem) { i.Code = shopPtr("code 3") })},
	{"Update of a unique value to nil", hazardUpdate("i05", func(i *shopItem) { i.Code = nil })},
	{"Update of the first field of a compound index", hazardUpdate("i00", func(i *shopItem) { i.Shelf = "low" })},
	{"Update of the second field", hazardUpdate("i02", func(i *shopItem) { i.Rank = 2 })},
	{"Update of both", hazardUpdate("i01", func(i *shopItem) { i.Shelf, i.Rank = "top", 7 })},
	{"Update of what is not indexed", hazardUpdate("i04", func(i *shopItem) { i.Stock, i.Name = 100, "zoe" })},
	{"Update of the order beside nil", hazardUpdate("i11", func(i *shopItem) { i.Slot = shopPtr(0) })},
	{"Update of the order to nil", hazardUpdate("i11", func(i *shopItem) { i.Slot = nil })},
	{"Update that adds a tag", hazardUpdate("i03", func(i *shopItem) { i.Tags = []string{"red"} })},
	{"Update that takes a tag away", hazardUpdate("i01", func(i *shopItem) { i.Tags = []string{"blue"} })},
	{"Update that repeats a tag", hazardUpdate("i01", func(i *shopItem) { i.Tags = []string{"blue", "blue"} })},
	{"Update that orders tags anew", hazardUpdate("i05", func(i *shopItem) { i.Tags = []string{"blue", "red"} })},
	{"Update that leaves no tag", hazardUpdate("i00", func(i *shopItem) { i.Tags = nil })},
	{"Update of the grade beside tags", hazardUpdate("i02", func(i *shopItem) { i.Grade = shopPtr("x") })},
	{"Apply of an indexed field", hazardApply("i02", itemCity.Set("kyiv"))},
	{"Apply of fields with and without an index", hazardApply("i04", itemStock.Add(-90), itemRank.Add(1))},
	{"Apply in place", hazardApply("i06", itemStock.Set(1))},
	{"Apply that clears", hazardApply("i06", itemCode.Clear(), itemSlot.Clear())},
	{"Put", func(ctx context.Context, c graphcache.Conn) error {
		return shopItems.Put(ctx, c, &shopItem{ID: "i07", City: "kyiv", Tags: []string{"red"}, Shelf: "low", Rank: -1, Hall: "b", Slot: shopPtr(70)})
	}},
	{"Put of a new object", func(ctx context.Context, c graphcache.Conn) error {
		return shopItems.Put(ctx, c, &shopItem{ID: "i20", City: "rome", Tags: []string{"blue"}, Shelf: "top", Code: shopPtr("code 7")})
	}},
	{"Create", func(ctx context.Context, c graphcache.Conn) error {
		return shopItems.Create(ctx, c, &shopItem{ID: "i99", City: "rome", Shelf: "top", Hall: "b", Slot: shopPtr(33), Stock: 9, Tags: []string{"red", "blue"}})
	}},
	{"Delete", func(ctx context.Context, c graphcache.Conn) error { return shopItems.Delete(ctx, c, "i99") }},
	{"Create after Delete, elsewhere", func(ctx context.Context, c graphcache.Conn) error {
		return shopItems.Create(ctx, c, &shopItem{ID: "i99", City: "oslo", Shelf: "low", Hall: "b", Slot: shopPtr(-1), Stock: 2})
	}},
	{"ApplyAll of what the query asks for", hazardApplyAll(shopItems.Where(itemCity.Eq("oslo")), itemCity.Set("kyiv"))},
	{"ApplyAll by another field", hazardApplyAll(shopItems.Where(itemStock.Lt(5)), itemShelf.Set("top"), itemRank.Add(1))},
	{"UpdateAll", func(ctx context.Context, c graphcache.Conn) error {
		_, err := shopItems.Where(itemTags.Has("red")).UpdateAll(ctx, c, func(i *shopItem) error {
			i.Tags, i.Grade = []string{"blue"}, shopPtr("y")
			return nil
		})
		return err
	}},
	{"DeleteAll", func(ctx context.Context, c graphcache.Conn) error {
		_, err := shopItems.Where(itemShelf.Eq("low")).DeleteAll(ctx, c)
		return err
	}},
	{"a transaction", func(ctx context.Context, c graphcache.Conn) error {
		return c.(*fixtureEngine).Tx(ctx, func(tx *graphcache.Tx) error {
			for _, m := range []hazardMove{
				{"", hazardUpdate("i01", func(i *shopItem) { i.City = "rome" })},
				{"", hazardUpdate("i01", func(i *shopItem) { i.City, i.Rank = "oslo", 0 })},
				{"", hazardApplyAll(shopItems.Where(itemCity.Eq("kyiv")), itemCity.Set("rome"))},
				{"", func(ctx context.Context, c graphcache.Conn) error { return shopItems.Delete(ctx, c, "i02") }},
			} {
				if err := m.move(ctx, tx); err != nil {
					return err
				}
			}
			return nil
		})
	}},
}

// TestHazard08Indexes: whatever moves objects between the entries of indexes, every
// query finds them where they are when the write is acknowledged, and no longer where
// they were.
func TestHazard08Indexes(t *testing.T) {
	writer := shopNew(t)
	reader := shopAnother(t, writer)
	shopFill(t, writer)
	shopCheck(t, "at first", writer, reader)
	for _, m := range hazardMoves {
		fixtureMust(t, m.move(t.Context(), writer))
		shopCheck(t, m.name, reader, writer)
	}
	if n := writer.cache.Tokens(); n != 0 {
		t.Errorf("%d marks are left", n)
	}
}

// hazardRandomItem is an item whose every field is one of a few values, some of them too
// long for an index.
func hazardRandomItem(r *rand.Rand, i *shopItem) {
	long := strings.Repeat("x", 1100)
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	pointer := func(of ...string) *string {
		if s := pick(append(of, "nil")...); s != "nil" {
			return &s
		}
		return nil
	}
	for range 1 + r.IntN(3) {
		switch r.IntN(9) {
		case 0, 1:
			i.City = pick("rome", "oslo", "kyiv", "", long)
		case 2:
			i.Code = pointer("code 3", "code 4", long)
		case 3:
			i.Tags = [][]string{nil, {}, {"red"}, {"blue"}, {"blue", "red"}, {"red", long}, {"blue", "blue"}}[r.IntN(7)]
		case 4, 5:
			i.Shelf, i.Rank = pick("top", "low", ""), r.IntN(3)
		case 6:
			i.Hall, i.Slot = pick("a", "b"), []*int{nil, shopPtr(3), shopPtr(r.IntN(100))}[r.IntN(3)]
		case 7:
			i.Grade = pointer("x", "y", long, "")
		case 8:
			i.Stock, i.Name = int64(r.IntN(12)), pick("name 0", "name 1")
		}
	}
}

// hazardRandomWrite is a random write of one or many items.
func hazardRandomWrite(r *rand.Rand, ctx context.Context, c graphcache.Conn) error {
	id := shopItemID(fmt.Sprintf("i%02d", r.IntN(14)))
	q := shopQueries[r.IntN(len(shopQueries))].query.Limit(1 + r.IntN(5))
	seed := r.Uint64()
	change := func(i *shopItem) { hazardRandomItem(rand.New(rand.NewPCG(seed, uint64(len(i.ID)))), i) }
	switch r.IntN(8) {
	case 0:
		i := &shopItem{ID: id}
		change(i)
		return shopItems.Put(ctx, c, i)
	case 1:
		return shopItems.Delete(ctx, c, id)
	case 2:
		return hazardApply(id, itemCity.Set([]string{"rome", "oslo"}[r.IntN(2)]), itemStock.Add(1))(ctx, c)
	case 3:
		return hazardApply(id, itemRank.Add(1), itemGrade.Clear())(ctx, c)
	case 4:
		_, err := q.UpdateAll(ctx, c, func(i *shopItem) error { change(i); return nil })
		return err
	case 5:
		return hazardApplyAll(q, itemShelf.Set("top"), itemTags.Set([]string{"red"}))(ctx, c)
	}
	return hazardUpdate(id, change)(ctx, c)
}

// TestHazard08Random: after random writes, alone and in transactions that commit or do
// not, every query is what the objects say.
func TestHazard08Random(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 8))
			ctx, e := t.Context(), shopNew(t)
			other := shopAnother(t, e)
			shopFill(t, e)
			expected := func(err error) bool {
				return err == nil || errors.Is(err, graphcache.ErrNotFound) || errors.Is(err, graphcache.ErrExists)
			}
			steps := 60
			if allocRace { // which makes it slow, and finds nothing more
				steps = 12
			}
			for step := range steps {
				what := "a write"
				var err error
				if r.IntN(4) > 0 {
					err = hazardRandomWrite(r, ctx, e)
				} else {
					what = "a transaction"
					err = e.Tx(ctx, func(tx *graphcache.Tx) error {
						for range 1 + r.IntN(4) {
							if err := hazardRandomWrite(r, ctx, tx); !expected(err) {
								return err
							}
						}
						if r.IntN(3) == 0 {
							return graphcache.ErrNotFound // roll back
						}
						return nil
					})
				}
				if !expected(err) {
					t.Fatal(err)
				}
				shopCheck(t, fmt.Sprint("step ", step, ", ", what), other, e)
				if t.Failed() {
					return
				}
			}
		})
	}
}

// TestHazard08Control: if a write leaves out the anchors of one index, in the old or in
// the new place, the writes above show it.
func TestHazard08Control(t *testing.T) {
	for _, field := range []string{"city", "code", "tags", "shelf", "hall"} {
		t.Run(field, func(t *testing.T) {
			writer := shopNew(t)
			shopFill(t, writer)
			graphcache.DropAnchors(writer.Graph, func(_ string, a graphcache.AnchorType, id string) bool {
				return a == graphcache.IndexAnchor && strings.Contains(id, field)
			})
			shopDiff(t, writer)
			writer.settle(t)
			for _, m := range hazardMoves {
				fixtureMust(t, m.move(t.Context(), writer))
				if len(shopDiff(t, writer)) > 0 {
					return
				}
				writer.settle(t)
			}
			t.Errorf("nothing shows that the anchors of %s are missing", field)
		})
	}
}

// TestHazard08Untouched: a write leaves cached what it does not change.
func TestHazard08Untouched(t *testing.T) {
	ctx, e := t.Context(), shopNew(t)
	shopFill(t, e)
	exact := []shopItemsQ{
		shopItems.Where(itemCity.Eq("rome")), shopItems.Where(itemTags.Has("red")), shopItems.Where(itemCode.Eq("code 3")),
		shopItems.Where(itemShelf.Eq("top")).OrderBy(itemRank.Asc()), shopItems.Where(itemHall.Eq("b"), itemSlot.Eq(3)),
	}
	read := func() {
		for _, q := range exact {
			_, err := q.IDs(ctx, e)
			fixtureMust(t, err)
		}
		e.settle(t)
	}
	for _, tt := range []hazardMove{
		{"Update of another field", hazardUpdate("i00", func(i *shopItem) { i.Name = "new" })},
		{"Apply of another field", hazardApply("i00", itemStock.Add(1))},
		{"ApplyAll of another field", hazardApplyAll(shopItems.Where(itemCity.Eq("rome")), itemStock.Add(1))},
		{"Update in other places", hazardUpdate("i07", func(i *shopItem) { i.City, i.Code, i.Shelf, i.Hall = "kyiv", nil, "low", "c" })},
	} {
		read()
		fixtureMust(t, tt.move(ctx, e))
		e.on(nil)
		read()
		if n := e.fstore.Calls("Read"); n != 0 && tt.name != "Update in other places" || n > 1 {
			t.Errorf("%s: %d store reads of queries that it does not change", tt.name, n)
		}
	}
}

// hazardIndexRace is the race of a query of one entry and a write that moves an item
// from it or to it.
func hazardIndexRace(city string, write hazardMove) *hazardRace {
	ids := map[bool]string{true: "i01", false: ""}
	return &hazardRace{
		read: func(ctx context.Context, e *fixtureEngine) (string, error) {
			found, err := shopItems.Where(itemCity.Eq(city)).IDs(ctx, e)
			return strings.Join(hazardStrings(found), " "), err
		},
		write: func(ctx context.Context, e *fixtureEngine) error { return write.move(ctx, e) },
		reset: func(t testing.TB, e *fixtureEngine) {
			fixtureMust(t, shopItems.Put(t.Context(), e, &shopItem{ID: "i01", City: "old"}))
		},
		old: ids[city == "old"], new: ids[city == "new"],
		readCalls: 4, writeCalls: 4,
	}
}

func hazardStrings[T any](ids graphcache.IDs[T]) []string {
	s := make([]string, len(ids))
	for i, id := range ids {
		s[i] = string(id)
	}
	return s
}

// TestHazard08LateFill: a reader of the old or the new entry that has read the store
// before the write does not fill the cache after it, in any order of their calls.
func TestHazard08LateFill(t *testing.T) {
	writes := []hazardMove{
		{"Update", hazardUpdate("i01", func(i *shopItem) { i.City = "new" })},
		{"Apply", hazardApply("i01", itemCity.Set("new"))},
		{"ApplyAll", hazardApplyAll(shopItems.Where(itemCity.Eq("old")), itemCity.Set("new"))},
		{"Tx", hazardInTx(hazardApply("i01", itemCity.Set("new")))},
		{"Put", func(ctx context.Context, c graphcache.Conn) error {
			return shopItems.Put(ctx, c, &shopItem{ID: "i01", City: "new"})
		}},
	}
	for _, w := range writes {
		for _, city := range []string{"old", "new"} {
			t.Run(w.name+"/"+city, func(t *testing.T) {
				reader := shopNew(t)
				writer, other := shopAnother(t, reader), shopAnother(t, reader)
				h := hazardIndexRace(city, w)
				if w.name == "Tx" || w.name == "ApplyAll" {
					h.writeCalls = 5
				}
				for i, order := range hazardOrders(h.readCalls, h.writeCalls) {
					if testing.Short() && i%3 != 0 {
						continue
					}
					h.reset(t, other)
					h.play(t, order, nil, reader, writer, other)
				}
			})
		}
	}
}

// hazardForeign changes an item in the store as a program does that does not know about
// versions.
func hazardForeign(t testing.TB, e *fixtureEngine, id string, city string) {
	t.Helper()
	results, err := e.store.Read(t.Context(), []driver.Step{{Op: driver.GetObjects, Kind: "item", IDs: []string{id}}}, "")
	fixtureMust(t, err)
	o := *results[0].Objects[0]
	o.Doc = slices.Clone(o.Doc)
	for i := range o.Doc {
		if o.Doc[i].Name == "city" {
			o.Doc[i].Value = city
		}
	}
	written, err := e.store.Write(t.Context(), []driver.Write{{Op: driver.Replace, Kind: "item", Object: &o}})
	if err != nil || written[0].Outcome != driver.Done {
		t.Fatalf("%v, %v", written, err)
	}
}

// TestHazard08ForeignWriter: somebody moves an item in the store under the same version
// while a write of the item is on its way. The write must see it, or it would leave the
// item in a list that was loaded between the two.
func TestHazard08ForeignWriter(t *testing.T) {
	for _, tt := range []struct {
		hazardMove
		want string // the city then, "" for none
	}{
		{hazardMove{"Update", hazardUpdate("i01", func(i *shopItem) { i.City += "+" })}, "kyiv+"},
		{hazardMove{"Update of another field", hazardUpdate("i01", func(i *shopItem) { i.Name = "new" })}, "kyiv"},
		{hazardMove{"Put", func(ctx context.Context, c graphcache.Conn) error {
			return shopItems.Put(ctx, c, &shopItem{ID: "i01", City: "oslo"})
		}}, "oslo"},
		{hazardMove{"Apply", hazardApply("i01", itemCity.Set("oslo"))}, "oslo"},
		{hazardMove{"Apply of a second index", hazardApply("i01", itemRank.Add(1))}, "kyiv"},
		{hazardMove{"Apply in place", hazardApply("i01", itemStock.Add(1))}, "kyiv"},
		{hazardMove{"ApplyAll", hazardApplyAll(shopItems.Where(itemStock.Eq(1)), itemCity.Set("oslo"))}, "oslo"},
		{hazardMove{"ApplyAll of what no longer matches", hazardApplyAll(shopItems.Where(itemCity.Eq("rome")), itemCity.Set("oslo"))}, "kyiv"},
		{hazardMove{"Delete", func(ctx context.Context, c graphcache.Conn) error { return shopItems.Delete(ctx, c, "i01") }}, ""},
		{hazardMove{"DeleteAll", func(ctx context.Context, c graphcache.Conn) error {
			_, err := shopItems.Where(itemStock.Eq(1)).DeleteAll(ctx, c)
			return err
		}}, ""},
		{hazardMove{"Tx", hazardInTx(hazardApply("i01", itemCity.Set("oslo")))}, "oslo"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, e := t.Context(), shopNew(t)
			other := shopAnother(t, e)
			fixtureMust(t, shopItems.Create(ctx, e, &shopItem{ID: "i01", City: "rome", Stock: 1}))
			gate := e.stopAt(backendtest.Nth("Hold", 1))
			done := fixtureGo(t, func() error { return tt.move(ctx, e) })
			gate.await(t)
			hazardForeign(t, e, "i01", "kyiv")
			for _, city := range []string{"rome", "kyiv", "kyiv+", "oslo"} { // which fills
				_, err := shopItems.Where(itemCity.Eq(city)).IDs(ctx, other)
				fixtureMust(t, err)
			}
			other.settle(t)
			gate.Open()
			fixtureMust(t, done())
			e.on(nil)
			for _, city := range []string{"rome", "kyiv", "kyiv+", "oslo"} {
				want := graphcache.IDs[shopItem]{}
				if city == tt.want {
					want = graphcache.IDs[shopItem]{"i01"}
				}
				for _, p := range []*fixtureEngine{other, e} {
					got, err := shopItems.Where(itemCity.Eq(city)).IDs(ctx, p)
					fixtureMust(t, err)
					if diff := gocmp.Diff(want, got); diff != "" {
						t.Errorf("the list of %s is stale (-want +got):\n%s", city, diff)
					}
					p.settle(t)
				}
			}
			conflicts := e.Stats().Kinds["item"].Conflicts
			if inPlace := tt.name == "Apply in place" || tt.name == "Tx"; !inPlace && conflicts != 1 {
				t.Errorf("%d conflicts were counted, want 1", conflicts)
			}
		})
	}
}

// TestHazard08ChangeKind: an edge that moves to another kind of its family leaves every
// query of the one and enters every query of the other, at both ends.
func TestHazard08ChangeKind(t *testing.T) {
	ctx, e := t.Context(), shopNew(t)
	other := shopAnother(t, e)
	shopFill(t, e)
	for i, item := range []shopItemID{"i00", "i01", "i02"} {
		_, err := shopWants.AddEdge(ctx, e, shopEdge{From: "b0", To: item, Time: time.UnixMilli(int64(i)), Data: shopSale{Note: "n", Price: 1}})
		fixtureMust(t, err)
	}
	view := func(e *fixtureEngine) (v []string) {
		for _, k := range []*graphcache.EdgeKind[shopBuyer, shopItem, shopSale]{shopWants, shopHas} {
			price := graphcache.OrderedFieldOf(k, func(e *shopEdge) *float64 { return &e.Data.Price })
			out := k.Out(shopBuyerID("b0"))
			for _, q := range []graphcache.Query[shopItem, shopEdge]{
				out, out.Where(itemCity.Eq("oslo")), out.WhereEdge(price.Eq(1)).OrderBy(itemStock.Desc()), out.OrderByEdge(price.Asc()),
			} {
				ids, err := q.IDs(ctx, e)
				fixtureMust(t, err)
				n, err := q.Count(ctx, e)
				fixtureMust(t, err)
				v = append(v, fmt.Sprint(k.Name(), ids, n))
			}
			buyers, err := k.In(shopItemID("i01")).Where(buyerAge.Ge(0)).IDs(ctx, e)
			fixtureMust(t, err)
			v = append(v, fmt.Sprint(buyers))
		}
		e.settle(t)
		return v
	}
	check := func(what string, want []string) {
		t.Helper()
		for range 2 {
			for _, p := range []*fixtureEngine{e, other} {
				if diff := gocmp.Diff(want, view(p)); diff != "" {
					t.Errorf("%s (-want +got):\n%s", what, diff)
				}
			}
		}
	}
	check("at first", []string{
		"wants[i02 i01 i00] 3", "wants[i01] 1", "wants[i02 i01 i00] 3", "wants[i00 i01 i02] 3", "[b0]",
		"has[] 0", "has[] 0", "has[] 0", "has[] 0", "[]",
	})
	fixtureMust(t, shopWants.ChangeKind(ctx, e, "b0", "i01", shopHas))
	check("after ChangeKind", []string{
		"wants[i02 i00] 2", "wants[] 0", "wants[i02 i00] 2", "wants[i00 i02] 2", "[]",
		"has[i01] 1", "has[i01] 1", "has[i01] 1", "has[i01] 1", "[b0]",
	})
}

// TestHazard08Scans: every write of a kind whose scans are cached is seen by all of its
// searches, and writes of other kinds leave them cached.
func TestHazard08Scans(t *testing.T) {
	ctx, e := t.Context(), shopNew(t)
	other := shopAnother(t, e)
	shopFill(t, e)
	view := func(p *fixtureEngine, fresh bool) (v []string) {
		for _, q := range []graphcache.Query[shopFlag, graphcache.NoEdge]{
			shopFlags.Where(), shopFlags.Where(flagOn.Eq(true)), shopFlags.Where(flagLevel.Ge(1)).OrderBy(flagLevel.Desc()),
			shopFlags.Where(flagName.HasPrefix("name")).OrderBy(flagName.Desc()).Offset(1).Limit(3),
		} {
			if fresh {
				q = q.Fresh()
			}
			ids, err := q.IDs(ctx, p)
			fixtureMust(t, err)
			n, err := q.Count(ctx, p)
			fixtureMust(t, err)
			v = append(v, fmt.Sprint(ids, n))
		}
		p.settle(t)
		return v
	}
	view(e, false)
	view(other, false)
	for _, w := range []struct {
		name  string
		write func() error
	}{
		{"Update", func() error {
			_, err := shopFlags.Update(ctx, e, "f1", func(f *shopFlag) error { f.On = true; return nil })
			return err
		}},
		{"Apply", func() error { _, err := shopFlags.Apply(ctx, e, "f2", flagLevel.Add(5)); return err }},
		{"Create", func() error { return shopFlags.Create(ctx, e, &shopFlag{ID: "f9", Name: "name 9", On: true}) }},
		{"Delete", func() error { return shopFlags.Delete(ctx, e, "f0") }},
		{"ApplyAll", func() error {
			_, err := shopFlags.Where(flagLevel.Eq(0)).ApplyAll(ctx, e, flagOn.Set(false))
			return err
		}},
		{"DeleteAll", func() error { _, err := shopFlags.Where(flagLevel.Gt(1)).DeleteAll(ctx, e); return err }},
		{"Tx", func() error {
			return e.Tx(ctx, func(tx *graphcache.Tx) error {
				return shopFlags.Put(ctx, tx, &shopFlag{ID: "f1", Name: "name 1", Level: 9})
			})
		}},
	} {
		fixtureMust(t, w.write())
		want := view(e, true)
		for range 2 {
			for _, p := range []*fixtureEngine{other, e} {
				if diff := gocmp.Diff(want, view(p, false)); diff != "" {
					t.Errorf("after %s a scan is stale (-fresh +cached):\n%s", w.name, diff)
				}
			}
		}
	}
	fixtureMust(t, shopItems.Delete(ctx, e, "i00"))
	e.on(nil)
	view(e, false)
	if n := e.fstore.Calls("Read"); n != 0 {
		t.Errorf("a write of another kind cost scans %d store reads", n)
	}
}

// hazardIncrements are ways to add 1 to an item's rank, which return the rank then.
var hazardIncrements = []func(context.Context, graphcache.Conn, shopItemID) (int, error){
	func(ctx context.Context, c graphcache.Conn, id shopItemID) (int, error) {
		return hazardRank(shopItems.Apply(ctx, c, id, itemRank.Add(1)))
	},
	func(ctx context.Context, c graphcache.Conn, id shopItemID) (int, error) {
		return hazardRank(shopItems.Update(ctx, c, id, func(i *shopItem) error { i.Rank++; return nil }))
	},
	func(ctx context.Context, c graphcache.Conn, id shopItemID) (rank int, err error) {
		err = c.(*fixtureEngine).Tx(ctx, func(tx *graphcache.Tx) (err error) {
			rank, err = hazardRank(shopItems.Apply(ctx, tx, id, itemRank.Add(1)))
			return err
		})
		return rank, err
	},
	func(ctx context.Context, c graphcache.Conn, id shopItemID) (int, error) {
		_, err := shopItems.Where(itemID.Eq(id)).ApplyAll(ctx, c, itemRank.Add(1))
		return 0, err // it may be any
	},
}

func hazardRank(i *shopItem, err error) (int, error) {
	if err != nil {
		return 0, err
	}
	return i.Rank, nil
}

// TestHazard08Concurrent: while several processes move items along an index, by every
// sort of write, no entry lists an item that had left it before the read began, and no
// item is missing from what all of them are in.
func TestHazard08Concurrent(t *testing.T) {
	const items, writers, rounds = 8, 4, 200
	many := func(o *graphcache.Options) { o.MaxAttempts = 1000 }
	ctx, e := t.Context(), shopNew(t, many)
	processes := []*fixtureEngine{e, shopAnother(t, e, many)}
	id := func(i int) shopItemID { return shopItemID(fmt.Sprintf("i%02d", i)) }
	for i := range items {
		fixtureMust(t, shopItems.Create(ctx, e, &shopItem{ID: id(i), Shelf: "top", Hall: string(id(i))}))
	}
	var acknowledged [items]atomic.Int64 // the rank that an item has at least
	var work, reads sync.WaitGroup
	for w := range writers {
		work.Go(func() {
			for k := range rounds {
				i := (w + writers*k) % items
				rank, err := hazardIncrements[k%len(hazardIncrements)](ctx, processes[w%2], id(i))
				if err != nil {
					t.Error(err)
				}
				for old := acknowledged[i].Load(); int64(rank) > old && !acknowledged[i].CompareAndSwap(old, int64(rank)); {
					old = acknowledged[i].Load()
				}
			}
		})
	}
	done := make(chan struct{})
	for r := range 2 {
		reads.Go(func() {
			for ended := false; !ended; {
				select {
				case <-done:
					ended = true // and once more
				default:
				}
				hazardReadRanks(t, processes[r], acknowledged[:], id)
			}
		})
	}
	work.Wait()
	close(done)
	reads.Wait()
	all, err := shopItems.Where(itemShelf.Eq("top")).All(ctx, e)
	fixtureMust(t, err)
	for _, i := range all {
		if i.Rank != writers*rounds/items {
			t.Errorf("%s has rank %d after %d increments", i.ID, i.Rank, writers*rounds/items)
		}
	}
}

// hazardReadRanks reads the index once, in several ways.
func hazardReadRanks(t *testing.T, p *fixtureEngine, acknowledged []atomic.Int64, id func(int) shopItemID) {
	t.Helper()
	least := make([]int, len(acknowledged))
	for i := range least {
		least[i] = int(acknowledged[i].Load())
	}
	for i, rank := range least {
		ids, err := shopItems.Where(itemShelf.Eq("top"), itemRank.Eq(rank-1)).IDs(t.Context(), p)
		if err != nil {
			t.Error(err)
		}
		if slices.Contains(ids, id(i)) {
			t.Errorf("%s is listed under rank %d after rank %d was acknowledged", id(i), rank-1, rank)
		}
	}
	ids, err := shopItems.Where(itemShelf.Eq("top")).OrderBy(itemRank.Asc()).IDs(t.Context(), p)
	if err != nil || len(ids) != len(least) {
		t.Errorf("the shelf has %v, %v", ids, err)
	}
	all, err := shopItems.Where(itemShelf.Eq("top"), itemRank.Ge(0)).All(t.Context(), p)
	if err != nil || len(all) != len(least) {
		t.Errorf("the shelf has %v, %v", shopIDs(all), err)
	}
	for i, item := range all { // by ID
		if item.Rank < least[i] {
			t.Errorf("%s is read with rank %d after rank %d was acknowledged", item.ID, item.Rank, least[i])
		}
	}
}

// TestHazard08UniqueRace: of several writers who want the same value in a unique index at
// the same time, one has it.
func TestHazard08UniqueRace(t *testing.T) {
	const writers = 8
	ctx, e := t.Context(), shopNew(t)
	processes := []*fixtureEngine{e, shopAnother(t, e)}
	for round := range 10 {
		code := fmt.Sprint("round ", round)
		var won atomic.Int64
		var work sync.WaitGroup
		for w := range writers {
			work.Go(func() {
				i := &shopItem{Code: &code, Hall: fmt.Sprint(round), Slot: &w}
				err := shopItems.Create(ctx, processes[w%2], i)
				switch {
				case err == nil:
					won.Add(1)
				case !errors.Is(err, graphcache.ErrExists):
					t.Error(err)
				}
				if _, err := shopItems.Where(itemCode.Eq(code)).Only(ctx, processes[w%2]); err != nil {
					t.Errorf("the value is taken and Only returns %v", err)
				}
			})
		}
		work.Wait()
		if won.Load() != 1 {
			t.Errorf("%d of %d writers have the value", won.Load(), writers)
		}
	}
}
