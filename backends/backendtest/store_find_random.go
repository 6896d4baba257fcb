package backendtest

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// sort is a column with the values that it may have in the random tests: few, so
// that they often meet. Filters use those that are neither nil nor NaN.
type sort struct {
	column *driver.Column
	values []driver.Value
}

func tagColumn() *driver.Column { return &driver.Column{Path: []string{"tags"}, List: true} }

func renamedColumn() *driver.Column {
	return &driver.Column{Path: []string{"renamed"}, Was: [][]string{{"old", "older"}}, Type: driver.StringType}
}

func deepColumn() *driver.Column {
	return &driver.Column{Path: []string{"outer", "inner"}, Was: [][]string{{"was"}, {"before"}}, Zero: "-"}
}

// countColumn is a number that is 0 where it is missing.
func countColumn() *driver.Column {
	return &driver.Column{Path: []string{"count"}, Zero: int64(0), Type: driver.IntType}
}

// sevenColumn is 7 where it is missing.
func sevenColumn() *driver.Column {
	return &driver.Column{Path: []string{"zero"}, Zero: int64(7), Type: driver.IntType}
}

func textColumn() *driver.Column  { return typed(field("text"), driver.StringType) }
func bytesColumn() *driver.Column { return typed(field("bytes"), driver.BytesType) }
func whenColumn() *driver.Column  { return typed(field("when"), driver.TimeType) }
func flagColumn() *driver.Column  { return typed(field("flag"), driver.BoolType) }

// thingIndexes has an index for most of the random columns, alone and with others.
func thingIndexes() []driver.Index {
	number, text, tags := *field("number"), *textColumn(), *tagColumn()
	count, renamed, deep := *countColumn(), *renamedColumn(), *deepColumn()
	return []driver.Index{
		{Name: "number", Columns: []driver.Column{number}},
		{Name: "text", Columns: []driver.Column{text, count}},
		{Name: "tags", Columns: []driver.Column{tags}},
		{Name: "tags in front", Columns: []driver.Column{tags, number}},
		{Name: "tags behind", Columns: []driver.Column{count, tags}},
		{Name: "renamed", Columns: []driver.Column{renamed, deep, *byID}},
		{Name: "zero", Columns: []driver.Column{*sevenColumn()}},
		{Name: "flag", Columns: []driver.Column{*flagColumn(), *whenColumn(), *bytesColumn()}},
	}
}

func objectSorts() []sort {
	list := func(values ...driver.Value) driver.Value { return values }
	return []sort{
		{byID, []driver.Value{"a", "c", "e", "ee", "A"}},
		{field("number"), []driver.Value{nil, math.NaN(), int64(1), 1.0, int64(2), 1.5, uint64(1 << 63), float64(1 << 63), math.Inf(-1)}},
		{countColumn(), []driver.Value{nil, int64(0), int64(0), int64(1), int64(-1)}},
		{textColumn(), []driver.Value{nil, "", "a", "ab", "b", "A"}},
		{renamedColumn(), []driver.Value{nil, "x", "xy", "z"}},
		{deepColumn(), []driver.Value{"-", "x", "y"}},
		{bytesColumn(), []driver.Value{nil, []byte{}, []byte{1}, []byte{1, 2}, []byte{200}}},
		{whenColumn(), []driver.Value{nil, time.UnixMilli(-5).UTC(), time.UnixMilli(0).UTC(), time.UnixMilli(7).UTC()}},
		{flagColumn(), []driver.Value{nil, true, false}},
		{tagColumn(), []driver.Value{nil, list(), list("a"), list("a", "b"), list("b", "a", "b"), list(int64(1)), list(1.0, "b")}},
	}
}

func edgeSorts() []sort {
	return []sort{
		{edgeField("weight"), []driver.Value{nil, int64(1), 1.0, 2.5, math.NaN(), int64(3)}},
		{&driver.Column{Of: driver.EdgeField, Path: []string{"note"}, Was: [][]string{{"remark"}}, Zero: "", Type: driver.StringType}, []driver.Value{"", "a", "b"}},
		{byTime, []driver.Value{time.UnixMilli(-1).UTC(), time.UnixMilli(0).UTC(), time.UnixMilli(1).UTC(), time.UnixMilli(2).UTC()}},
	}
}

