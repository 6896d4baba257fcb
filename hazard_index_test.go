package graphcache_test

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/driver"
)

// The schema of the tests of queries that start from a kind: items with every sort of
// index, flags whose scans are cached, and buyers, whom no index finds.

type shopItem struct {
	ID      graphcache.ID[shopItem] `json:"id"`
	Version graphcache.Version      `json:"version"`
	Name    string                  `json:"name"`
	City    string                  `json:"city" graph:"index"`
	Code    *string                 `json:"code" graph:"unique"`
	Tags    []string                `json:"tags" graph:"index"`
	Shelf   string                  `json:"shelf"`
	Rank    int                     `json:"rank"`
	Hall    string                  `json:"hall"`
	Slot    *int                    `json:"slot"`
	Grade   *string                 `json:"grade"`
	Stock   int64                   `json:"stock"`
	Small   int8                    `json:"small"`
	Tiny    uint8                   `json:"tiny"`
	Price   float64                 `json:"price"`
	Weight  float32                 `json:"weight"`
	Note    *string                 `json:"note"`
	Title   string                  `json:"title" graph:"was=headline"`
	Sold    int                     `json:"sold" graph:"was=sales"`
	Buyers  []*shopBuyer            `json:"-"`
}

type shopFlag struct {
	ID    graphcache.ID[shopFlag] `json:"id"`
	Name  string                  `json:"name"`
	On    bool                    `json:"on"`
	Level int                     `json:"level"`
}

type shopBuyer struct {
	ID    graphcache.ID[shopBuyer] `json:"id"`
	Name  string                   `json:"name"`
	Age   int                      `json:"age"`
	Items []*shopItem              `json:"-"`
	Peers []*shopBuyer             `json:"-"`
}

type shopSale struct {
	Note  string  `json:"note" graph:"was=remark"`
	Price float64 `json:"price"`
}

type (
	shopItemID  = graphcache.ID[shopItem]
	shopBuyerID = graphcache.ID[shopBuyer]
	shopFlagID  = graphcache.ID[shopFlag]
	shopEdge    = graphcache.Edge[shopBuyer, shopItem, shopSale]
	shopItemsQ  = graphcache.Query[shopItem, graphcache.NoEdge]
)

var (
	shopItems  = graphcache.NewObjectKind[shopItem]("item")
	shopFlags  = graphcache.NewObjectKind[shopFlag]("flag").CacheScans()
	shopBuyers = graphcache.NewObjectKind[shopBuyer]("buyer")
	shopBought = graphcache.NewEdgeKind[shopSale]("bought", shopBuyers, shopItems)
	shopWants  = graphcache.NewEdgeKind[shopSale]("wants", shopBuyers, shopItems).Family("interest")
	shopHas    = graphcache.NewEdgeKind[shopSale]("has", shopBuyers, shopItems).Family("interest")
	shopHome   = graphcache.NewEdgeKind[graphcache.NoData]("home", shopBuyers, shopItems).ToOne()
	shopPeers  = graphcache.NewEdgeKind[graphcache.NoData]("peers", shopBuyers, shopBuyers).Symmetric()

	itemID     = graphcache.FieldOf(shopItems, func(i *shopItem) *shopItemID { return &i.ID })
	itemName   = graphcache.StringFieldOf(shopItems, func(i *shopItem) *string { return &i.Name })
	itemCity   = graphcache.StringFieldOf(shopItems, func(i *shopItem) *string { return &i.City })
	itemCode   = graphcache.OptionalFieldOf(shopItems, func(i *shopItem) **string { return &i.Code })
	itemTags   = graphcache.SliceFieldOf(shopItems, func(i *shopItem) *[]string { return &i.Tags })
	itemShelf  = graphcache.StringFieldOf(shopItems, func(i *shopItem) *string { return &i.Shelf })
	itemRank   = graphcache.OrderedFieldOf(shopItems, func(i *shopItem) *int { return &i.Rank })
	itemHall   = graphcache.StringFieldOf(shopItems, func(i *shopItem) *string { return &i.Hall })
	itemSlot   = graphcache.OptionalFieldOf(shopItems, func(i *shopItem) **int { return &i.Slot })
	itemGrade  = graphcache.OptionalFieldOf(shopItems, func(i *shopItem) **string { return &i.Grade })
	itemStock  = graphcache.OrderedFieldOf(shopItems, func(i *shopItem) *int64 { return &i.Stock })
	itemSmall  = graphcache.OrderedFieldOf(shopItems, func(i *shopItem) *int8 { return &i.Small })
	itemTiny   = graphcache.OrderedFieldOf(shopItems, func(i *shopItem) *uint8 { return &i.Tiny })
	itemPrice  = graphcache.OrderedFieldOf(shopItems, func(i *shopItem) *float64 { return &i.Price })
	itemWeight = graphcache.OrderedFieldOf(shopItems, func(i *shopItem) *float32 { return &i.Weight })
	itemNote   = graphcache.OptionalFieldOf(shopItems, func(i *shopItem) **string { return &i.Note })
	itemTitle  = graphcache.StringFieldOf(shopItems, func(i *shopItem) *string { return &i.Title })
	itemSold   = graphcache.OrderedFieldOf(shopItems, func(i *shopItem) *int { return &i.Sold })
	flagName   = graphcache.StringFieldOf(shopFlags, func(f *shopFlag) *string { return &f.Name })
	flagOn     = graphcache.FieldOf(shopFlags, func(f *shopFlag) *bool { return &f.On })
	flagLevel  = graphcache.OrderedFieldOf(shopFlags, func(f *shopFlag) *int { return &f.Level })
	buyerName  = graphcache.StringFieldOf(shopBuyers, func(b *shopBuyer) *string { return &b.Name })
	buyerAge   = graphcache.OrderedFieldOf(shopBuyers, func(b *shopBuyer) *int { return &b.Age })
	saleNote   = graphcache.StringFieldOf(shopBought, func(e *shopEdge) *string { return &e.Data.Note })
	salePrice  = graphcache.OrderedFieldOf(shopBought, func(e *shopEdge) *float64 { return &e.Data.Price })

	shopSchema = graphcache.NewSchema(shopItems, shopFlags, shopBuyers, shopBought, shopWants, shopHas, shopHome, shopPeers,
		graphcache.NewIndex("shelf_rank", shopItems, itemShelf, itemRank),
		graphcache.NewIndex("place", shopItems, itemHall, itemSlot).Unique(),
		graphcache.NewIndex("tag_grade", shopItems, itemTags, itemGrade))
)

