package graphcache

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache/driver"
)

var updatePlan = flag.Bool("update.plan", false, "rewrite testdata/plan.golden")

// planIndexes are those of the kind in the golden file.
func planIndexes() []*index {
	name, number, tags, nick := predNamed("name"), predNamed("int"), predNamed("tags"), predNamed("nick")
	return []*index{
		NewIndex("name", predKind, predIndexed(name)).core,
		NewIndex("name_int", predKind, predIndexed(name), predIndexed(number)).core,
		NewIndex("tags_name", predKind, predIndexed(tags), predIndexed(name)).core,
		NewIndex("nick_name", predKind, predIndexed(nick), predIndexed(name)).core,
	}
}

// planQueries are queries from a kind, one for every way to answer one and every reason
// not to.
func planQueries() []struct {
	name string
	q    Query[predRecord, NoEdge]
} {
	id, name, number, tags, nick, small := predNamed("ID"), predNamed("name"), predNamed("int"), predNamed("tags"), predNamed("nick"), predNamed("small")
	many := make([]string, 1500)
	for i := range many {
		many[i] = strings.Repeat("m", i%40) + fmt.Sprint(i)
	}
	field := StringFieldOf(predKind, func(r *predRecord) *string { return &r.Name })
	type query = struct {
		name string
		q    Query[predRecord, NoEdge]
	}
	root := predKind.Where()
	return []query{
		{"all", root},
		{"one ID", root.Where(id.eq(0))},
		{"IDs and more", root.Where(id.in([]int{0, 1}), small.eq(1)).OrderBy(small.asc(true))},
		{"an ID in an Or", root.Where(Or(id.eq(0), small.eq(1)))},
		{"not an ID", root.Where(id.ne(0))},
		{"an ID that no object has", root.Where(FieldOf(predKind, func(r *predRecord) *ID[predRecord] { return &r.ID }).In("", ID[predRecord](coverLong)))},
		{"nothing", root.Where(Or[predRecord]())},
		{"an index", root.Where(name.eq(1))},
		{"an index and its order", root.Where(name.eq(1)).OrderBy(number.asc(true))},
		{"an index and by ID", root.Where(name.eq(1)).OrderBy(id.asc(true))},
		{"an index and another order", root.Where(name.eq(1)).OrderBy(small.asc(false))},
		{"an index and an order that goes on", root.Where(name.eq(1)).OrderBy(number.asc(false), small.asc(false))},
		{"an index and the order of a part of it", root.Where(name.eq(1), number.eq(2)).OrderBy(number.asc(false))},
		{"an index and a condition", root.Where(name.eq(1), small.compare[driver.Less](1))},
		{"a range beyond the equality", root.Where(name.eq(1), number.compare[driver.Less](2)).OrderBy(number.asc(false))},
		{"a compound index", root.Where(name.eq(1), number.eq(2))},
		{"several values", root.Where(name.in([]int{1, 2}))},
		{"several values and an order", root.Where(name.in([]int{1, 2})).OrderBy(number.asc(false))},
		{"several values of two fields", root.Where(name.in([]int{1, 2}), number.in([]int{0, 1, 2}))},
		{"64 values", root.Where(field.In(many[:64]...))},
		{"65 values", root.Where(field.In(many[:65]...))},
		{"64 values and too many with the second field", root.Where(field.In(many[:64]...), number.in([]int{0, 1}))},
		{"the second field alone", root.Where(number.eq(1))},
		{"a range of an indexed field", root.Where(name.compare[driver.Greater](1))},
		{"a prefix of an indexed field", root.Where(name.compare[driver.HasPrefix](1))},
		{"not an indexed field", root.Where(name.ne(1))},
		{"an indexed field in an Or", root.Where(Or(name.eq(1), small.eq(1)))},
		{"the zero value", root.Where(name.isZero())},
		{"nil", root.Where(nick.isNil())},
		{"not nil but a value", root.Where(nick.eq(1))},
		{"a value that is too long", root.Where(field.Eq(coverLong))},
		{"a value that is too long among others", root.Where(field.In("a", coverLong))},
		{"an element", root.Where(tags.has(1))},
		{"an element and the order behind it", root.Where(tags.has(1)).OrderBy(name.asc(false))},
		{"two elements", root.Where(tags.has(1), tags.has(2))},
		{"a whole slice", root.Where(tags.eq(2))},
		{"not an element", root.Where(Not(tags.has(1)))},
		{"two indexes, the one that decides more", root.Where(name.eq(1), tags.has(1))},
		{"advice with an order", root.Where(small.eq(1)).OrderBy(number.asc(true), id.asc(true))},
		{"predicates that are too long for a key", root.Where(field.In(append(many, coverLong+coverLong, strings.Repeat("y", maxFieldKey))...))},
	}
}

