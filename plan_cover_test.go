package graphcache

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// What may be cached under an anchor is checked by brute force: for every operator and
// type, in every position of a hop, the hop is planned, and every fragment that the plan
// lets be cached is evaluated before and after every write of one record in a small
// universe. Where its value differs, the write must touch its anchor.

// coverState is a small database.
type coverState struct {
	objects map[string]driver.Object
	edges   map[string][]driver.Edge // by kind
}

// answer evaluates a step on the state.
func (s *coverState) answer(step driver.Step) (r driver.Result) {
	switch step.Op {
	case driver.GetObjects:
		for _, id := range step.IDs {
			if o, ok := s.objects[id]; ok {
				r.Objects = append(r.Objects, &o)
			} else {
				r.Objects = append(r.Objects, nil)
			}
		}
	case driver.FindObjects:
		s.findObjects(step, &r)
	case driver.FindEdges:
		s.findEdges(step, &r)
	default:
		for _, id := range step.IDs {
			list := s.list(step, id)
			r.Counts = append(r.Counts, len(list))
			if step.Op == driver.GetEdges {
				list = slices.DeleteFunc(list, func(e driver.Edge) bool { return !slices.Contains(step.Ends, farEnd(e, step.Direction, id)) })
			}
			r.Lists = append(r.Lists, coverPart(list, step.Range))
		}
	}
	return r
}

func coverPart[T any](all []T, r driver.Range) []T {
	all = all[min(r.Offset, len(all)):]
	if r.Limit > 0 {
		all = all[:min(r.Limit, len(all))]
	}
	return all
}

// list returns an object's edges between the bounds, newest first.
func (s *coverState) list(step driver.Step, id string) (list []driver.Edge) {
	symmetric := step.Kind == coverFriends.core.name
	for _, e := range s.edges[step.Kind] {
		near := e.From
		if step.Direction == driver.In {
			near = e.To
		}
		if (near != id && (!symmetric || e.To != id)) || !step.Range.High.IsZero() && e.Time.After(step.Range.High) || e.Time.Before(step.Range.Low) {
			continue
		}
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b driver.Edge) int {
		if c := b.Time.Compare(a.Time); c != 0 {
			return c
		}
		return strings.Compare(farEnd(a, step.Direction, id), farEnd(b, step.Direction, id))
	})
	return list
}

// coverCompare compares two records in an order.
func coverCompare(order []driver.Order, a, b func(*driver.Column) driver.Value) int {
	for _, o := range order {
		if c := driver.Compare(a(o.Column), b(o.Column)); c != 0 {
			if o.Desc {
				return -c
			}
			return c
		}
	}
	return 0
}

func (s *coverState) findObjects(step driver.Step, r *driver.Result) {
	for id, o := range s.objects {
		if !o.Deleting && step.Filter.Matches(s.object(id)) {
			r.IDs = append(r.IDs, id)
		}
	}
	slices.SortFunc(r.IDs, func(a, b string) int {
		if c := coverCompare(step.Order, s.object(a), s.object(b)); c != 0 {
			return c
		}
		return strings.Compare(a, b)
	})
	r.IDs = slices.DeleteFunc(r.IDs, func(id string) bool { return step.After != nil && !s.after(step, id) })
	r.Counts = []int{len(r.IDs)}
	r.IDs = coverPart(r.IDs, step.Range)
	for _, id := range r.IDs {
		r.Keys = append(r.Keys, coverKeys(step.Order, s.object(id)))
	}
}

// coverKeys are a record's values in the columns of the order.
func coverKeys(order []driver.Order, get func(*driver.Column) driver.Value) (keys []driver.Value) {
	for _, o := range order {
		keys = append(keys, get(o.Column))
	}
	return keys
}