// finder makes random records and steps.
type finder struct {
	*rand.Rand
	h     *StoreHarness
	model *findModel
	// version is the last one that was given.
	version int64
}

var findIDs = []string{"a", "b", "c", "d", "e", "ee", "A", "é", "f", "g"}

// findRandom compares random steps on random records with the model.
func (r *storeRig) findRandom() {
	seed := rand.Uint64()
	r.Logf("seed %d", seed)
	f := &finder{Rand: rand.New(rand.NewPCG(seed, 0)), h: &r.h, model: &findModel{
		objects: make(map[string]*driver.Object),
		edges: map[string]*edgeModel{
			likes:   {edges: make(map[[2]string]driver.Edge)},
			prefers: {edges: make(map[[2]string]driver.Edge), toOne: true},
			pairs:   {edges: make(map[[2]string]driver.Edge), symmetric: true},
		},
	}}
	for round := range cmp.Or(r.h.Rounds, defaultRounds) {
		writes := f.writes()
		r.done(r.s, writes...)
		f.model.apply(writes)
		var steps []driver.Step
		for range 25 {
			steps = append(steps, f.steps(f.objectStep())...)
			steps = append(steps, f.steps(f.edgeStep())...)
		}
		r.answers(f.model, steps)
		if r.Failed() {
			r.Fatalf("in round %d", round)
		}
	}
}

// answers compares the results of steps with those of the model.
func (r *storeRig) answers(m *findModel, steps []driver.Step) {
	r.Helper()
	for batch := range slices.Chunk(steps, 200) {
		results, err := r.s.Read(r.Context(), batch, "")
		if err != nil || len(results) != len(batch) {
			r.Fatalf("Read: %d results for %d, %v", len(results), len(batch), err)
		}
		for i := range batch {
			r.equal(describeStep(&batch[i]), results[i], m.answer(&batch[i]))
		}
	}
}

// describeStep names the rules that a step is about, and has what is needed to
// understand what broke them.
func describeStep(s *driver.Step) string {
	var order []string
	for _, o := range s.Order {
		order = append(order, fmt.Sprintf("%s desc %v", o.Column.Name(), o.Desc))
	}
	what := map[driver.Op]string{driver.FindObjects: "FindObjects", driver.FindEdges: "FindEdges"}[s.Op]
	return fmt.Sprintf("%s of %s applies Range's bounds of time, Filter, Order, LimitPer, Distinct, After, Offset and Limit in this order: "+
		"direction %d, IDs %q, far %q, bounds %v–%v, %s, order [%s], LimitPer %d, Distinct %v, After %v, Offset %d, Limit %d, Count %v",
		what, s.Kind, s.Direction, s.IDs, s.Far, s.Range.Low, s.Range.High, describeFilter(s.Filter), strings.Join(order, ", "),
		s.LimitPer, s.Distinct, s.After, s.Range.Offset, s.Range.Limit, s.Count)
}

// writes changes about a third of what is there.
func (f *finder) writes() []driver.Write {
	var writes []driver.Write
	for _, id := range findIDs {
		if f.IntN(3) > 0 && f.version > 100 {
			continue
		}
		o := &driver.Object{ID: id, Version: f.next(), Deleting: f.IntN(6) == 0, Doc: f.document()}
		writes = append(writes, f.write(f.model.objects[id] != nil, driver.Write{Kind: things, Object: o}))
	}
	for kind, m := range f.model.edges {
		written := make(map[[2]string]bool)
		for range 15 {
			e := f.edge(m.symmetric)
			if key := m.key(e); !written[key] {
				_, there := m.edges[key]
				writes = append(writes, f.write(there, driver.Write{Kind: kind, Edge: e}))
				written[key] = true
			}
		}
	}
	return writes
}