// TestPlanGolden: what is planned for the queries, with the indexes, for a kind without
// any, for one with CacheScans, and where there is no cache.
func TestPlanGolden(t *testing.T) {
	var got bytes.Buffer
	kinds := []struct {
		name   string
		k      *boundKind
		cached bool
	}{
		{"indexes", coverKind(false, planIndexes()...), true},
		{"scans", coverKind(true), true},
		{"neither", coverKind(false), true},
		{"uncached", coverKind(true, planIndexes()...), false},
	}
	for _, q := range planQueries() {
		if q.q.src.err != nil {
			t.Fatalf("%s: %v", q.name, q.q.src.err)
		}
		h := q.q.src.path()[0]
		fmt.Fprintf(&got, "%s: %.80s\n", q.name, "where "+predsString(h.where)+" order "+orderString(h.order))
		last := ""
		for _, k := range kinds {
			text := planHop(&h, k.k, k.cached).text()
			if k.name != "indexes" && text == last {
				text = "the same\n"
			} else {
				last = text
			}
			fmt.Fprintf(&got, "  %s: %s", k.name, text)
		}
	}
	for _, q := range planEdgeQueries() {
		h := q.q.src.path()[len(q.q.src.path())-1]
		k := &boundKind{name: "link", edge: predLinks.core}
		fmt.Fprintf(&got, "%s: %s\n  cached: %s  uncached: %s", q.name, predsString(append(h.whereEdge, h.where...))+" order "+orderString(h.order),
			planHop(&h, k, true).text(), planHop(&h, k, false).text())
	}
	file := filepath.Join("testdata", "plan.golden")
	if *updatePlan {
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("other plans (-want +got; -update.plan accepts them):\n%s", diff)
	}
}

func planEdgeQueries() []struct {
	name string
	q    predQuery
} {
	one := predLinks.Out(ID[predRecord]("a"))
	return []struct {
		name string
		q    predQuery
	}{
		{"a list", one.Limit(3)},
		{"a list between times", one.Since(predDay(1)).Until(predDay(2)).LimitPer(2).Distinct()},
		{"the order of the list", one.OrderByEdge(predTime.Desc())},
		{"the other order", one.OrderByEdge(predTime.Asc())},
		{"edges", one.WhereEdge(predNote.Eq("x"), predTime.Gt(predDay(1)))},
		{"objects", one.Where(predNamed("name").eq(1)).OrderBy(predNamed("int").asc(true))},
		{"two hops", predLinks.In(one).OrderByEdge(predTime.Desc())},
	}
}

// text is the plan in words.
func (p hopPlan) text() string {
	var b strings.Builder
	fmt.Fprint(&b, p.access)
	if p.index != nil {
		fmt.Fprintf(&b, " %s", p.index.name)
		for i, values := range p.prefixes {
			if i == 6 {
				fmt.Fprintf(&b, " and %d more", len(p.prefixes)-i)
				break
			}
			fmt.Fprintf(&b, " %.60s", valueString(values))
		}
	}
	if p.ids != nil {
		fmt.Fprintf(&b, " %q", p.ids)
	}
	if p.exact {
		b.WriteString(", exact")
	}
	for _, line := range []string{p.reason, p.advice} {
		if line != "" {
			b.WriteString("; " + line)
		}
	}
	return b.String() + "\n"
}

// TestPlanIsPure: a plan does not depend on what was planned before, nor does it change
// the hop or the index.
func TestPlanIsPure(t *testing.T) {
	k := coverKind(true, planIndexes()...)
	for _, q := range planQueries() {
		h := q.q.src.path()[0]
		key := string(h.appendKey(nil))
		first, second := planHop(&h, k, true).text(), planHop(&h, k, true).text()
		if first != second || string(h.appendKey(nil)) != key {
			t.Errorf("%s: planned as %s, and then as %s", q.name, first, second)
		}
	}
}

