package graphcache_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tinylib/msgp/msgp"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/driver"
)

type cursorItem struct {
	ID    graphcache.ID[cursorItem] `json:"id"`
	Group string                    `json:"group" graph:"index"`
	Rank  int                       `json:"rank"`
	Score float64                   `json:"score"`
	Nick  *string                   `json:"nick"`
	At    time.Time                 `json:"at"`
}

type cursorData struct {
	Weight float64 `json:"weight"`
}

type (
	cursorID   = graphcache.ID[cursorItem]
	cursorEdge = graphcache.Edge[cursorItem, cursorItem, cursorData]
)

var (
	cursorItems  = graphcache.NewObjectKind[cursorItem]("item")
	cursorLinks  = graphcache.NewEdgeKind[cursorData]("links", cursorItems, cursorItems)
	cursorIDs    = graphcache.StringFieldOf(cursorItems, func(i *cursorItem) *cursorID { return &i.ID })
	cursorGroup  = graphcache.StringFieldOf(cursorItems, func(i *cursorItem) *string { return &i.Group })
	cursorRank   = graphcache.OrderedFieldOf(cursorItems, func(i *cursorItem) *int { return &i.Rank })
	cursorScore  = graphcache.OrderedFieldOf(cursorItems, func(i *cursorItem) *float64 { return &i.Score })
	cursorNick   = graphcache.OptionalFieldOf(cursorItems, func(i *cursorItem) **string { return &i.Nick })
	cursorAt     = graphcache.OrderedFieldOf(cursorItems, func(i *cursorItem) *time.Time { return &i.At })
	cursorWeight = graphcache.OrderedFieldOf(cursorLinks, func(e *cursorEdge) *float64 { return &e.Data.Weight })
	cursorTime   = graphcache.OrderedFieldOf(cursorLinks, func(e *cursorEdge) *time.Time { return &e.Time })
	cursorSchema = graphcache.NewSchema(cursorItems, cursorLinks,
		graphcache.NewIndex("ranked", cursorItems, cursorGroup, cursorRank),
		graphcache.NewIndex("nicked", cursorItems, cursorGroup, cursorNick))
)

// cursorValue is item n: most values repeat, some are nil or NaN.
func cursorValue(n int) *cursorItem {
	i := &cursorItem{
		ID: cursorID(fmt.Sprintf("i%04d", n)), Group: fmt.Sprint("g", n%2), Rank: n / 2 % 5, Score: float64(n % 4), At: time.UnixMilli(int64(n % 3)).UTC(),
	}
	if n%5 == 0 {
		i.Score = math.NaN()
	}
	if n%3 > 0 {
		nick := fmt.Sprint("n", n%4)
		i.Nick = &nick
	}
	return i
}

// cursorLink is the edge from an item to another, at one of a few times.
func cursorLink(from string, n int) cursorEdge {
	return cursorEdge{From: cursorID(from), To: cursorValue(n).ID, Time: time.UnixMilli(int64(1000 + n/3)), Data: cursorData{float64(n % 3)}}
}

// cursorWorld is a process with n items, all of which are linked from "hub".
func cursorWorld(t testing.TB, n int) *fixtureEngine {
	t.Helper()
	e := fixtureNew(t).withSchema(t, cursorSchema)
	fixtureMust(t, cursorItems.Create(t.Context(), e, &cursorItem{ID: "hub", Group: "hubs"}))
	fixtureMust(t, cursorItems.Create(t.Context(), e, &cursorItem{ID: "root", Group: "hubs"}))
	_, err := cursorLinks.AddEdge(t.Context(), e, cursorEdge{From: "root", To: "hub", Time: time.UnixMilli(1)})
	fixtureMust(t, err)
	for i := range n {
		cursorAdd(t, e, i)
	}
	return e
}

func cursorAdd(t testing.TB, e *fixtureEngine, n int) {
	t.Helper()
	fixtureMust(t, cursorItems.Create(t.Context(), e, cursorValue(n)))
	_, err := cursorLinks.AddEdge(t.Context(), e, cursorLink("hub", n))
	fixtureMust(t, err)
}

// cursorCase is a query that pages can be taken of.
type cursorCase struct {
	name string
	page func(t testing.TB, e graphcache.Conn, limit int, cursor string) (ids []string, next string, err error)
	all  func(t testing.TB, e graphcache.Conn) []string // by the store
	key  func(limit int) string
}

