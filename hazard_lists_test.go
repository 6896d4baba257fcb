package graphcache_test

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache"
)

// hazardList is a list of edges from ann as it should be, newest first.
type hazardList struct {
	e     *fixtureEngine
	edges []fixtureEdge
}

// hazardEdge is an edge from ann to the nth user.
func hazardEdge(n int, ms int64, note string) fixtureEdge {
	return fixtureEdge{From: "ann", To: hazardUser(n), Time: time.UnixMilli(ms).UTC(), Data: fixtureFollow{Note: note}}
}

func hazardUser(n int) fixtureUserID { return fixtureUserID(fmt.Sprintf("u%04d", n)) }

// hazardNewList makes a list of n edges with notes of the size given; at says what
// their times are.
func hazardNewList(t testing.TB, n, noteSize int, at func(i int) int64) *hazardList {
	t.Helper()
	l := &hazardList{e: fixtureNew(t)}
	users := []fixtureUserID{"ann"}
	for i := range n + 40 { // some more for edges to come
		users = append(users, hazardUser(i))
	}
	l.e.seed(t, users)
	for i := range n {
		l.add(t, hazardEdge(i, at(i), strings.Repeat("x", noteSize)+fmt.Sprint(i)))
	}
	return l
}

func (l *hazardList) add(t testing.TB, edge fixtureEdge) {
	t.Helper()
	_, err := fixtureFollows.AddEdge(t.Context(), l.e, edge)
	fixtureMust(t, err)
	l.edges = slices.DeleteFunc(l.edges, func(old fixtureEdge) bool { return old.To == edge.To })
	i, _ := slices.BinarySearchFunc(l.edges, edge, func(a, b fixtureEdge) int {
		return cmp.Or(b.Time.Compare(a.Time), cmp.Compare(a.To, b.To))
	})
	l.edges = slices.Insert(l.edges, i, edge)
}

func (l *hazardList) remove(t testing.TB, i int) {
	t.Helper()
	fixtureMust(t, fixtureFollows.Remove(t.Context(), l.e, "ann", l.edges[i].To))
	l.edges = slices.Delete(l.edges, i, i+1)
}

// same checks edges against a part of the list.
func (l *hazardList) same(t testing.TB, what string, got []fixtureEdge, err error, want []fixtureEdge) {
	t.Helper()
	fixtureMust(t, err)
	if len(got) == 0 && len(want) == 0 {
		return
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Fatalf("%s of a list of %d edges (-want +got):\n%.2000s", what, len(l.edges), diff)
	}
}

// hazardPart returns what an offset and a limit leave of the edges.
func hazardPart(edges []fixtureEdge, offset, limit int) []fixtureEdge {
	edges = edges[min(offset, len(edges)):]
	if limit > 0 {
		edges = edges[:min(limit, len(edges))]
	}
	return edges
}

// pages checks that pages of a size, put together, are the whole list: by position,
// by query, and by time.
func (l *hazardList) pages(t testing.TB, size int) {
	t.Helper()
	var ranged, queried, timed []fixtureEdge
	ann := fixtureUserID("ann")
	for pos := 0; pos <= len(l.edges); pos += size {
		page, err := fixtureFollows.Range(t.Context(), l.e, ann, pos, size)
		l.same(t, fmt.Sprintf("Range(%d, %d)", pos, size), page, err, hazardPart(l.edges, pos, size))
		ranged = append(ranged, page...)
		page, err = fixtureFollows.Out(ann).Offset(pos).Limit(size).Edges(t.Context(), l.e)
		fixtureMust(t, err)
		queried = append(queried, page...)
	}
	// By time the edges of one moment come together, in as many pages as it takes.
	for high := (time.Time{}); ; {
		page, err := fixtureFollows.TimeRange(t.Context(), l.e, ann, high, time.Time{}, size)
		fixtureMust(t, err)
		if len(page) == 0 {
			break
		}
		last := page[len(page)-1].Time
		page = slices.DeleteFunc(page, func(e fixtureEdge) bool { return e.Time.Equal(last) })
		tie, err := fixtureFollows.TimeRange(t.Context(), l.e, ann, last, last, 0)
		fixtureMust(t, err)
		timed = append(append(timed, page...), tie...)
		high = last.Add(-time.Millisecond)
	}
	for name, got := range map[string][]fixtureEdge{"Range": ranged, "Offset and Limit": queried, "TimeRange": timed} {
		l.same(t, fmt.Sprintf("pages of %d by %s put together", size, name), got, nil, l.edges)
	}
	n, err := fixtureFollows.Count(t.Context(), l.e, ann)
	if err != nil || n != len(l.edges) {
		t.Fatalf("a list of %d edges: its count is %d, %v", len(l.edges), n, err)
	}
	l.e.settle(t)
}