// TestCoverFails: the enumeration sees every rule that is broken on purpose.
func TestCoverFails(t *testing.T) {
	name, number, nick, tags := predNamed("name"), predNamed("int"), predNamed("nick"), predNamed("tags")
	two := NewIndex("two", predKind, predIndexed(name), predIndexed(number)).core
	one := NewIndex("one", predKind, predIndexed(name)).core
	sliced := NewIndex("sliced", predKind, predIndexed(name), predIndexed(tags)).core
	listed := NewIndex("listed", predKind, predIndexed(tags)).core
	berlin := []driver.Value{name.values[1]}
	root := func(q Query[predRecord, NoEdge]) *hop { h := q.src.path()[0]; return &h }
	under := func(k *boundKind, ix *index, q Query[predRecord, NoEdge], count bool) request {
		return k.orderRequest(root(q), hopPlan{index: ix, prefixes: [][]driver.Value{berlin}}, count)
	}
	columns := []*column{name.col, number.col, nick.col, tags.col}
	right := func(k *boundKind) func(before, after *driver.Document) []anchor {
		return func(before, after *driver.Document) []anchor { return k.touched("a", before, after) }
	}
	kind := func(ix *index) *boundKind { return coverKind(false, ix) }
	without := func(k *boundKind, drop func(anchor) bool) func(before, after *driver.Document) []anchor {
		return func(before, after *driver.Document) []anchor {
			return slices.DeleteFunc(k.touched("a", before, after), drop)
		}
	}
	for _, tt := range []struct {
		name    string
		k       *boundKind
		r       func(k *boundKind) request
		touched func(k *boundKind) func(before, after *driver.Document) []anchor // nil: the right one
		fine    bool
	}{
		{name: "nothing is wrong", k: kind(two), fine: true, r: func(k *boundKind) request {
			return under(k, two, predKind.Where(name.eq(1)).OrderBy(number.asc(true)), false)
		}},
		{name: "an order by a column outside of the index", k: kind(two), r: func(k *boundKind) request {
			return under(k, two, predKind.Where(name.eq(1)).OrderBy(nick.asc(false)), false)
		}},
		{name: "an order that goes on outside of the index", k: kind(two), r: func(k *boundKind) request {
			return under(k, two, predKind.Where(name.eq(1)).OrderBy(number.asc(false), nick.asc(false)), false)
		}},
		{name: "a condition on a column outside of the index", k: kind(two), r: func(k *boundKind) request {
			return under(k, two, predKind.Where(name.eq(1), nick.compare[driver.Greater](0)), false)
		}},
		{name: "a count under a condition outside of the index", k: kind(one), r: func(k *boundKind) request {
			return under(k, one, predKind.Where(name.eq(1), number.ne(0)), true)
		}},
		{name: "no equality: a range of the column under one value's anchor", k: kind(one), r: func(k *boundKind) request {
			return under(k, one, predKind.Where(name.compare[driver.GreaterEqual](1)), false)
		}},
		{name: "several values under the anchor of one", k: kind(one), r: func(k *boundKind) request {
			return under(k, one, predKind.Where(name.in([]int{1, 2})), false)
		}},
		{name: "a slice as a whole under one element's anchor", k: kind(listed), r: func(k *boundKind) request {
			h := root(predKind.Where(tags.ne(2)))
			return k.orderRequest(h, hopPlan{index: listed, prefixes: [][]driver.Value{{"a"}}}, false)
		}},
		{name: "a search of the kind without CacheScans", k: kind(one), r: func(k *boundKind) request {
			return k.searchRequest(kindAnchor, "", root(predKind.Where(name.eq(1))), false)
		}},
		{name: "a search of the kind when only other indexes are touched", k: coverKind(true, one), r: func(k *boundKind) request {
			return k.searchRequest(kindAnchor, "", root(predKind.Where(number.eq(1))), false)
		}, touched: func(k *boundKind) func(before, after *driver.Document) []anchor {
			return func(before, after *driver.Document) []anchor {
				return coverKind(false, one).touched("a", before, after)
			}
		}},
		{name: "without the anchors of the old entries", k: kind(two), r: func(k *boundKind) request {
			return k.indexRequest(two, berlin)
		}, touched: func(k *boundKind) func(before, after *driver.Document) []anchor {
			return func(before, after *driver.Document) []anchor {
				if after == nil {
					return nil
				}
				return k.touched("a", nil, after)
			}
		}},
		{name: "without the anchors of the new entries", k: kind(two), r: func(k *boundKind) request {
			return k.indexRequest(two, berlin)
		}, touched: func(k *boundKind) func(before, after *driver.Document) []anchor {
			return func(before, after *driver.Document) []anchor {
				if before == nil {
					return nil
				}
				return k.touched("a", before, nil)
			}
		}},
		{name: "without the prefixes", k: kind(two), r: func(k *boundKind) request {
			return k.indexRequest(two, berlin)
		}, touched: func(k *boundKind) func(before, after *driver.Document) []anchor {
			return without(k, func(a anchor) bool { return a.typ == indexAnchor && a.id == two.anchorID(berlin) })
		}},
		{name: "without the prefixes that do not change", k: kind(two), r: func(k *boundKind) request {
			return under(k, two, predKind.Where(name.eq(1)).OrderBy(number.asc(false)), false)
		}, touched: func(k *boundKind) func(before, after *driver.Document) []anchor {
			return func(before, after *driver.Document) []anchor {
				all := k.touched("a", before, after)
				if before == nil || after == nil {
					return all
				}
				old, now := k.touched("a", before, nil), k.touched("a", nil, after)
				return slices.DeleteFunc(all, func(a anchor) bool { return slices.Contains(old, a) && slices.Contains(now, a) && a.typ == indexAnchor })
			}
		}},
		{name: "with the full entries alone", k: kind(sliced), r: func(k *boundKind) request {
			return k.indexRequest(sliced, berlin)
		}, touched: func(k *boundKind) func(before, after *driver.Document) []anchor {
			return without(k, func(a anchor) bool {
				_, values, err := parseIndexID(a.id)
				return a.typ == indexAnchor && (err != nil || len(values) < 2)
			})
		}},
		{name: "without the object", k: kind(two), r: func(k *boundKind) request { return k.objectRequest("a") },
			touched: func(k *boundKind) func(before, after *driver.Document) []anchor {
				return without(k, func(a anchor) bool { return a.typ == objectAnchor })
			}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			touched := right(tt.k)
			if tt.touched != nil {
				touched = tt.touched(tt.k)
			}
			first, changed := uncovered(t, tt.r(tt.k), coverWrites(tt.k, coverDocs(columns), touched))
			if (first == "") != tt.fine || changed == 0 {
				t.Errorf("%d changes, uncovered: %q", changed, first)
			}
		})
	}
	t.Run("edges", coverEdgesFail)
}