// shopNew returns a process with the shop's schema on a new store and a new cache.
func shopNew(t testing.TB, set ...func(*graphcache.Options)) *fixtureEngine {
	t.Helper()
	e := &fixtureEngine{store: memory.NewStore(nil), cache: memory.NewCache(nil)}
	return e.withSchema(t, shopSchema, set...)
}

// shopAnother returns one more process on the same store and cache.
func shopAnother(t testing.TB, e *fixtureEngine, set ...func(*graphcache.Options)) *fixtureEngine {
	t.Helper()
	return e.withSchema(t, shopSchema, set...)
}

func shopPtr[T any](v T) *T { return &v }

// shopStock are the items that shopFill creates.
func shopStock() []*shopItem {
	var items []*shopItem
	for i := range 12 {
		items = append(items, &shopItem{
			ID: shopItemID(fmt.Sprintf("i%02d", i)), Name: fmt.Sprintf("name %d", i%3), City: []string{"rome", "oslo"}[i%2],
			Code: shopPtr(fmt.Sprintf("code %d", i)), Tags: [][]string{{"red"}, {"red", "blue"}, {"blue"}, nil}[i%4],
			Shelf: []string{"top", "low", "top"}[i%3], Rank: i / 4, Hall: []string{"a", "b"}[i%2], Slot: shopPtr(i),
			Grade: []*string{shopPtr("x"), nil, shopPtr("y")}[i%3], Stock: int64(i),
		})
	}
	items[11].Code, items[11].Slot = nil, nil
	return items
}

// shopFill creates some items, flags and buyers.
func shopFill(t testing.TB, e *fixtureEngine) {
	t.Helper()
	ctx := t.Context()
	for _, i := range shopStock() {
		fixtureMust(t, shopItems.Create(ctx, e, i))
	}
	for i := range 8 {
		fixtureMust(t, shopFlags.Create(ctx, e, &shopFlag{ID: shopFlagID(fmt.Sprintf("f%d", i)), Name: fmt.Sprint("name ", i), On: i%2 == 0, Level: i / 3}))
		fixtureMust(t, shopBuyers.Create(ctx, e, &shopBuyer{ID: shopBuyerID(fmt.Sprintf("b%d", i)), Name: fmt.Sprint("name ", i), Age: i / 2}))
	}
}

// shopQuery is a query for items, and the same in plain Go.
type shopQuery struct {
	name  string
	query shopItemsQ
	match func(*shopItem) bool
	order func(a, b *shopItem) int // nil is by ID
}