// TestHazard10Pages: the pages of a list, put together, are the list, whatever part
// of it is cached.
func TestHazard10Pages(t *testing.T) {
	distinct := func(i int) int64 { return int64(1_000_000 - i) }
	ties := func(i int) int64 { return int64(1_000_000 - i/7) }
	equal := func(int) int64 { return 1_000_000 }
	for _, tt := range []struct {
		name     string
		n        int
		noteSize int
		at       func(int) int64
		sizes    []int
	}{
		{"empty", 0, 0, distinct, []int{1, 10}},
		{"one", 1, 0, distinct, []int{1, 10}},
		{"short prefix", graphcache.ShortPrefix, 0, ties, []int{1, 7, graphcache.ShortPrefix}},
		{"one more", graphcache.ShortPrefix + 1, 0, ties, []int{1, 7, graphcache.ShortPrefix, graphcache.ShortPrefix + 1}},
		{"all of one time", 150, 0, equal, []int{9, 64, 149}},
		{"long prefix", graphcache.LongPrefix, 0, ties, []int{100, graphcache.ShortPrefix, graphcache.LongPrefix}},
		{"one more than long", graphcache.LongPrefix + 1, 0, ties, []int{100, graphcache.LongPrefix, graphcache.LongPrefix + 1}},
		{"longer than any prefix", graphcache.LongPrefix + 130, 0, distinct, []int{64, 1000}},
		{"longer, all of one time", graphcache.LongPrefix + 130, 0, equal, []int{250}},
		{"cut by its size", 180, 1 << 10, ties, []int{7, 40, 64, 179}},
		{"cut below the short prefix", 70, 3 << 10, ties, []int{7, 64}},
		{"an edge larger than a prefix", 5, graphcache.PrefixBytes, distinct, []int{1, 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := hazardNewList(t, tt.n, tt.noteSize, tt.at)
			ann := fixtureUserID("ann")
			for _, size := range tt.sizes {
				for _, warm := range []func(){
					func() {},
					func() { // the short prefix
						_, err := fixtureFollows.Range(t.Context(), l.e, ann, 0, 1)
						fixtureMust(t, err)
					},
					func() { // the long one
						_, err := fixtureFollows.Range(t.Context(), l.e, ann, 0, 0)
						fixtureMust(t, err)
					},
				} {
					l.e.cache.Flush()
					warm()
					l.e.settle(t)
					l.pages(t, size)
				}
			}
			l.pages(t, tt.sizes[0]) // all from the cache
		})
	}
}