// after reports whether the object comes after the step's place.
func (s *coverState) after(step driver.Step, id string) bool {
	at := func(c *driver.Column) driver.Value {
		i := slices.IndexFunc(step.Order, func(o driver.Order) bool { return o.Column == c })
		return step.After[i]
	}
	c := coverCompare(step.Order, s.object(id), at)
	return c > 0 || c == 0 && id > step.After[len(step.Order)].(string)
}

func (s *coverState) object(id string) func(*driver.Column) driver.Value {
	o := s.objects[id]
	return func(c *driver.Column) driver.Value { return c.ValueIn(&o, nil) }
}

// findEdges is enough of the step to see what it depends on.
func (s *coverState) findEdges(step driver.Step, r *driver.Result) {
	for _, id := range step.IDs {
		for _, e := range s.list(step, id) {
			far := s.objects[farEnd(e, step.Direction, id)]
			if step.Far != "" && (far.ID == "" || far.Deleting) {
				continue
			}
			if step.Filter.Matches(func(c *driver.Column) driver.Value { return c.ValueIn(&far, &e) }) {
				r.Rows = append(r.Rows, driver.Row{ID: id, Edge: e})
			}
		}
	}
	get := func(row driver.Row) func(*driver.Column) driver.Value {
		far := s.objects[farEnd(row.Edge, step.Direction, row.ID)]
		return func(c *driver.Column) driver.Value { return c.ValueIn(&far, &row.Edge) }
	}
	slices.SortStableFunc(r.Rows, func(a, b driver.Row) int { return coverCompare(step.Order, get(a), get(b)) })
	for _, row := range r.Rows {
		r.Keys = append(r.Keys, coverKeys(step.Order, get(row)))
	}
	r.Counts = []int{len(r.Rows)}
}

// coverWrite is a write of one record, as the two states around it and the anchors that
// it touches.
type coverWrite struct {
	what          string
	before, after *coverState
	touched       []anchor
}

// coverValue is the value of a request in a state: what would be cached.
func coverValue(t *testing.T, r request, s *coverState) string {
	t.Helper()
	steps, places := stepsFor([]*request{&r})
	results := make([]driver.Result, len(steps))
	for i := range steps {
		results[i] = s.answer(steps[i])
	}
	v, err := r.encode(results, places[0])
	if err != nil {
		t.Fatalf("%s: %v", r.label(), err)
	}
	return fmt.Sprintf("%d %x %v", v.flags, v.body, v.rows)
}

// uncovered returns the first write that changes the request's value and does not touch
// its anchor, "" if there is none; changed is how many writes change it.
func uncovered(t *testing.T, r request, writes []coverWrite) (first string, changed int) {
	t.Helper()
	values := map[*coverState]string{}
	value := func(s *coverState) string {
		v, ok := values[s]
		if !ok {
			v = coverValue(t, r, s)
			values[s] = v
		}
		return v
	}
	own := anchor{typ: r.typ, kind: r.kind.name, id: r.id}
	for i := range writes {
		w := &writes[i]
		if value(w.before) == value(w.after) {
			continue
		}
		changed++
		if first == "" && !slices.Contains(w.touched, own) {
			first = fmt.Sprintf("%s changes %q to %q and touches %v", w.what, value(w.before), value(w.after), w.touched)
		}
	}
	return first, changed
}

// coverRequests are all fragments that a hop from a kind may have cached, in every way in
// which it can be run. What is asked of the store alone is none of them.
func coverRequests(k *boundKind, h *hop, p hopPlan) (reqs []request) {
	switch p.access {
	case ByIndex, ByIndexOrder:
		for _, values := range p.prefixes {
			reqs = append(reqs, k.indexRequest(p.index, values))
		}
		if p.exact && len(p.prefixes) == 1 {
			probe := *h
			probe.order = nil
			if p.access == ByIndexOrder || len(h.order) == 0 {
				reqs = append(reqs, k.orderRequest(h, p, false))
			}
			reqs = append(reqs, k.orderRequest(&probe, p, true))
		}
	case ByScan:
		reqs = append(reqs, k.searchRequest(kindAnchor, "", h, false), k.searchRequest(kindAnchor, "", h, true))
	}
	if p.access != ByStore {
		reqs = append(reqs, k.objectRequest("a"))
	}
	return reqs
}