func shopString(s *string) string {
	if s == nil {
		return "" // before all others
	}
	return *s
}

// shopQueries are answered in every way there is.
var shopQueries = []shopQuery{
	{"city", shopItems.Where(itemCity.Eq("rome")), func(i *shopItem) bool { return i.City == "rome" }, nil},
	{"city that is empty at first", shopItems.Where(itemCity.Eq("kyiv")), func(i *shopItem) bool { return i.City == "kyiv" }, nil},
	{"cities", shopItems.Where(itemCity.In("rome", "kyiv")), func(i *shopItem) bool { return i.City == "rome" || i.City == "kyiv" }, nil},
	{"city and stock", shopItems.Where(itemCity.Eq("rome"), itemStock.Lt(7)), func(i *shopItem) bool { return i.City == "rome" && i.Stock < 7 }, nil},
	{"city by name", shopItems.Where(itemCity.Eq("oslo")).OrderBy(itemName.Desc()), func(i *shopItem) bool { return i.City == "oslo" },
		func(a, b *shopItem) int { return cmp.Compare(b.Name, a.Name) }},
	{"code", shopItems.Where(itemCode.Eq("code 3")), func(i *shopItem) bool { return shopString(i.Code) == "code 3" }, nil},
	{"no code", shopItems.Where(itemCode.IsNil()), func(i *shopItem) bool { return i.Code == nil }, nil},
	{"tag", shopItems.Where(itemTags.Has("red")), func(i *shopItem) bool { return slices.Contains(i.Tags, "red") }, nil},
	{"two tags", shopItems.Where(itemTags.Has("red"), itemTags.Has("blue")),
		func(i *shopItem) bool { return slices.Contains(i.Tags, "red") && slices.Contains(i.Tags, "blue") }, nil},
	{"tag by grade", shopItems.Where(itemTags.Has("blue")).OrderBy(itemGrade.Desc()), func(i *shopItem) bool { return slices.Contains(i.Tags, "blue") },
		func(a, b *shopItem) int { return cmp.Compare(shopString(b.Grade), shopString(a.Grade)) }},
	{"tag and grade", shopItems.Where(itemTags.Has("blue"), itemGrade.Eq("x")),
		func(i *shopItem) bool { return slices.Contains(i.Tags, "blue") && shopString(i.Grade) == "x" }, nil},
	{"shelf", shopItems.Where(itemShelf.Eq("top")), func(i *shopItem) bool { return i.Shelf == "top" }, nil},
	{"shelf by rank", shopItems.Where(itemShelf.Eq("top")).OrderBy(itemRank.Asc()), func(i *shopItem) bool { return i.Shelf == "top" },
		func(a, b *shopItem) int { return cmp.Compare(a.Rank, b.Rank) }},
	{"shelf by rank, descending", shopItems.Where(itemShelf.Eq("low")).OrderBy(itemRank.Desc()), func(i *shopItem) bool { return i.Shelf == "low" },
		func(a, b *shopItem) int { return cmp.Compare(b.Rank, a.Rank) }},
	{"shelf and ranks", shopItems.Where(itemShelf.Eq("top"), itemRank.In(0, 2)),
		func(i *shopItem) bool { return i.Shelf == "top" && (i.Rank == 0 || i.Rank == 2) }, nil},
	{"shelf and rank by stock", shopItems.Where(itemShelf.Eq("top"), itemRank.Gt(0)).OrderBy(itemStock.Desc()),
		func(i *shopItem) bool { return i.Shelf == "top" && i.Rank > 0 },
		func(a, b *shopItem) int { return cmp.Compare(b.Stock, a.Stock) }},
	{"hall by slot", shopItems.Where(itemHall.Eq("b")).OrderBy(itemSlot.Asc()), func(i *shopItem) bool { return i.Hall == "b" },
		func(a, b *shopItem) int {
			switch {
			case a.Slot == nil || b.Slot == nil:
				return cmp.Compare(shopRank(a.Slot), shopRank(b.Slot))
			}
			return cmp.Compare(*a.Slot, *b.Slot)
		}},
	{"place", shopItems.Where(itemHall.Eq("b"), itemSlot.Eq(3)), func(i *shopItem) bool { return i.Hall == "b" && i.Slot != nil && *i.Slot == 3 }, nil},
	{"IDs", shopItems.Where(itemID.In("i01", "i04", "i99"), itemStock.Ge(1)),
		func(i *shopItem) bool { return (i.ID == "i01" || i.ID == "i04" || i.ID == "i99") && i.Stock >= 1 }, nil},
	{"stock", shopItems.Where(itemStock.Ge(6)), func(i *shopItem) bool { return i.Stock >= 6 }, nil},
}