func cursorOf[E any](name string, q graphcache.Query[cursorItem, E]) cursorCase {
	return cursorCase{
		name: name,
		page: func(t testing.TB, c graphcache.Conn, limit int, cursor string) (ids []string, next string, err error) {
			page, next, err := q.Limit(limit).Page(t.Context(), c, cursor)
			for _, i := range page {
				ids = append(ids, string(i.ID))
			}
			return ids, next, err
		},
		all: func(t testing.TB, c graphcache.Conn) (ids []string) {
			t.Helper()
			all, err := q.Fresh().All(t.Context(), c)
			fixtureMust(t, err)
			for _, i := range all {
				ids = append(ids, string(i.ID))
			}
			return ids
		},
		key: func(limit int) string { key, _ := q.Limit(limit).Key(); return key },
	}
}

// cursorCases are all the ways in which a page is answered, with every type of a value in
// the place.
func cursorCases() []cursorCase {
	hub, root := cursorID("hub"), cursorItems.Where(cursorGroup.HasPrefix("g"))
	list, two := cursorLinks.Out(hub), cursorLinks.Out(cursorLinks.Out(cursorID("root")))
	return []cursorCase{
		cursorOf("by ID", root),
		cursorOf("by ID, descending", root.OrderBy(cursorIDs.Desc())),
		cursorOf("an index", cursorItems.Where(cursorGroup.Eq("g1"))),
		cursorOf("an index in its order", cursorItems.Where(cursorGroup.Eq("g1")).OrderBy(cursorRank.Desc())),
		cursorOf("an index with nils in its order", cursorItems.Where(cursorGroup.Eq("g1")).OrderBy(cursorNick.Asc())),
		cursorOf("an index and another order", cursorItems.Where(cursorGroup.Eq("g0")).OrderBy(cursorScore.Asc())),
		cursorOf("several values", cursorItems.Where(cursorGroup.In("g0", "g1")).OrderBy(cursorRank.Asc())),
		cursorOf("NaN", root.OrderBy(cursorScore.Asc())),
		cursorOf("NaN, descending", root.OrderBy(cursorScore.Desc(), cursorRank.Asc())),
		cursorOf("nil", root.OrderBy(cursorNick.Asc(), cursorIDs.Desc())),
		cursorOf("nil, descending", root.OrderBy(cursorNick.Desc())),
		cursorOf("times", root.OrderBy(cursorAt.Desc())),
		cursorOf("a list", list),
		cursorOf("a list, oldest first", list.OrderByEdge(cursorTime.Asc())),
		cursorOf("a list by weight", list.OrderByEdge(cursorWeight.Desc())),
		cursorOf("a list of some objects", list.Where(cursorRank.Ge(1))),
		cursorOf("a list of some edges", list.WhereEdge(cursorWeight.Gt(0))),
		cursorOf("a list by its objects", list.OrderBy(cursorNick.Desc(), cursorScore.Asc())),
		cursorOf("a list between times", list.Since(time.UnixMilli(1001)).Until(time.UnixMilli(1004))),
		cursorOf("lists", cursorLinks.Out(graphcache.IDs[cursorItem]{"root", "hub"})),
		cursorOf("lists, each object once", cursorLinks.Out(graphcache.IDs[cursorItem]{"root", "hub"}).Distinct()),
		cursorOf("two hops", two.OrderByEdge(cursorTime.Desc())),
		cursorOf("two hops by the objects", two.OrderBy(cursorScore.Desc())),
	}
}

// cursorWalk returns all pages, one after the other, and how many there are.
func cursorWalk(t testing.TB, c *cursorCase, e graphcache.Conn, limit int) (ids []string, pages int) {
	t.Helper()
	cursor := ""
	for {
		page, next, err := c.page(t, e, limit, cursor)
		fixtureMust(t, err)
		ids, pages = append(ids, page...), pages+1
		if next == "" {
			return ids, pages
		}
		if len(page) != limit || pages > 10000 {
			t.Fatalf("page %d has %d results and a next one", pages, len(page))
		}
		cursor = next
	}
}