// coverLists are all fragments that a hop along edges may have cached.
func coverLists(k *boundKind, h *hop) (reqs []request) {
	s := span{high: h.high, low: h.low, offset: h.offset, limit: h.limit}
	for _, id := range []string{"a", "b"} {
		reqs = append(reqs, k.listRequest(h.direction, id, s), k.probeRequest(h.direction, id), k.spanRequest(h.direction, id, s),
			k.countRequest(h.direction, id, s), k.endRequest(h.direction, id, "a"))
	}
	return reqs
}

// coverIndexes are the indexes of the universe: a string, compound ones, one with a
// slice first and one with a slice last, one on what may be nil, one on a number with a
// fraction.
func coverIndexes() []*index {
	col := func(name string) AnyField[predRecord] {
		i := slices.IndexFunc(predColumns, func(c predColumn) bool { return c.name == name })
		return predIndexed(&predColumns[i])
	}
	var all []*index
	for _, names := range []string{"name", "name int", "tags name", "nick name tags", "float nick", "addr at", "in.depth maybe", "flag opt"} {
		var fields []AnyField[predRecord]
		for _, name := range strings.Fields(names) {
			fields = append(fields, col(name))
		}
		ix := NewIndex(strings.ReplaceAll(names, " ", "_"), predKind, fields...).core
		if ix.err != nil {
			panic(ix.err)
		}
		all = append(all, ix)
	}
	return all
}

// coverKind is the kind with some of the indexes.
func coverKind(scans bool, indexes ...*index) *boundKind {
	object := *predKind.core
	object.scans = scans
	k := &boundKind{name: "rec", object: &object, fingerprint: 5, indexes: indexes, registered: new(atomic.Pointer[registered])}
	k.registered.Store(&registered{scans: scans, scanReady: scans, fields: fieldsOf(indexes)})
	return k
}

// coverDoc is a document with the values; columns that it lacks are missing.
func coverDoc(values map[*column]driver.Value) driver.Document {
	var doc driver.Document
	for i := range predColumns {
		c := predColumns[i].col
		v, ok := values[c]
		if !ok || c.Of != driver.ObjectField {
			continue
		}
		doc = withValue(doc, c.Path, v)
	}
	return doc
}

var coverLong = strings.Repeat("x", maxIndexValue+1)

// coverDocs are documents whose values in the columns differ: one of those that match,
// and from it one step in every column, with an index's limits among them.
func coverDocs(columns []*column) (docs []driver.Document) {
	base := map[*column]driver.Value{}
	alternatives := map[*column][]driver.Value{}
	for _, c := range columns {
		p := &predColumns[slices.IndexFunc(predColumns, func(p predColumn) bool { return p.col == c })]
		values := predSpecials(p)
		if _, ok := p.col.Zero.(string); ok && c.plan != nil && c.plan.IsString() || p.name == "nick" {
			values = append(values, coverLong, coverLong+"y")
		}
		base[c], alternatives[c] = values[1], values
	}
	docs = append(docs, coverDoc(base), coverDoc(nil))
	for _, c := range columns {
		for _, v := range alternatives[c] {
			one := map[*column]driver.Value{}
			for d, w := range base {
				one[d] = w
			}
			one[c] = v
			docs = append(docs, coverDoc(one))
		}
	}
	slices.SortFunc(docs, func(a, b driver.Document) int { return driver.Compare(a, b) })
	return slices.CompactFunc(docs, func(a, b driver.Document) bool { return driver.Compare(a, b) == 0 })
}