func shopRank(slot *int) int {
	if slot == nil {
		return 0
	}
	return 1
}

// shopUniverse are the IDs of all items that a test may create.
func shopUniverse() (ids []shopItemID) {
	for i := range 40 {
		ids = append(ids, shopItemID(fmt.Sprintf("i%02d", i)))
	}
	return append(ids, "i99")
}

// shopWant returns what the query is to find, straight from the objects.
func shopWant(t testing.TB, c graphcache.Conn, q *shopQuery) (ids graphcache.IDs[shopItem]) {
	t.Helper()
	all, err := shopItems.GetMany(t.Context(), c, shopUniverse(), graphcache.Fresh)
	fixtureMust(t, err)
	var found []*shopItem
	for _, i := range all {
		if q.match(i) {
			found = append(found, i)
		}
	}
	slices.SortFunc(found, func(a, b *shopItem) int {
		c := 0
		if q.order != nil {
			c = q.order(a, b)
		}
		return cmp.Or(c, strings.Compare(string(a.ID), string(b.ID)))
	})
	ids = graphcache.IDs[shopItem]{}
	for _, i := range found {
		ids = append(ids, i.ID)
	}
	return ids
}

// shopIDs returns the objects' IDs.
func shopIDs(items []*shopItem) graphcache.IDs[shopItem] {
	ids := graphcache.IDs[shopItem]{}
	for _, i := range items {
		ids = append(ids, i.ID)
	}
	return ids
}

// shopPages returns the IDs on all pages of the query, size on each.
func shopPages(t testing.TB, c graphcache.Conn, q shopItemsQ, size int) graphcache.IDs[shopItem] {
	t.Helper()
	ids, cursor := graphcache.IDs[shopItem]{}, ""
	for range 10_000 {
		page, next, err := q.Limit(size).Page(t.Context(), c, cursor)
		fixtureMust(t, err)
		ids = append(ids, shopIDs(page)...)
		if cursor = next; next == "" {
			return ids
		}
		if len(page) != size {
			t.Fatalf("a page that is not the last has %d results, not %d", len(page), size)
		}
	}
	t.Fatal("the pages do not end")
	return nil
}

// shopDiff says where what a process answers to the queries is not what it should be.
func shopDiff(t testing.TB, c graphcache.Conn) (diffs []string) {
	t.Helper()
	ctx := t.Context()
	for i := range shopQueries {
		q := &shopQueries[i]
		want := shopWant(t, c, q)
		differs := func(how string, got any, want any) {
			if diff := gocmp.Diff(want, got); diff != "" {
				diffs = append(diffs, fmt.Sprintf("%s, %s (-want +got):\n%s", q.name, how, diff))
			}
		}
		ids, err := q.query.IDs(ctx, c)
		fixtureMust(t, err)
		differs("IDs", ids, want)
		all, err := q.query.All(ctx, c)
		fixtureMust(t, err)
		differs("All", shopIDs(all), want)
		n, err := q.query.Count(ctx, c)
		fixtureMust(t, err)
		differs("Count", n, len(want))
		window, err := q.query.Offset(1).Limit(2).IDs(ctx, c)
		fixtureMust(t, err)
		differs("Offset and Limit", window, want[min(1, len(want)):min(3, len(want))])
		differs("pages", shopPages(t, c, q.query, 3), want)
	}
	return diffs
}

// shopCheck checks the answers of the processes, first those that fill and then those
// that hit.
func shopCheck(t testing.TB, what string, processes ...*fixtureEngine) {
	t.Helper()
	for _, pass := range []string{"reads that fill", "reads that hit"} {
		for i, e := range processes {
			for _, diff := range shopDiff(t, e) {
				t.Errorf("%s: %s in process %d: %s", what, pass, i, diff)
			}
			e.settle(t)
		}
	}
}

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
		{"Tx", func(ctx context.Context, c graphcache.Conn) error {
			return c.(*fixtureEngine).Tx(ctx, func(tx *graphcache.Tx) error {
				_, err := shopItems.Apply(ctx, tx, "i01", itemCity.Set("new"))
				return err
			})
		}},
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
		{hazardMove{"Tx", func(ctx context.Context, c graphcache.Conn) error {
			return c.(*fixtureEngine).Tx(ctx, func(tx *graphcache.Tx) error {
				_, err := shopItems.Apply(ctx, tx, "i01", itemCity.Set("oslo"))
				return err
			})
		}}, "oslo"},
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