// TestHazard10Writes: an edge that goes from the middle of a full cached prefix
// draws in one that was not cached, one that comes to the head moves all pages, and
// one with a new time changes its place.
func TestHazard10Writes(t *testing.T) {
	for _, tt := range []struct {
		name        string
		n, noteSize int
	}{
		{"short prefix", 70, 0}, {"long prefix", graphcache.LongPrefix + 20, 0}, {"cut by its size", 90, 1 << 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := hazardNewList(t, tt.n, tt.noteSize, func(i int) int64 { return int64(1_000_000 - i/3) })
			head, next := int64(2_000_000), tt.n
			note := strings.Repeat("x", tt.noteSize)
			random := rand.New(rand.NewPCG(10, 10))
			writes := []struct {
				name  string
				write func()
			}{
				{"the first is removed", func() { l.remove(t, 0) }},
				{"one within the short prefix is removed", func() { l.remove(t, graphcache.ShortPrefix/2) }},
				{"the last of the short prefix is removed", func() { l.remove(t, min(graphcache.ShortPrefix, len(l.edges))-1) }},
				{"one is removed anywhere", func() { l.remove(t, random.IntN(len(l.edges))) }},
				{"one is added at the head", func() { head++; l.add(t, hazardEdge(next, head, note+"new")); next++ }},
				{"one is added at the end", func() { l.add(t, hazardEdge(next, 5, note+"new")); next++ }},
				{"the last gets a new time", func() {
					head++
					moved := l.edges[len(l.edges)-1]
					moved.Time = time.UnixMilli(head).UTC()
					l.add(t, moved)
				}},
				{"the first ties with others", func() {
					moved := l.edges[0]
					moved.Time = l.edges[len(l.edges)/2].Time
					l.add(t, moved)
				}},
				{"the data of one changes", func() {
					changed := l.edges[len(l.edges)/3]
					changed.Data.Note = note + "changed"
					l.add(t, changed)
				}},
			}
			for round := range 3 {
				for _, i := range random.Perm(len(writes)) {
					w := writes[i]
					w.write()
					for range 2 { // reads that fill, then reads that hit
						for _, part := range [][2]int{{0, 10}, {0, 64}, {33, 40}, {60, 10}, {0, 500}, {len(l.edges) - 3, 10}} {
							got, err := fixtureFollows.Range(t.Context(), l.e, "ann", part[0], part[1])
							l.same(t, fmt.Sprintf("round %d, after %s: Range(%d, %d)", round, w.name, part[0], part[1]),
								got, err, hazardPart(l.edges, part[0], part[1]))
						}
						middle := l.edges[len(l.edges)/2]
						m, err := fixtureFollows.GetMany(t.Context(), l.e, "ann", []fixtureUserID{middle.To, hazardUser(tt.n + 39)})
						fixtureMust(t, err)
						if e := m[middle.To]; len(m) != 1 || e == nil || !e.Time.Equal(middle.Time) || e.Data != middle.Data {
							t.Fatalf("round %d, after %s: Get of the edge in the middle gives %v", round, w.name, m)
						}
						n, err := fixtureFollows.Out(fixtureUserID("ann")).Until(middle.Time).Count(t.Context(), l.e)
						fixtureMust(t, err)
						want := 0
						for _, e := range l.edges {
							if !e.Time.After(middle.Time) {
								want++
							}
						}
						if n != want {
							t.Fatalf("round %d, after %s: the count of the older half is %d, want %d", round, w.name, n, want)
						}
						l.e.settle(t)
					}
				}
				l.pages(t, 50)
			}
		})
	}
}

// TestHazard10LateFill: what is cached beside the prefix, a span, a count or a single
// edge, is as safe from late fills as the prefix is.
func TestHazard10LateFill(t *testing.T) {
	l := hazardNewList(t, 80, 0, func(i int) int64 { return int64(1_000_000 - i) })
	victim := l.edges[75]
	writer, other := l.e.another(t), l.e.another(t)
	say := func(v any, err error) (string, error) { return fmt.Sprint(v), err }
	ann := fixtureUserID("ann")
	for _, tt := range []struct {
		name     string
		read     func(context.Context, *fixtureEngine) (string, error)
		old, new string
	}{
		{"span", func(ctx context.Context, e *fixtureEngine) (string, error) {
			ids, err := fixtureFollows.Out(ann).Until(time.UnixMilli(1_000_000-74)).Limit(3).IDs(ctx, e)
			return say(ids, err)
		}, "[u0074 u0075 u0076]", "[u0074 u0076 u0077]"},
		{"count", func(ctx context.Context, e *fixtureEngine) (string, error) {
			return say(fixtureFollows.Count(ctx, e, ann))
		}, "80", "79"},
		{"edge", func(ctx context.Context, e *fixtureEngine) (string, error) {
			m, err := fixtureFollows.GetMany(ctx, e, ann, []fixtureUserID{"u0075"})
			return say(len(m), err)
		}, "1", "0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := &hazardRace{
				read: tt.read, old: tt.old, new: tt.new,
				write: func(ctx context.Context, e *fixtureEngine) error {
					return fixtureFollows.Remove(ctx, e, ann, victim.To)
				},
				reset: func(t testing.TB, e *fixtureEngine) {
					_, err := fixtureFollows.AddEdge(t.Context(), e, victim)
					fixtureMust(t, err)
				},
				readCalls: 5, writeCalls: 3, // Lookup of the prefix, Lookup Claim Read Fill, Hold Write Release
			}
			for _, order := range hazardOrders(h.readCalls, h.writeCalls) {
				h.reset(t, other)
				// The prefix is there when the read begins.
				_, err := fixtureFollows.Range(t.Context(), other, ann, 0, 1)
				fixtureMust(t, err)
				other.settle(t)
				h.play(t, order, nil, l.e, writer, other)
			}
			if s := l.e.Stats().Kinds["follows"]; s.Refusals == 0 {
				t.Errorf("no late fill was refused: the orders show nothing")
			}
		})
	}
}