// coverWrites are all writes of the object "a", beside an object "b" that has one of a few
// documents. The universe is every document, none, and a mark.
func coverWrites(k *boundKind, docs []driver.Document, touched func(before, after *driver.Document) []anchor) (writes []coverWrite) {
	records := []*driver.Object{nil}
	for i, doc := range docs {
		records = append(records, &driver.Object{ID: "a", Version: 1, Doc: doc})
		if i%8 == 0 {
			records = append(records, &driver.Object{ID: "a", Version: 1, Doc: doc, Deleting: true})
		}
	}
	for _, other := range []int{0, len(docs) / 2} {
		states := make([]*coverState, len(records))
		for i, r := range records {
			states[i] = &coverState{objects: map[string]driver.Object{"b": {ID: "b", Version: 1, Doc: docs[other]}}}
			if r != nil {
				states[i].objects["a"] = *r
			}
		}
		for i, before := range records {
			for j, after := range records {
				if i == j || before != nil && before.Deleting && after != nil {
					continue // what is marked is only removed
				}
				var a, b *driver.Document
				if before != nil {
					a = present(before)
				}
				if after != nil {
					b = present(after)
				}
				writes = append(writes, coverWrite{fmt.Sprintf("%v to %v", before, after), states[i], states[j], touched(a, b)})
				if w, ok := coverModify(k, before, after); ok {
					writes = append(writes, coverWrite{fmt.Sprintf("in place, %v to %v", before, after), states[i], states[j], w})
				}
			}
		}
	}
	return writes
}

// coverModify returns what a change in place touches, if it can be one: it leaves every
// field of an index as it is.
func coverModify(k *boundKind, before, after *driver.Object) ([]anchor, bool) {
	if before == nil || after == nil || before.Deleting || after.Deleting {
		return nil, false
	}
	for i := range predColumns {
		c := predColumns[i].col
		changed := c.Of == driver.ObjectField && driver.Compare(c.Value(before.Doc), c.Value(after.Doc)) != 0
		if changed && !k.inPlace([]change{{col: c}}) {
			return nil, false
		}
	}
	anchors := []anchor{{objectAnchor, k.name, "a"}}
	if k.object.scans {
		anchors = append(anchors, anchor{typ: kindAnchor, kind: k.name})
	}
	return anchors, true
}

// coverPredicates are the predicates of every operator that the column's type has.
func coverPredicates(c *predColumn) (all []Predicate[predRecord]) {
	all = append(all, c.eq(1), c.ne(1), c.in([]int{0, 1}))
	if c.isZero != nil {
		all = append(all, c.isZero())
	}
	if c.isNil != nil {
		all = append(all, c.isNil(), Not(c.isNil()))
	}
	for op := driver.Less; op <= driver.Contains; op++ {
		if c.compare[op] != nil {
			all = append(all, c.compare[op](1), Not(c.compare[op](1)))
		}
	}
	if c.has != nil {
		all = append(all, c.has(1), Not(c.has(1)), And(c.has(0), c.has(1)))
	}
	return all
}

func predNamed(name string) *predColumn {
	return &predColumns[slices.IndexFunc(predColumns, func(c predColumn) bool { return c.name == name })]
}

// indexEquality is what an index needs of its first n columns.
func indexEquality(ix *index, n int) (all []Predicate[predRecord]) {
	for _, c := range ix.columns[:n] {
		if p := predNamed(c.Name()); p.has != nil {
			all = append(all, p.has(1))
		} else {
			all = append(all, p.eq(1))
		}
	}
	return all
}

// coverCase is a hop to be planned, and the kind with whose indexes.
type coverCase struct {
	k *boundKind
	q Query[predRecord, NoEdge]
}