// TestPages: the pages one after the other are the list, over all that may be equal in
// it: nils, NaN, the values of many and the times of edges.
func TestPages(t *testing.T) {
	e := cursorWorld(t, 40)
	for _, c := range cursorCases() {
		t.Run(c.name, func(t *testing.T) {
			want := c.all(t, e)
			if len(want) == 0 {
				t.Fatal("nothing is found")
			}
			for _, limit := range []int{1, 3, 7, len(want), len(want) + 1, math.MaxInt} {
				for _, pass := range []string{"cold", "warm"} {
					got, pages := cursorWalk(t, &c, e, limit)
					if diff := cmp.Diff(want, got); diff != "" {
						t.Fatalf("%s, pages of %d are not the list (-list +pages):\n%s", pass, limit, diff)
					}
					if n := max(1, (len(want)-1)/limit+1); pages != n {
						t.Errorf("%d pages of %d, want %d", pages, limit, n)
					}
					e.settle(t)
				}
			}
		})
	}
}

// TestPagesMove: what is added and removed between two pages moves none of the others:
// the next page is always the first of what comes after the last result.
func TestPagesMove(t *testing.T) {
	for _, c := range cursorCases() {
		t.Run(c.name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, uint64(len(c.name))))
			e := cursorWorld(t, 24)
			free := []int{24, 25, 26, 27, 28, 29, 30, 31, 32, 33}
			limit, cursor, end := 1+rng.IntN(3), "", ""
			for step := range 40 {
				before := c.all(t, e)
				if rng.IntN(2) == 0 && len(free) > 0 {
					n := free[rng.IntN(len(free))]
					free = slices.DeleteFunc(free, func(m int) bool { return m == n })
					cursorAdd(t, e, n)
				} else {
					gone := fmt.Sprintf("i%04d", rng.IntN(24))
					if err := cursorItems.Delete(t.Context(), e, cursorID(gone)); err != nil && !errors.Is(err, graphcache.ErrNotFound) {
						t.Fatal(err)
					}
				}
				now := c.all(t, e)
				want := now
				if end != "" {
					// Where the end stood is known from the list with it.
					list := now
					if !slices.Contains(now, end) {
						list = before
					}
					past := list[slices.Index(list, end)+1:]
					want = slices.DeleteFunc(slices.Clone(now), func(id string) bool { return !slices.Contains(past, id) })
				}
				page, next, err := c.page(t, e, limit, cursor)
				fixtureMust(t, err)
				if diff := cmp.Diff(want[:min(limit, len(want))], page, cmpEmpty); diff != "" {
					t.Fatalf("step %d, after %q (-want +page):\n%s", step, end, diff)
				}
				if (next != "") != (len(want) > limit) {
					t.Fatalf("step %d: another page: %t, and %d results are left", step, next != "", len(want)-len(page))
				}
				if next == "" {
					return
				}
				cursor, end = next, page[len(page)-1]
			}
		})
	}
}

var cmpEmpty = cmp.Transformer("empty", func(s []string) string { return strings.Join(s, " ") })

// cursorCrowd is a process whose list and whose index are longer than any prefix.
func cursorCrowd(t testing.TB) *fixtureEngine {
	e := fixtureNew(t).withSchema(t, cursorSchema)
	doc := func(n int) driver.Document {
		return driver.Document{{Name: "group", Value: "g1"}, {Name: "rank", Value: int64(n % 7)}, {Name: "score", Value: float64(n % 3)}}
	}
	writes := []driver.Write{{Op: driver.Insert, Kind: "item", Object: &driver.Object{ID: "hub", Version: 1}}}
	for n := range 2500 {
		id := fmt.Sprintf("i%04d", n)
		writes = append(writes,
			driver.Write{Op: driver.Insert, Kind: "item", Object: &driver.Object{ID: id, Version: 1, Doc: doc(n)}},
			driver.Write{Op: driver.Insert, Kind: "links", Edge: &driver.Edge{From: "hub", To: id, Version: 1, Time: time.UnixMilli(int64(1 + n/10)).UTC()}})
	}
	_, err := e.store.Write(t.Context(), writes)
	fixtureMust(t, err)
	return e
}

