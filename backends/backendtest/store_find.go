package backendtest

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// field is the column of an object's field, with nil where there is none.
func field(path string) *driver.Column {
	return &driver.Column{Path: strings.Split(path, ".")}
}

func edgeField(path string) *driver.Column {
	return &driver.Column{Of: driver.EdgeField, Path: strings.Split(path, ".")}
}

var (
	byID   = &driver.Column{Of: driver.ObjectID, Type: driver.StringType}
	byTime = &driver.Column{Of: driver.EdgeTime, Type: driver.TimeType}
)

// typed returns the column of a field whose values are all of the type.
func typed(c *driver.Column, t driver.Type) *driver.Column {
	c.Type = t
	return c
}

func on(c *driver.Column, op driver.FilterOp, values ...driver.Value) driver.Filter {
	return driver.Filter{Op: op, Column: c, Values: values}
}

func all(of ...driver.Filter) driver.Filter    { return driver.Filter{Op: driver.And, Of: of} }
func either(of ...driver.Filter) driver.Filter { return driver.Filter{Op: driver.Or, Of: of} }
func not(f driver.Filter) driver.Filter        { return driver.Filter{Op: driver.Not, Of: []driver.Filter{f}} }

// findGroup is objects, each with one field, and what filters find among them.
type findGroup struct {
	name   string
	column *driver.Column
	docs   map[string]driver.Document // by ID
	tests  []findTest
}

// findTest is a filter with the IDs of what it matches, in order.
type findTest struct {
	filter driver.Filter
	want   string
}

// groupOf makes the documents of a group: each has its value in the field.
func groupOf(name string, values map[string]driver.Value, tests func(c *driver.Column) []findTest) findGroup {
	g := findGroup{name: name, column: field(name), docs: map[string]driver.Document{}}
	for id, v := range values {
		g.docs[id] = driver.Document{{Name: name, Value: v}}
	}
	g.tests = tests(g.column)
	return g
}

// findValues tests every operation of a filter on every type of value, against
// answers that were written by hand.
func (r *storeRig) findValues() {
	groups := []findGroup{numberGroup(), textGroup(), otherGroup(), listGroup(), zeroGroup(), olderGroup(), deepGroup()}
	n := 0
	for i := range groups {
		groups[i].hold(&r.h)
	}
	for _, g := range groups {
		for id, doc := range g.docs {
			marked := insertObject(things, g.name+" "+id+" marked", 1, doc)
			marked.Object.Deleting = true
			r.done(r.s, insertObject(things, g.name+" "+id, 1, doc), marked)
			n++
		}
	}
	for _, g := range groups {
		for _, test := range g.tests {
			// Of other groups, whose objects lack the field, nothing is asked.
			filter := all(on(byID, driver.HasPrefix, g.name+" "), test.filter)
			r.finds("a filter matches what its operation says", things, &filter, prefixed(g.name, test.want))
		}
	}
	r.finds("Or without operands matches nothing", things, &driver.Filter{Op: driver.Or}, nil)
	everything := r.read(r.s, driver.Step{Op: driver.FindObjects, Kind: things}).IDs
	r.finds("And without operands matches everything, as nil does", things, &driver.Filter{Op: driver.And}, everything)
	if len(everything) != n || slices.ContainsFunc(everything, func(id string) bool { return strings.HasSuffix(id, "marked") }) {
		r.Errorf("FindObjects asks for the objects of the kind, those that are marked Deleting excepted: got %q", everything)
	}
	odd := driver.Step{Op: driver.FindObjects, Kind: things, IDs: []string{"nobody"}, Ends: []string{"x"}, Direction: driver.In, Far: users, LimitPer: 1, Distinct: true,
		Range: driver.Range{High: time.UnixMilli(1).UTC(), Low: time.UnixMilli(2).UTC()}}
	r.equal("to FindObjects, IDs, Ends, Direction, Range's bounds of time, Far, LimitPer and Distinct do not apply", r.read(r.s, odd).IDs, everything)
	r.finds("FindObjects finds the objects of one kind", users, nil, nil)
}

