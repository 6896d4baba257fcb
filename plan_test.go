package graphcache

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
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