// TestPagesOfLongLists: a place is a place also behind what is cached.
func TestPagesOfLongLists(t *testing.T) {
	e := cursorCrowd(t)
	hub := cursorLinks.Out(cursorID("hub"))
	for _, c := range []cursorCase{
		cursorOf("a list", hub),
		cursorOf("some of a list", hub.Where(cursorRank.Ge(2))),
		cursorOf("a list by its objects", hub.OrderBy(cursorRank.Asc())),
		cursorOf("an index", cursorItems.Where(cursorGroup.Eq("g1"))),
		cursorOf("an index in its order", cursorItems.Where(cursorGroup.Eq("g1")).OrderBy(cursorRank.Desc())),
		cursorOf("an index and another order", cursorItems.Where(cursorGroup.Eq("g1")).OrderBy(cursorScore.Asc())),
		cursorOf("an index and a condition", cursorItems.Where(cursorGroup.Eq("g1"), cursorRank.Lt(6))),
	} {
		t.Run(c.name, func(t *testing.T) {
			want := c.all(t, e)
			for _, limit := range []int{300, 1024, 2000} {
				if got, _ := cursorWalk(t, &c, e, limit); !slices.Equal(want, got) {
					t.Errorf("pages of %d have %d results that are not the %d of the list", limit, len(got), len(want))
				}
			}
		})
	}
}

// cursorMake makes a cursor of a query as Page does, with any values.
func cursorMake(key string, values func([]byte) []byte) string {
	sum := sha256.Sum256([]byte(key))
	b := msgp.AppendInt(msgp.AppendArrayHeader(nil, 3), 1)
	return base64.RawURLEncoding.EncodeToString(values(msgp.AppendBytes(b, sum[:16])))
}

// TestCursorRefused: what is not a cursor of the query is ErrCursor, and nothing that
// could be one does any harm.
func TestCursorRefused(t *testing.T) {
	e := cursorWorld(t, 12)
	cases := cursorCases()
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, valid, err := c.page(t, e, 2, "")
			fixtureMust(t, err)
			_, other, err := cases[(i+1)%len(cases)].page(t, e, 2, "")
			fixtureMust(t, err)
			_, longer, err := c.page(t, e, 3, "")
			fixtureMust(t, err)
			refused := map[string]string{
				"garbage": "garbage", "not base64": "%%%", "padded": valid + "=", "more": valid + "AAAA", "a space": valid + " ",
				"of another query": other, "of another limit": longer, "too long": strings.Repeat("A", graphcache.MaxCursorLen+1),
				"nothing in it": base64.RawURLEncoding.EncodeToString([]byte{0x93}),
			}
			for n := 1; n < len(valid); n++ {
				refused[fmt.Sprint("cut to ", n)] = valid[:n]
			}
			for _, name := range []string{"no values", "a number", "a nil", "too many", "nested"} {
				refused[name] = cursorMake(c.key(2), func(b []byte) []byte {
					switch name {
					case "no values":
						return msgp.AppendArrayHeader(b, 0)
					case "a number":
						return msgp.AppendInt(msgp.AppendArrayHeader(b, 1), 1)
					case "a nil":
						return msgp.AppendNil(msgp.AppendNil(msgp.AppendNil(msgp.AppendArrayHeader(b, 3))))
					case "nested":
						return append(msgp.AppendArrayHeader(b, 1), bytes.Repeat([]byte{0x91}, 500)...)
					}
					b = msgp.AppendArrayHeader(b, 9)
					for range 9 {
						b = msgp.AppendString(b, "hub")
					}
					return b
				})
			}
			for name, cursor := range refused {
				if page, next, err := c.page(t, e, 2, cursor); !errors.Is(err, graphcache.ErrCursor) || page != nil || next != "" {
					t.Errorf("%s: %v, %q, %v, want ErrCursor", name, page, next, err)
				}
			}
			raw, _ := base64.RawURLEncoding.DecodeString(valid)
			for n := range len(raw) * 8 {
				flipped := bytes.Clone(raw)
				flipped[n/8] ^= 1 << (n % 8)
				if _, _, err := c.page(t, e, 2, base64.RawURLEncoding.EncodeToString(flipped)); err != nil && !errors.Is(err, graphcache.ErrCursor) {
					t.Errorf("bit %d flipped: %v", n, err)
				}
			}
			for n := range valid {
				flipped := []byte(valid)
				flipped[n] ^= 1
				if _, _, err := c.page(t, e, 2, string(flipped)); err != nil && !errors.Is(err, graphcache.ErrCursor) {
					t.Errorf("character %d changed: %v", n, err)
				}
			}
		})
	}
}