// hold takes out what the database cannot hold.
func (g *findGroup) hold(h *StoreHarness) {
	for id, doc := range g.docs {
		if !h.holds(doc) {
			delete(g.docs, id)
		}
	}
	tests := g.tests
	g.tests = nil
	for _, test := range tests {
		if !h.holdsOperands(&test.filter) {
			continue
		}
		want := strings.Fields(test.want)
		want = slices.DeleteFunc(want, func(id string) bool { _, there := g.docs[id]; return !there })
		test.want = strings.Join(want, " ")
		g.tests = append(g.tests, test)
	}
}

// holdsOperands reports whether the database can hold the values of a filter.
func (h *StoreHarness) holdsOperands(f *driver.Filter) bool {
	return len(h.held(f.Values)) == len(f.Values) &&
		!slices.ContainsFunc(f.Of, func(f driver.Filter) bool { return !h.holdsOperands(&f) })
}

// finds compares the result of a filter, and its number, with IDs.
func (r *storeRig) finds(rule, kind string, filter *driver.Filter, want []string) {
	r.Helper()
	step := driver.Step{Op: driver.FindObjects, Kind: kind, Filter: filter}
	rule += ": " + describeFilter(filter)
	r.equal(rule, r.read(r.s, step).IDs, want)
	step.Count, step.Range = true, driver.Range{Offset: 1, Limit: 1}
	r.equal("Count gives the number of results, Offset and Limit do not apply: "+rule, r.read(r.s, step).Counts, []int{len(want)})
}

// prefixed splits IDs, adds the group's name and sorts them.
func prefixed(group, ids string) []string {
	var all []string
	for _, id := range strings.Fields(ids) {
		all = append(all, group+" "+id)
	}
	slices.Sort(all)
	return all
}

func numberGroup() findGroup {
	return groupOf("number", map[string]driver.Value{
		"nil": nil, "nan": math.NaN(), "-inf": math.Inf(-1), "+inf": math.Inf(1), "-1": int64(-1), "0": int64(0), "-0.0": math.Copysign(0, -1), "0.5": 0.5,
		"1": int64(1), "1.0": 1.0, "min": int64(math.MinInt64), "2^53": float64(1 << 53), "2^53+1": int64(1<<53 + 1), "max": int64(math.MaxInt64),
		"2^63": uint64(1 << 63), "2^63.0": float64(1 << 63), "2^64-1": uint64(math.MaxUint64),
	}, func(c *driver.Column) []findTest {
		return []findTest{
			{on(c, driver.AnyOf, int64(1)), "1 1.0"},
			{on(c, driver.AnyOf, 1.0), "1 1.0"},
			{on(c, driver.AnyOf, int64(0)), "0 -0.0"},
			{on(c, driver.AnyOf, float64(1<<53)), "2^53"},
			{on(c, driver.AnyOf, int64(1<<53+1)), "2^53+1"},
			{on(c, driver.AnyOf, int64(1<<53)), "2^53"},
			{on(c, driver.AnyOf, uint64(1<<63)), "2^63 2^63.0"},
			{on(c, driver.AnyOf, float64(1<<63)), "2^63 2^63.0"},
			{on(c, driver.AnyOf, int64(math.MaxInt64)), "max"},
			{on(c, driver.AnyOf, uint64(math.MaxUint64), int64(-1)), "2^64-1 -1"},
			{on(c, driver.AnyOf, nil), "nil"},
			{on(c, driver.AnyOf, nil, 0.5), "nil 0.5"},
			{on(c, driver.AnyOf), ""},
			{on(c, driver.AnyOf, math.Inf(1)), "+inf"},
			{on(c, driver.Less, int64(0)), "-inf min -1"},
			{on(c, driver.LessEqual, 0.0), "-inf min -1 0 -0.0"},
			{on(c, driver.LessEqual, 0.5), "-inf min -1 0 -0.0 0.5"},
			{on(c, driver.Less, int64(math.MinInt64)), "-inf"},
			{on(c, driver.Greater, int64(math.MaxInt64)), "2^63 2^63.0 2^64-1 +inf"},
			{on(c, driver.GreaterEqual, uint64(1<<63)), "2^63 2^63.0 2^64-1 +inf"},
			{on(c, driver.Greater, float64(1<<63)), "2^64-1 +inf"},
			{on(c, driver.GreaterEqual, int64(1<<53+1)), "2^53+1 max 2^63 2^63.0 2^64-1 +inf"},
			{all(on(c, driver.Greater, int64(0)), on(c, driver.Less, int64(2))), "0.5 1 1.0"},
			{not(on(c, driver.Less, math.Inf(1))), "nil nan +inf"},
			{not(on(c, driver.GreaterEqual, math.Inf(-1))), "nil nan"},
			{not(on(c, driver.AnyOf, nil, int64(1))), "nan -inf +inf -1 0 -0.0 0.5 min 2^53 2^53+1 max 2^63 2^63.0 2^64-1"},
			{either(on(c, driver.AnyOf, int64(1)), on(c, driver.Less, int64(math.MinInt64))), "1 1.0 -inf"},
			{not(not(on(c, driver.AnyOf, int64(-1)))), "-1"},
			{on(c, driver.AnyOf, "1", []byte("1"), true, time.UnixMilli(1).UTC()), ""},
			{on(c, driver.HasPrefix, ""), ""},
			{on(c, driver.Has, int64(1)), ""},
		}
	})
}