// coverCases are every operator of every column in every position: alone, beside what each
// index needs of its first columns, negated, in an Or, with and without an order.
func coverCases(c *predColumn, indexes []*index) (cases []coverCase) {
	other := predNamed("small")
	for _, p := range coverPredicates(c) {
		for _, positioned := range []Predicate[predRecord]{p, Not(p), Or(p, other.eq(1)), Or(And(p, other.eq(1)), other.eq(2))} {
			for _, scans := range []bool{false, true} {
				cases = append(cases, coverCase{coverKind(scans), predKind.Where(positioned)})
			}
			for _, ix := range indexes {
				for n := range len(ix.columns) + 1 {
					where := append(indexEquality(ix, n), positioned)
					cases = append(cases, coverCase{coverKind(false, ix), predKind.Where(where...)})
				}
			}
		}
	}
	if c.asc == nil {
		return cases
	}
	for _, desc := range []bool{false, true} {
		cases = append(cases, coverCase{coverKind(true), predKind.Where(other.eq(1)).OrderBy(c.asc(desc)).Limit(1)})
		for _, ix := range indexes {
			for n := 1; n <= len(ix.columns); n++ {
				q := predKind.Where(indexEquality(ix, n)...)
				cases = append(cases, coverCase{coverKind(false, ix), q.OrderBy(c.asc(desc))},
					coverCase{coverKind(false, ix), q.OrderBy(predNamed("int").asc(false), c.asc(desc)).Limit(1)},
					coverCase{coverKind(false, ix), q.OrderBy(c.asc(desc), predNamed("nick").asc(true)).Offset(1)},
					coverCase{coverKind(false, ix), q.OrderBy(predNamed("ID").asc(desc), c.asc(false))})
			}
		}
	}
	return cases
}

// columns are those that the hop and the indexes of its kind look at.
func (c *coverCase) columns(h *hop) []*column {
	var all []*column
	add := func(c *column) {
		if c.Of == driver.ObjectField && !slices.ContainsFunc(all, c.same) {
			all = append(all, predNamed(c.Name()).col)
		}
	}
	var walk func(of []pred)
	walk = func(of []pred) {
		for i := range of {
			if walk(of[i].of); of[i].isLeaf() {
				add(of[i].col)
			}
		}
	}
	walk(h.where)
	for _, k := range h.order {
		add(k.col)
	}
	for _, ix := range c.k.indexes {
		for _, col := range ix.columns {
			add(col)
		}
	}
	return all
}

// TestCoverObjects: every fragment of every hop from a kind is covered by its anchor.
func TestCoverObjects(t *testing.T) {
	indexes := coverIndexes()
	accesses, changes := map[Access]int{}, 0
	universes := map[string][]coverWrite{}
	checked := map[string]bool{}
	for i := range predColumns {
		for _, c := range coverCases(&predColumns[i], indexes) {
			h := c.q.src.path()[0]
			if c.q.src.err != nil {
				t.Fatal(c.q.src.err)
			}
			p := planHop(&h, c.k, true)
			accesses[p.access]++
			columns := c.columns(&h)
			universe := fmt.Sprint(c.k.object.scans, columnNames(columns), len(c.k.indexes))
			for _, ix := range c.k.indexes {
				universe += ix.name
			}
			for _, r := range coverRequests(c.k, &h, p) {
				if r.direct {
					t.Fatalf("%s: a direct request is cached", predsString(h.where))
				}
				if key := universe + r.anchor + r.id + r.field; checked[key] {
					continue
				} else {
					checked[key] = true
				}
				if universes[universe] == nil {
					universes[universe] = coverWrites(c.k, coverDocs(columns), func(before, after *driver.Document) []anchor {
						return c.k.touched("a", before, after)
					})
				}
				first, n := uncovered(t, r, universes[universe])
				changes += n
				if first != "" {
					t.Fatalf("where %s order %s, %v of %v: %s", predsString(h.where), orderString(h.order), p.access, r.describe(), first)
				}
			}
		}
	}
	for _, a := range []Access{ByID, ByIndex, ByIndexOrder, ByScan, ByStore} {
		if accesses[a] == 0 {
			t.Errorf("no case is answered %v", a)
		}
	}
	t.Logf("%v hops, %d fragments, %d times one changed", accesses, len(checked), changes)
}

func columnNames(columns []*column) (names []string) {
	for _, c := range columns {
		names = append(names, c.Name())
	}
	slices.Sort(names)
	return names
}

