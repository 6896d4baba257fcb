package graphcache_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/memory"
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

// shopString returns the string in a form in which nil is before all others.
func shopString(s *string) string {
	if s == nil {
		return ""
	}
	return "=" + *s
}

// shopQueries are answered in every way there is.
var shopQueries = []shopQuery{
	{"city", shopItems.Where(itemCity.Eq("rome")), func(i *shopItem) bool { return i.City == "rome" }, nil},
	{"city that is empty at first", shopItems.Where(itemCity.Eq("kyiv")), func(i *shopItem) bool { return i.City == "kyiv" }, nil},
	{"cities", shopItems.Where(itemCity.In("rome", "kyiv")), func(i *shopItem) bool { return i.City == "rome" || i.City == "kyiv" }, nil},
	{"city and stock", shopItems.Where(itemCity.Eq("rome"), itemStock.Lt(7)), func(i *shopItem) bool { return i.City == "rome" && i.Stock < 7 }, nil},
	{"city by name", shopItems.Where(itemCity.Eq("oslo")).OrderBy(itemName.Desc()), func(i *shopItem) bool { return i.City == "oslo" },
		func(a, b *shopItem) int { return cmp.Compare(b.Name, a.Name) }},
	{"code", shopItems.Where(itemCode.Eq("code 3")), func(i *shopItem) bool { return shopString(i.Code) == "=code 3" }, nil},
	{"no code", shopItems.Where(itemCode.IsNil()), func(i *shopItem) bool { return i.Code == nil }, nil},
	{"tag", shopItems.Where(itemTags.Has("red")), func(i *shopItem) bool { return slices.Contains(i.Tags, "red") }, nil},
	{"two tags", shopItems.Where(itemTags.Has("red"), itemTags.Has("blue")),
		func(i *shopItem) bool { return slices.Contains(i.Tags, "red") && slices.Contains(i.Tags, "blue") }, nil},
	{"tag by grade", shopItems.Where(itemTags.Has("blue")).OrderBy(itemGrade.Desc()), func(i *shopItem) bool { return slices.Contains(i.Tags, "blue") },
		func(a, b *shopItem) int { return cmp.Compare(shopString(b.Grade), shopString(a.Grade)) }},
	{"tag and grade", shopItems.Where(itemTags.Has("blue"), itemGrade.Eq("x")),
		func(i *shopItem) bool { return slices.Contains(i.Tags, "blue") && shopString(i.Grade) == "=x" }, nil},
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