func textGroup() findGroup {
	return groupOf("text", map[string]driver.Value{
		"nil": nil, "empty": "", "a": "a", "A": "A", "ab": "ab", "abc": "abc", "b": "b", "space": "a ", "nul": "a\x00", "1": "1",
		"composed": "\u00e9", "decomposed": "e\u0301", "dot": "a.c", "star": "a*", "percent": "a%", "under": "a_c", "slash": `a\`, "caret": "^a", "top": "\U0010ffff",
	}, func(c *driver.Column) []findTest {
		return []findTest{
			{on(c, driver.AnyOf, "a"), "a"},
			{on(c, driver.AnyOf, "A", "", "none", "A"), "A empty"},
			{on(c, driver.AnyOf, "\u00e9"), "composed"},
			{on(c, driver.AnyOf, []byte("a"), int64(1)), ""},
			{on(c, driver.Less, "a"), "empty A 1 caret"},
			{on(c, driver.LessEqual, "a"), "empty A 1 a caret"},
			{on(c, driver.Greater, "abc"), "b composed decomposed top"},
			{on(c, driver.GreaterEqual, "abc"), "abc b composed decomposed top"},
			{on(c, driver.Greater, ""), "a A ab abc b space nul 1 composed decomposed dot star percent under slash caret top"},
			{on(c, driver.HasPrefix, "a"), "a ab abc space nul dot star percent under slash"},
			{on(c, driver.HasPrefix, "a."), "dot"},
			{on(c, driver.HasPrefix, "a%"), "percent"},
			{on(c, driver.HasPrefix, "a_"), "under"},
			{on(c, driver.HasPrefix, "a*"), "star"},
			{on(c, driver.HasPrefix, `a\`), "slash"},
			{on(c, driver.HasPrefix, "^a"), "caret"},
			{on(c, driver.HasPrefix, "\U0010ffff"), "top"},
			{on(c, driver.HasPrefix, ""), "empty a A ab abc b space nul 1 composed decomposed dot star percent under slash caret top"},
			{on(c, driver.Contains, "b"), "ab abc b"},
			{on(c, driver.Contains, "."), "dot"},
			{on(c, driver.Contains, "\x00"), "nul"},
			{on(c, driver.Contains, "\u0301"), "decomposed"},
			{on(c, driver.Contains, ""), "empty a A ab abc b space nul 1 composed decomposed dot star percent under slash caret top"},
			{not(on(c, driver.Contains, "")), "nil"},
			{not(on(c, driver.Less, "b")), "nil b composed decomposed top"},
		}
	})
}

func otherGroup() findGroup {
	early, late := time.UnixMilli(-1).UTC(), time.UnixMilli(1767323045123).UTC()
	return groupOf("other", map[string]driver.Value{
		"nil": nil, "bytes": []byte{1}, "more": []byte{1, 0}, "none": []byte{}, "high": []byte{255}, "false": false, "true": true, "early": early, "late": late,
		"year1": time.Time{}, "doc": driver.Document{{Name: "a", Value: int64(1)}, {Name: "b", Value: nil}}, "nodoc": driver.Document{},
	}, func(c *driver.Column) []findTest {
		only := func(f driver.Filter, of ...driver.Value) driver.Filter { return all(on(c, driver.AnyOf, of...), f) }
		bytes := []driver.Value{[]byte{1}, []byte{1, 0}, []byte{}, []byte{255}}
		times := []driver.Value{early, late, time.Time{}}
		return []findTest{
			{on(c, driver.AnyOf, bytes...), "bytes more none high"},
			{on(c, driver.AnyOf, []byte{1}, "\x01"), "bytes"},
			{only(on(c, driver.Less, []byte{1, 0}), bytes...), "bytes none"},
			{only(on(c, driver.GreaterEqual, []byte{1, 0}), bytes...), "more high"},
			{on(c, driver.AnyOf, true), "true"},
			{on(c, driver.AnyOf, false), "false"},
			{only(on(c, driver.Less, true), true, false), "false"},
			{only(on(c, driver.LessEqual, false), true, false), "false"},
			{only(on(c, driver.GreaterEqual, false), true, false, nil), "true false"},
			{on(c, driver.AnyOf, late), "late"},
			{on(c, driver.AnyOf, late.UnixMilli()), ""},
			{only(on(c, driver.Less, late), times...), "early year1"},
			{only(on(c, driver.GreaterEqual, early), times...), "early late"},
			{only(on(c, driver.Greater, late.Add(-time.Millisecond)), times...), "late"},
			{on(c, driver.AnyOf, driver.Document{{Name: "a", Value: 1.0}, {Name: "b", Value: nil}}), "doc"},
			{on(c, driver.AnyOf, driver.Document{{Name: "a", Value: int64(1)}}), ""},
			{on(c, driver.AnyOf, driver.Document{}), "nodoc"},
			{not(on(c, driver.AnyOf, append(bytes, times...)...)), "nil false true doc nodoc"},
		}
	})
}

func listGroup() findGroup {
	g := groupOf("tags", map[string]driver.Value{
		"nil": nil, "none": []driver.Value{}, "a": []driver.Value{"a"}, "ab": []driver.Value{"a", "b"}, "aa": []driver.Value{"a", "a"},
		"null": []driver.Value{nil}, "one": []driver.Value{int64(1)}, "onef": []driver.Value{"x", 1.0}, "text": "a", "inner": []driver.Value{[]driver.Value{"a"}},
		"bytes": []driver.Value{[]byte("a")}, "doc": []driver.Value{driver.Document{{Name: "a", Value: "a"}}},
	}, func(*driver.Column) []findTest { return nil })
	g.column = tagColumn()
	c := g.column
	g.tests = []findTest{
		{on(c, driver.Has, "a"), "a ab aa"},
		{on(c, driver.Has, "b"), "ab"},
		{all(on(c, driver.Has, "a"), on(c, driver.Has, "b")), "ab"},
		{on(c, driver.Has, 1.0), "one onef"},
		{on(c, driver.Has, int64(1)), "one onef"},
		{on(c, driver.Has, []byte("a")), "bytes"},
		{on(c, driver.Has, []driver.Value{"a"}), "inner"},
		{on(c, driver.Has, driver.Document{{Name: "a", Value: "a"}}), "doc"},
		{not(on(c, driver.Has, "a")), "nil none null one onef text inner bytes doc"},
		{on(c, driver.AnyOf, []driver.Value{"a"}, []driver.Value{1.0}), "a one"},
		{on(c, driver.AnyOf, []driver.Value{"b", "a"}), ""},
		{on(c, driver.AnyOf, "a"), "text"},
		{on(c, driver.AnyOf, []driver.Value{}, nil), "nil none"},
		{all(on(c, driver.Has, "a"), not(on(c, driver.AnyOf, []driver.Value{"a"}))), "ab aa"},
	}
	return g
}

func zeroGroup() findGroup {
	g := groupOf("zero", map[string]driver.Value{"null": nil, "0": int64(0), "7": int64(7), "8": int64(8)},
		func(*driver.Column) []findTest { return nil })
	g.docs["missing"], g.docs["other"] = nil, driver.Document{{Name: "Zero", Value: int64(9)}}
	seven := sevenColumn()
	g.tests = []findTest{
		{on(seven, driver.AnyOf, int64(7)), "null 7 missing other"},
		{on(seven, driver.AnyOf, nil), ""},
		{on(seven, driver.Less, int64(8)), "null 0 7 missing other"},
		{on(seven, driver.Greater, int64(7)), "8"},
		{not(on(seven, driver.AnyOf, int64(7))), "0 8"},
		{on(g.column, driver.AnyOf, int64(7)), "7"},
		{on(g.column, driver.AnyOf, nil), "null missing other"},
		{on(g.column, driver.Less, int64(8)), "0 7"},
	}
	return g
}

func olderGroup() findGroup {
	c := renamedColumn()
	return findGroup{name: "renamed", column: c, docs: map[string]driver.Document{
		"new": {{Name: "renamed", Value: "x"}}, "old": {{Name: "old", Value: "x"}}, "older": {{Name: "older", Value: "x"}}, "none": nil,
		"newfirst": {{Name: "older", Value: "y"}, {Name: "old", Value: "y"}, {Name: "renamed", Value: "x"}},
		"order":    {{Name: "older", Value: "x"}, {Name: "old", Value: "y"}},
		"newnull":  {{Name: "renamed", Value: nil}, {Name: "old", Value: "x"}},
		"oldnull":  {{Name: "old", Value: nil}, {Name: "older", Value: "x"}},
	}, tests: []findTest{
		{on(c, driver.AnyOf, "x"), "new old older newfirst"},
		{on(c, driver.AnyOf, "y"), "order"},
		{on(c, driver.AnyOf, nil), "none newnull oldnull"},
		{on(c, driver.HasPrefix, "x"), "new old older newfirst"},
		{on(field("renamed"), driver.AnyOf, "x"), "new newfirst"},
		{on(field("renamed"), driver.AnyOf, nil), "old older none order newnull oldnull"},
	}}
}

func deepGroup() findGroup {
	c := deepColumn()
	inner := func(outer, name string, v driver.Value) driver.Document {
		return driver.Document{{Name: outer, Value: driver.Document{{Name: "other", Value: "y"}, {Name: name, Value: v}}}}
	}
	return findGroup{name: "deep", column: c, docs: map[string]driver.Document{
		"new": inner("outer", "inner", "x"), "old": inner("was", "inner", "x"), "both": inner("was", "before", "x"), "late": inner("outer", "before", "x"),
		"null": inner("outer", "inner", nil), "gone": {{Name: "outer", Value: nil}, {Name: "was", Value: driver.Document{{Name: "inner", Value: "x"}}}}, "missing": nil,
		"flat": {{Name: "outer.inner", Value: "x"}}, "text": {{Name: "outer", Value: "x"}},
	}, tests: []findTest{
		{on(c, driver.AnyOf, "x"), "new old both late"},
		{on(c, driver.AnyOf, "-"), "null gone missing flat text"},
		{on(c, driver.AnyOf, nil), ""},
		{on(field("outer.inner"), driver.AnyOf, "x"), "new"},
		{on(field("outer.other"), driver.AnyOf, "y"), "new late null"},
	}}
}

// findOrder tests the order of values of all types, and of those that are equal.
func (r *storeRig) findOrder() {
	ascending := [][]driver.Value{
		{nil}, {math.NaN()}, {math.Inf(-1)}, {int64(math.MinInt64)}, {int64(-1)}, {int64(0), 0.0}, {0.5}, {int64(1), 1.0}, {float64(1 << 53)}, {int64(1<<53 + 1)},
		{int64(math.MaxInt64)}, {uint64(1 << 63), float64(1 << 63)}, {uint64(math.MaxUint64)}, {math.Inf(1)},
		{""}, {"A"}, {"a"}, {"a\x00"}, {"a "}, {"b"}, {"e\u0301"}, {"\u00e9"}, {"\uffff"}, {"\U0010ffff"},
		{driver.Document{}}, {driver.Document{{Name: "a", Value: int64(1)}}}, {driver.Document{{Name: "a", Value: int64(2)}}}, {driver.Document{{Name: "b", Value: nil}}},
		{[]driver.Value{}}, {[]driver.Value{nil}}, {[]driver.Value{int64(1)}}, {[]driver.Value{1.0, "a"}}, {[]driver.Value{"a"}},
		{[]byte{}}, {[]byte{1}}, {[]byte{1, 0}}, {[]byte{255}}, {false}, {true}, {time.Time{}}, {time.UnixMilli(-1).UTC()}, {time.UnixMilli(0).UTC()},
	}
	for i := range ascending {
		ascending[i] = r.h.held(ascending[i])
	}
	var up, down []string
	for i, same := range ascending {
		var tied []string
		for j, v := range same {
			id := fmt.Sprintf("%02d %d", (i*17)%len(ascending), j) // in another order than the values
			r.done(r.s, insertObject(posts, id, 1, driver.Document{{Name: "v", Value: v}}))
			tied = append(tied, id)
		}
		up = append(up, tied...)
		down = append(slices.Clone(tied), down...)
	}
	const rule = "results are in Order, and those that are equal in it by ID ascending"
	for desc, want := range map[bool][]string{false: up, true: down} {
		step := driver.Step{Op: driver.FindObjects, Kind: posts, Order: []driver.Order{{Column: field("v"), Desc: desc}}}
		r.equal(fmt.Sprintf("%s, Desc: %v", rule, desc), r.read(r.s, step).IDs, want)
		for _, limit := range []int{1, 5, len(want), 100} {
			r.equal(fmt.Sprintf("After is the place after which the page of %d starts, Desc: %v", limit, desc), r.pages(step, limit), want)
		}
		for _, step.Range = range []driver.Range{{Offset: 3, Limit: 4}, {Offset: 44}, {Offset: 100}, {Limit: 2}} {
			r.equal(fmt.Sprintf("%s, Desc: %v, %+v", rule, desc, step.Range), r.read(r.s, step).IDs, slicePart(want, step.Range))
		}
	}
	byDesc := driver.Step{Op: driver.FindObjects, Kind: posts, Order: []driver.Order{{Column: byID, Desc: true}}}
	slices.Sort(up)
	slices.Reverse(up)
	r.equal("objects can be ordered by their ID", r.read(r.s, byDesc).IDs, up)
}

// pages reads a FindObjects with one Order in pages.
func (r *storeRig) pages(step driver.Step, limit int) []string {
	r.Helper()
	var ids []string
	step.Range.Limit = limit
	for {
		found := r.read(r.s, step).IDs
		if len(found) == 0 || len(ids) > 1000 {
			return ids
		}
		ids = append(ids, found...)
		last := found[len(found)-1]
		v, _ := r.get(r.s, step.Kind, last).Doc.Get("v")
		step.After = []driver.Value{v, last}
	}
}

// slicePart applies Offset and Limit.
func slicePart[T any](results []T, part driver.Range) []T {
	results = results[min(part.Offset, len(results)):]
	if part.Limit > 0 {
		results = results[:min(part.Limit, len(results))]
	}
	return results
}

// describeFilter writes a filter in a message.
func describeFilter(f *driver.Filter) string {
	if f == nil {
		return "no filter"
	}
	if f.Op >= driver.AnyOf {
		ops := [...]string{"any of", "<", "≤", ">", "≥", "has prefix", "contains", "has"}
		return fmt.Sprintf("%s %s %v", f.Column.Name(), ops[f.Op-driver.AnyOf], f.Values)
	}
	var of []string
	for i := range f.Of {
		of = append(of, describeFilter(&f.Of[i]))
	}
	return [...]string{"and", "or", "not"}[f.Op-driver.And] + "(" + strings.Join(of, ", ") + ")"
}