// The edge kinds of the universe of edges.
var (
	coverBoss    = NewEdgeKind[predEdge]("boss", predKind, predKind).ToOne()
	coverFriends = NewEdgeKind[predEdge]("friends", predKind, predKind).Symmetric()
)

// coverEdgeWrites are all writes of one edge of a kind and of one object, between three
// objects.
func coverEdgeWrites(k *edgeKind, touched func(old *driver.Edge, from, to string) []anchor) (writes []coverWrite) {
	day := []time.Time{predDay(1), predDay(2)}
	data := []driver.Document{{{Name: "note", Value: "x"}}, {{Name: "note", Value: "y"}, {Name: "weight", Value: 1.5}}}
	objects := map[string]driver.Object{"a": {ID: "a"}, "b": {ID: "b"}, "c": {ID: "c"}}
	state := func(edges ...driver.Edge) *coverState {
		return &coverState{objects: objects, edges: map[string][]driver.Edge{k.name: edges}}
	}
	standing := driver.Edge{From: "c", To: "c", Time: day[0], Data: data[0]}
	for _, pair := range [][2]string{{"a", "b"}, {"b", "a"}, {"a", "a"}, {"a", "c"}} {
		from, to := k.sort(pair[0], pair[1])
		var variants []*driver.Edge
		for i := range 4 {
			variants = append(variants, &driver.Edge{From: from, To: to, Time: day[i%2], Data: data[i/2]})
		}
		if k.toOne { // the edge that is replaced may lead elsewhere
			for _, far := range []string{"a", "b", "c"} {
				variants = append(variants, &driver.Edge{From: from, To: far, Time: day[0], Data: data[0]})
			}
		}
		for i, old := range append(variants, nil) {
			for j, edge := range append(variants, nil) {
				if i == j {
					continue
				}
				before, after := state(standing), state(standing)
				a := k.touched(from, to)
				if old != nil {
					before = state(standing, *old)
					a = touched(old, old.From, old.To)
				}
				if edge != nil {
					after = state(standing, *edge)
					a = touched(old, edge.From, edge.To)
				}
				writes = append(writes, coverWrite{fmt.Sprintf("%v to %v", old, edge), before, after, a})
			}
		}
	}
	// An object at the end of an edge is written, marked and removed.
	edge := driver.Edge{From: "a", To: "b", Time: day[0], Data: data[0]}
	docs := []driver.Document{nil, {{Name: "name", Value: "a"}}}
	for _, doc := range docs {
		for _, o := range []driver.Object{{ID: "b", Doc: docs[1]}, {ID: "b", Deleting: true}, {}} {
			after := state(edge)
			after.objects = map[string]driver.Object{"a": {ID: "a"}}
			if o.ID != "" {
				after.objects["b"] = o
			}
			before := state(edge)
			before.objects = map[string]driver.Object{"a": {ID: "a"}, "b": {ID: "b", Doc: doc}}
			writes = append(writes, coverWrite{fmt.Sprintf("the object %v", o), before, after, coverKind(false).touched("b", &doc, present(&o))})
		}
	}
	return writes
}