// write chooses an operation that must succeed.
func (f *finder) write(there bool, w driver.Write) driver.Write {
	switch {
	case !there:
		w.Op = driver.Insert
	case f.IntN(4) == 0:
		w.Op = driver.Delete
	default:
		w.Op = driver.Replace
	}
	return w
}

func (f *finder) next() int64 {
	f.version++
	return f.version
}

func (f *finder) edge(symmetric bool) *driver.Edge {
	from, to := pick(f, findIDs), pick(f, findIDs)
	if symmetric && to < from {
		from, to = to, from
	}
	e := edgeAt(from, to, f.next(), int64(f.IntN(4)-1))
	for _, s := range edgeSorts()[:2] {
		if f.IntN(4) > 0 {
			e.Data = append(e.Data, driver.Field{Name: s.column.Path[0], Value: f.value(s)})
		}
	}
	if remark := (driver.Document{{Name: "remark", Value: "b"}}); f.IntN(3) == 0 && f.h.holds(remark) {
		e.Data = append(e.Data, remark...)
	}
	return e
}

// document makes a document with most of the columns, some under older names.
func (f *finder) document() driver.Document {
	var doc driver.Document
	for _, s := range objectSorts()[1:] {
		if f.IntN(5) == 0 {
			continue
		}
		names := []string{s.column.Path[0]}
		if s.column.Was != nil {
			names = append(names, s.column.Was[0]...)
		}
		value := f.value(s)
		if len(s.column.Path) > 1 {
			value = driver.Document{{Name: []string{"inner", "before"}[f.IntN(2)], Value: value}}
		}
		doc = append(doc, driver.Field{Name: pick(f, names), Value: value})
		if len(names) > 2 && f.IntN(2) == 0 {
			doc = append(doc, driver.Field{Name: "older", Value: "z"})
		}
	}
	return f.shuffled(doc)
}

// shuffled puts the fields in another order and drops a name's second field.
func (f *finder) shuffled(doc driver.Document) driver.Document {
	f.Shuffle(len(doc), func(i, j int) { doc[i], doc[j] = doc[j], doc[i] })
	var once driver.Document
	for _, field := range doc {
		if _, there := once.Get(field.Name); !there {
			once = append(once, field)
		}
	}
	return once
}

// value picks one of a column's values that the database can hold.
func (f *finder) value(s sort) driver.Value { return pick(f, f.h.held(s.values)) }

func pick[T any](f *finder, from []T) T { return from[f.IntN(len(from))] }

// objectStep makes a FindObjects without a page.
func (f *finder) objectStep() driver.Step {
	sorts := objectSorts()
	return driver.Step{Op: driver.FindObjects, Kind: things, Filter: f.filter(sorts), Order: f.order(sorts)}
}

// edgeStep makes a FindEdges without a page.
func (f *finder) edgeStep() driver.Step {
	sorts := edgeSorts()
	s := driver.Step{Op: driver.FindEdges, Kind: pick(f, []string{likes, prefers, pairs}), Direction: driver.Direction(f.IntN(2))}
	if s.Kind == pairs {
		s.Direction = driver.Out
	}
	for _, i := range f.Perm(len(findIDs))[:f.IntN(len(findIDs)+1)] {
		s.IDs = append(s.IDs, findIDs[i])
	}
	if f.IntN(2) == 0 {
		s.Far = things
		sorts = append(sorts, objectSorts()...)
	}
	if f.IntN(2) == 0 {
		s.Filter = f.filter(sorts)
	}
	if f.IntN(3) > 0 {
		s.Order = f.order(sorts)
	}
	if f.IntN(3) == 0 {
		s.LimitPer = 1 + f.IntN(3)
	}
	if f.IntN(3) == 0 {
		s.Range.High, s.Range.Low = time.UnixMilli(int64(f.IntN(3))).UTC(), time.UnixMilli(int64(f.IntN(3)-1)).UTC()
	}
	s.Distinct = f.IntN(3) == 0
	return s
}