// coverEdgesFail breaks the rules of edges.
func coverEdgesFail(t *testing.T) {
	q := predLinks.Out(ID[predRecord]("a"))
	filtered := func(k *boundKind, h hop) request {
		r := k.storeRequest(&h, []string{"a"}, false)
		r.id, r.direct = "a", false
		return r
	}
	for _, tt := range []struct {
		name    string
		kind    *edgeKind
		h       hop
		touched func(k *edgeKind, old *driver.Edge, from, to string) []anchor
		r       func(k *boundKind, h hop) request
	}{
		{"a condition on the objects under the anchor of the list", predLinks.core, q.Where(predNamed("name").eq(1)).src.last, (*edgeKind).touchedWith, filtered},
		{"an order by the objects", predLinks.core, q.OrderBy(predNamed("name").asc(true)).src.last, (*edgeKind).touchedWith, filtered},
		{"without the far end that a to-one edge leaves", coverBoss.core, coverBoss.In(ID[predRecord]("a")).src.last,
			func(k *edgeKind, _ *driver.Edge, from, to string) []anchor { return k.touched(from, to) },
			func(k *boundKind, h hop) request { return k.listRequest(h.direction, "b", span{}) }},
		{"without the list of the far end", predLinks.core, predLinks.In(ID[predRecord]("a")).src.last,
			func(k *edgeKind, _ *driver.Edge, from, to string) []anchor { return k.touched(from, to)[:1] },
			func(k *boundKind, h hop) request { return k.countRequest(h.direction, "b", span{}) }},
		{"without the other list of a symmetric edge", coverFriends.core, coverFriends.Out(ID[predRecord]("b")).src.last,
			func(k *edgeKind, _ *driver.Edge, from, to string) []anchor { return k.touched(from, to)[:1] },
			func(k *boundKind, h hop) request { return k.listRequest(h.direction, "b", span{}) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := &boundKind{name: tt.kind.name, edge: tt.kind, fingerprint: 5}
			writes := coverEdgeWrites(tt.kind, func(old *driver.Edge, from, to string) []anchor { return tt.touched(tt.kind, old, from, to) })
			if tt.name == "an order by the objects" { // it takes two to have one
				writes = coverOrderWrites()
			}
			if first, _ := uncovered(t, tt.r(k, tt.h), writes); first == "" {
				t.Error("nothing is seen")
			}
		})
	}
}

// coverOrderWrites is the write of an object that changes its place among others.
func coverOrderWrites() []coverWrite {
	edges := map[string][]driver.Edge{"link": {{From: "a", To: "b", Time: predDay(1)}, {From: "a", To: "c", Time: predDay(1)}}}
	named := func(name string) driver.Document { return driver.Document{{Name: "name", Value: name}} }
	state := func(name string) *coverState {
		return &coverState{edges: edges, objects: map[string]driver.Object{"b": {ID: "b", Doc: named(name)}, "c": {ID: "c", Doc: named("m")}}}
	}
	a, z := named("a"), named("z")
	return []coverWrite{{"another name", state("a"), state("z"), coverKind(false).touched("b", &a, &z)}}
}