// TestCursorValuesRefused: values that no record can have are not passed to the store.
func TestCursorValuesRefused(t *testing.T) {
	e := cursorWorld(t, 6)
	at := func(ms int64) func([]byte) []byte {
		return func(b []byte) []byte {
			b = append(msgp.AppendArrayHeader(b, 2), 0xd7, 1, byte(ms>>56), byte(ms>>48), byte(ms>>40), byte(ms>>32), byte(ms>>24), byte(ms>>16), byte(ms>>8), byte(ms))
			return msgp.AppendString(b, "i0001")
		}
	}
	name := cursorOf("", cursorItems.Where().OrderBy(cursorGroup.Asc()))
	times := cursorOf("", cursorItems.Where().OrderBy(cursorAt.Asc()))
	for _, tt := range []struct {
		name   string
		c      cursorCase
		values func([]byte) []byte
		ok     bool
	}{
		{"strings", name, func(b []byte) []byte {
			return msgp.AppendString(msgp.AppendString(msgp.AppendArrayHeader(b, 2), "g0"), "i0002")
		}, true},
		{"not UTF-8", name, func(b []byte) []byte {
			return msgp.AppendString(msgp.AppendString(msgp.AppendArrayHeader(b, 2), "\xff"), "i0002")
		}, false},
		{"an ID that is not UTF-8", name, func(b []byte) []byte {
			return msgp.AppendString(msgp.AppendString(msgp.AppendArrayHeader(b, 2), "g0"), "\xff")
		}, false},
		{"a time", times, at(5), true},
		{"a time in the year 200,000,000", times, at(math.MaxInt64), false},
		{"bytes for a string", name, func(b []byte) []byte {
			return msgp.AppendString(msgp.AppendBytes(msgp.AppendArrayHeader(b, 2), []byte("g0")), "i0002")
		}, false},
	} {
		_, _, err := tt.c.page(t, e, 2, cursorMake(tt.c.key(2), tt.values))
		if tt.ok && err != nil || !tt.ok && !errors.Is(err, graphcache.ErrCursor) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// TestPageNeeds: a page needs a limit, and an order where the lists of what several hops
// have reached would have none.
func TestPageNeeds(t *testing.T) {
	e := cursorWorld(t, 3)
	one := cursorLinks.Out(cursorID("hub"))
	two := cursorLinks.In(one)
	for _, tt := range []struct {
		name string
		q    graphcache.Query[cursorItem, cursorEdge]
		ok   bool
	}{
		{"no limit", one, false},
		{"a limit", one.Limit(1), true},
		{"two hops without an order", two.Limit(1), false},
		{"two hops by edge", two.Limit(1).OrderByEdge(cursorTime.Desc()), true},
		{"two hops by object", two.Limit(1).OrderBy(cursorRank.Desc()), true},
		{"two hops without a limit", two.OrderBy(cursorRank.Desc()), false},
		{"a mistake", one.Limit(-1), false},
	} {
		if _, _, err := tt.q.Page(t.Context(), e, ""); tt.ok && err != nil || !tt.ok && !errors.Is(err, graphcache.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid: %t", tt.name, err, !tt.ok)
		}
	}
	long := strings.Repeat("x", graphcache.MaxCursorLen)
	fixtureMust(t, cursorItems.Create(t.Context(), e, &cursorItem{ID: "zz1", Group: long + "1"}))
	fixtureMust(t, cursorItems.Create(t.Context(), e, &cursorItem{ID: "zz2", Group: long + "2"}))
	q := cursorItems.Where(cursorGroup.HasPrefix("x")).OrderBy(cursorGroup.Asc())
	if page, next, err := q.Limit(1).Page(t.Context(), e, ""); !errors.Is(err, graphcache.ErrInvalid) || page != nil || next != "" {
		t.Errorf("a page that ends at values longer than a cursor: %v, %q, %v", page, next, err)
	}
	if page, next, err := q.Limit(2).Page(t.Context(), e, ""); err != nil || len(page) != 2 || next != "" {
		t.Errorf("the last page needs no cursor: %d, %q, %v", len(page), next, err)
	}
}

// TestPageOffset: the offset leaves out the first results of the first page alone.
func TestPageOffset(t *testing.T) {
	e := cursorWorld(t, 12)
	q := cursorItems.Where(cursorGroup.Eq("g1")).OrderBy(cursorRank.Asc())
	c := cursorOf("", q.Offset(2))
	got, _ := cursorWalk(t, &c, e, 2)
	all := cursorOf("", q)
	if want := all.all(t, e)[2:]; !slices.Equal(got, want) {
		t.Errorf("pages after an offset are %v, want %v", got, want)
	}
}