// order sorts by up to three columns.
func (f *finder) order(sorts []sort) []driver.Order {
	var order []driver.Order
	for range f.IntN(4) {
		order = append(order, driver.Order{Column: pick(f, sorts).column, Desc: f.IntN(2) == 0})
	}
	return order
}

// filter makes a filter, often one that an index can answer.
func (f *finder) filter(sorts []sort) *driver.Filter {
	var filter driver.Filter
	switch f.IntN(5) {
	case 0:
		return nil
	case 1, 2:
		filter.Op = driver.And
		for range 1 + f.IntN(3) {
			filter.Of = append(filter.Of, f.equal(pick(f, sorts)))
		}
	case 3:
		filter = f.equal(pick(f, sorts))
	default:
		filter = f.tree(sorts, 3)
	}
	return &filter
}

func (f *finder) equal(s sort) driver.Filter {
	if s.column.List && f.IntN(4) > 0 {
		return on(s.column, driver.Has, f.element())
	}
	var values []driver.Value
	for range f.IntN(3) + f.IntN(2) {
		if v := f.value(s); !isNaN(v) {
			values = append(values, v)
		}
	}
	return on(s.column, driver.AnyOf, values...)
}

func (f *finder) element() driver.Value {
	return pick(f, []driver.Value{"a", "b", "none", int64(1), 1.0})
}

// tree makes a filter of any form.
func (f *finder) tree(sorts []sort, depth int) driver.Filter {
	op := driver.FilterOp(1 + f.IntN(6))
	if depth == 0 || op > driver.Not {
		return f.leaf(pick(f, sorts))
	}
	filter := driver.Filter{Op: op}
	n := f.IntN(4)
	if op == driver.Not {
		n = 1
	}
	for range n {
		filter.Of = append(filter.Of, f.tree(sorts, depth-1))
	}
	return filter
}

func (f *finder) leaf(s sort) driver.Filter {
	v := f.value(s)
	_, text := v.(string)
	switch {
	case v == nil || isNaN(v) || s.column.List || f.IntN(4) == 0:
		return f.equal(s)
	case text && f.IntN(3) == 0:
		return on(s.column, []driver.FilterOp{driver.HasPrefix, driver.Contains}[f.IntN(2)], v)
	}
	return on(s.column, driver.Less+driver.FilterOp(f.IntN(4)), v)
}

func isNaN(v driver.Value) bool {
	n, ok := v.(float64)
	return ok && math.IsNaN(n)
}

// steps makes steps of one: whole, counted, with pages, after each of its rows, and
// after places where nothing stands.
func (f *finder) steps(s driver.Step) []driver.Step {
	counted := s
	counted.Count, counted.Range.Offset, counted.Range.Limit = true, f.IntN(3), f.IntN(3)
	steps := []driver.Step{s, counted}
	places := [][]driver.Value{nil}
	for _, row := range f.model.rows(&s) {
		places = append(places, placeOf(&s, &row))
	}
	for range 3 {
		if place := f.nowhere(&s, pick(f, places)); place != nil {
			places = append(places, place)
		}
	}
	for _, place := range places {
		part := s
		part.After, part.Range.Offset, part.Range.Limit = place, f.IntN(4)*f.IntN(2), f.IntN(4)
		part.Count = f.IntN(5) == 0
		steps = append(steps, part)
	}
	return steps
}

// nowhere changes a value in a place, if it is not the start, so that most likely
// nothing stands there.
func (f *finder) nowhere(s *driver.Step, place []driver.Value) []driver.Value {
	place = slices.Clone(place)
	if place == nil {
		return nil
	}
	i := f.IntN(len(place))
	switch place[i].(type) {
	case string:
		place[i] = pick(f, findIDs)
		if near := s.Op == driver.FindEdges && len(s.Order) == 0 && i == 0; near {
			place[i] = pick(f, s.IDs)
		}
	case time.Time:
		place[i] = time.UnixMilli(int64(f.IntN(9) - 4)).UTC()
	default:
		place[i] = pick(f, []driver.Value{nil, int64(1), 1.2, math.NaN(), true, []byte{1}, []driver.Value{"a"}})
	}
	return place
}