// coverHops are hops along edges with conditions and orders on edges and on objects, of
// every operator and type.
func coverHops(k *EdgeKind[predRecord, predRecord, predEdge]) (hops []hop) {
	note := StringFieldOf(k, func(e *Edge[predRecord, predRecord, predEdge]) *string { return &e.Data.Note })
	weight := OrderedFieldOf(k, func(e *Edge[predRecord, predRecord, predEdge]) *float64 { return &e.Data.Weight })
	at := OrderedFieldOf(k, func(e *Edge[predRecord, predRecord, predEdge]) *time.Time { return &e.Time })
	for _, q := range []predQuery{k.Out(ID[predRecord]("a")), k.In(ID[predRecord]("a")), k.Out(IDs[predRecord]{"a", "b"})} {
		queries := []predQuery{
			q, q.Limit(1), q.Offset(1).Limit(1), q.LimitPer(1), q.Distinct(), q.Since(predDay(2)), q.Until(predDay(1)).Limit(1),
			q.OrderByEdge(at.Asc()), q.OrderByEdge(at.Desc(), note.Asc()), q.OrderByEdge(weight.Desc()).Limit(1),
			q.WhereEdge(note.Eq("x")), q.WhereEdge(note.Ne("x")).Limit(1), q.WhereEdge(Or(note.Contains("x"), weight.Gt(1))),
			q.WhereEdge(at.Eq(predDay(1))), q.WhereEdge(at.Gt(predDay(1))), q.WhereEdge(note.In("x", "z"), weight.IsZero()),
		}
		for i := range predColumns {
			c := &predColumns[i]
			for _, p := range coverPredicates(c) {
				queries = append(queries, q.Where(p), q.Where(Not(p)).Limit(1), q.Where(Or(p, predNamed("small").eq(1))).WhereEdge(note.Eq("x")))
			}
			if c.asc != nil {
				queries = append(queries, q.OrderBy(c.asc(false)), q.OrderBy(c.asc(true)).Limit(1).Offset(1), q.WhereEdge(note.Eq("x")).OrderBy(c.asc(true)))
			}
		}
		for _, q := range queries {
			if q.src.err != nil {
				panic(q.src.err)
			}
			hops = append(hops, q.src.path()[0])
		}
	}
	return hops
}

// TestCoverEdges: so is every fragment of every hop along edges.
func TestCoverEdges(t *testing.T) {
	for _, kind := range []*EdgeKind[predRecord, predRecord, predEdge]{predLinks, coverBoss, coverFriends} {
		t.Run(kind.core.name, func(t *testing.T) {
			k := &boundKind{name: kind.core.name, edge: kind.core, fingerprint: 5}
			writes := coverEdgeWrites(kind.core, kind.core.touchedWith)
			changes, checked := 0, map[string]bool{}
			for _, h := range coverHops(kind) {
				if p := planHop(&h, k, true); p.access != ByLists {
					t.Fatalf("planned %v", p.access)
				}
				if p := planHop(&h, k, false); p.access == ByLists && !h.plain() {
					t.Fatal("conditions on lists without a cache")
				}
				for _, r := range coverLists(k, &h) {
					if key := fmt.Sprint(r.typ, r.id, r.field, r.size); checked[key] {
						continue
					} else {
						checked[key] = true
					}
					first, n := uncovered(t, r, writes)
					changes += n
					if first != "" {
						t.Fatalf("%v: %s", r.describe(), first)
					}
				}
				if r := k.storeRequest(&h, []string{"a"}, false); !r.direct {
					t.Fatal("a search along edges is cached")
				}
			}
			if changes == 0 {
				t.Error("no write changes anything")
			}
		})
	}
}

// TestCoverMoves: a change of an edge's kind touches the lists of both kinds.
func TestCoverMoves(t *testing.T) {
	for _, kind := range []*EdgeKind[predRecord, predRecord, predEdge]{predLinks, coverFriends} {
		other := *kind.core
		other.name = "others"
		edge := driver.Edge{From: "a", To: "b", Time: predDay(1)}
		write := coverWrite{"a move",
			&coverState{edges: map[string][]driver.Edge{kind.core.name: {edge}}},
			&coverState{edges: map[string][]driver.Edge{"others": {edge}}},
			append(kind.core.touched("a", "b"), other.touched("a", "b")...)}
		for _, k := range []*edgeKind{kind.core, &other} {
			b := &boundKind{name: k.name, edge: k}
			for _, h := range coverHops(kind)[:1] {
				for _, r := range coverLists(b, &h) {
					if first, _ := uncovered(t, r, []coverWrite{write}); first != "" {
						t.Errorf("%v: %s", r.describe(), first)
					}
				}
			}
		}
	}
}
