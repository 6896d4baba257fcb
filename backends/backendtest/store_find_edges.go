package backendtest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// findEdges tests the rules of FindEdges one by one, on few edges with answers that
// were written by hand.
func (r *storeRig) findEdges() {
	for i, id := range []string{"a", "b", "x", "y", "z"} {
		r.done(r.s, insertObject(things, id, 1, driver.Document{{Name: "rank", Value: []driver.Value{int64(2), int64(1), 2.0, int64(3), nil}[i]}}))
	}
	r.done(r.s, marked(insertObject(things, "m", 1, nil)))
	for i, e := range []struct {
		from, to string
		ms       int64
		weight   driver.Value
	}{{"a", "x", 10, int64(1)}, {"a", "y", 20, int64(2)}, {"a", "m", 30, int64(3)}, {"a", "none", 40, int64(3)}, {"a", "z", 20, nil}, {"b", "x", 30, 1.0}, {"b", "y", 5, int64(0)}} {
		for _, kind := range []string{likes, pairs} {
			w := insertEdge(kind, e.from, e.to, int64(i+1), e.ms)
			w.Edge.Data = driver.Document{{Name: "weight", Value: e.weight}}
			r.done(r.s, w)
		}
	}
	r.findEdgesOrder()
	r.findEdgesFar()
	r.findEdgesParts()
	r.findEdgesIn()
	r.manyEdges()
}

// rows does a FindEdges in the lists of b and a, and compares the rows, written as
// "near>far".
func (r *storeRig) rows(rule string, s driver.Step, want string) {
	r.Helper()
	s.Op = driver.FindEdges
	if s.Kind == "" {
		s.Kind = likes
	}
	if s.IDs == nil {
		s.IDs = []string{"b", "a"}
	}
	var got []string
	for _, row := range r.read(r.s, s).Rows {
		got = append(got, row.ID+">"+farEnd(row.Edge, row.ID))
		if row.Edge.From != row.ID && row.Edge.To != row.ID || row.Edge.Version == 0 || row.Edge.Time.IsZero() {
			r.Errorf("a row is an edge and the object in whose list it was found: got %+v", row)
		}
	}
	r.equal(rule, strings.Join(got, " "), want)
	if s.Range.Offset == 0 && s.Range.Limit == 0 {
		s.Count, s.Range.Offset, s.Range.Limit = true, 1, 1
		r.equal("Count gives the number of results, Offset and Limit do not apply: "+rule, r.read(r.s, s).Counts, []int{len(got)})
	}
}

func order(c *driver.Column, desc bool) driver.Order { return driver.Order{Column: c, Desc: desc} }

func (r *storeRig) findEdgesOrder() {
	const plain = "without an Order the rows are in the order of IDs, and for each of them in list order"
	r.rows(plain, driver.Step{}, "b>x b>y a>none a>m a>y a>z a>x")
	r.rows(plain, driver.Step{IDs: []string{"a", "nobody", "b"}}, "a>none a>m a>y a>z a>x b>x b>y")
	r.rows(plain, driver.Step{IDs: []string{"nobody"}}, "")
	r.rows(plain, driver.Step{IDs: []string{}}, "")
	weight := edgeField("weight")
	const sorted = "rows that are equal in Order are in the order of their far end and then their near end, ascending"
	r.rows(sorted, driver.Step{Order: []driver.Order{order(weight, false)}}, "a>z b>y a>x b>x a>y a>m a>none")
	r.rows(sorted, driver.Step{Order: []driver.Order{order(weight, true)}}, "a>m a>none a>y a>x b>x b>y a>z")
	r.rows(sorted, driver.Step{Order: []driver.Order{order(byTime, true)}}, "a>none a>m b>x a>y a>z a>x b>y")
	r.rows(sorted, driver.Step{Order: []driver.Order{order(weight, true), order(byTime, false)}}, "a>m a>none a>y a>x b>x b>y a>z")
	r.rows(sorted, driver.Step{Order: []driver.Order{order(weight, true), order(byTime, true)}}, "a>none a>m a>y b>x a>x b>y a>z")
}

func (r *storeRig) findEdgesFar() {
	rank := field("rank")
	const rule = "if Far names a kind, the object at the far end must exist and not be Deleting"
	r.rows(rule, driver.Step{Far: things}, "b>x b>y a>y a>z a>x")
	r.rows("the far end is of the kind that Far names", driver.Step{Far: users}, "")
	two := on(rank, driver.AnyOf, int64(2))
	r.rows("with Far, Filter may have columns of the object at the far end", driver.Step{Far: things, Filter: &two}, "b>x a>x")
	mixed := all(either(on(rank, driver.GreaterEqual, int64(3)), on(edgeField("weight"), driver.AnyOf, 1.0)), not(on(byID, driver.AnyOf, "z")), on(byTime, driver.Less, time.UnixMilli(30).UTC()))
	r.rows("Filter may have columns of edge and object together", driver.Step{Far: things, Filter: &mixed}, "b>y a>y a>x")
	r.rows("with Far, Order may have columns of the object at the far end", driver.Step{Far: things, Order: []driver.Order{order(rank, true)}}, "a>y b>y a>x b>x a>z")
	r.rows("Order may have columns of edge and object together",
		driver.Step{Far: things, Order: []driver.Order{order(edgeField("weight"), false), order(rank, true), order(byID, true)}}, "a>z b>y a>x b>x a>y")
	heavy := on(edgeField("weight"), driver.Greater, 0.5)
	r.rows("without Far the object at the far end does not count", driver.Step{Filter: &heavy}, "b>x a>none a>m a>y a>x")
	r.rows("Far counts before LimitPer", driver.Step{Far: things, LimitPer: 1}, "b>x a>y")
	r.rows("Filter counts before LimitPer", driver.Step{Filter: &heavy, LimitPer: 3}, "b>x a>none a>m a>y")
}

func (r *storeRig) findEdgesParts() {
	weight := edgeField("weight")
	byWeight := []driver.Order{order(weight, true)}
	r.rows("LimitPer keeps the first rows of each of IDs", driver.Step{LimitPer: 2}, "b>x b>y a>none a>m")
	r.rows("LimitPer keeps those that are first in Order", driver.Step{LimitPer: 2, Order: byWeight}, "a>m a>none b>x b>y")
	r.rows("Distinct keeps the first row of each far end", driver.Step{Distinct: true}, "b>x b>y a>none a>m a>z")
	r.rows("Distinct keeps the row that is first in Order", driver.Step{Distinct: true, Order: byWeight}, "a>m a>none a>y a>x a>z")
	r.rows("LimitPer goes before Distinct", driver.Step{Distinct: true, LimitPer: 3, IDs: []string{"b", "a"}}, "b>x b>y a>none a>m")
	bounds := driver.Range{High: time.UnixMilli(30).UTC(), Low: time.UnixMilli(10).UTC()}
	r.rows("Range bounds the times, both inclusive", driver.Step{Range: bounds}, "b>x a>m a>y a>z a>x")
	r.rows("Range's bounds go before LimitPer", driver.Step{Range: bounds, LimitPer: 1}, "b>x a>m")
	r.rows("Offset and Limit come last", driver.Step{Distinct: true, LimitPer: 3, Range: driver.Range{Offset: 1, Limit: 2}}, "b>y a>none")
	r.rows("an Offset beyond the end leaves nothing", driver.Step{Range: driver.Range{Offset: 7}}, "")

	const rule = "After keeps what comes after a place in the order, whether or not a result stands there"
	ms := func(ms int64) driver.Value { return time.UnixMilli(ms).UTC() }
	r.rows(rule, driver.Step{After: []driver.Value{"b", ms(5), "y"}}, "a>none a>m a>y a>z a>x")
	r.rows(rule, driver.Step{After: []driver.Value{"b", ms(6), "z"}}, "b>y a>none a>m a>y a>z a>x")
	r.rows(rule, driver.Step{After: []driver.Value{"a", ms(20), "y"}}, "a>z a>x")
	r.rows(rule, driver.Step{After: []driver.Value{"a", ms(20), "yy"}, Range: driver.Range{Limit: 1}}, "a>z")
	r.rows(rule, driver.Step{After: []driver.Value{"a", ms(10), "x"}}, "")
	r.rows(rule, driver.Step{Order: byWeight, After: []driver.Value{1.0, "x", "a"}}, "b>x b>y a>z")
	r.rows(rule, driver.Step{Order: byWeight, After: []driver.Value{int64(1), "x", "b"}}, "b>y a>z")
	r.rows(rule, driver.Step{Order: byWeight, After: []driver.Value{2.5, "", ""}}, "a>y a>x b>x b>y a>z")
	r.rows(rule, driver.Step{Order: byWeight, After: []driver.Value{nil, "z", ""}}, "a>z")
	r.rows("After comes when LimitPer has its rows", driver.Step{LimitPer: 2, After: []driver.Value{"b", ms(30), "x"}}, "b>y a>none a>m")
	r.rows("After comes when Distinct has its rows", driver.Step{Distinct: true, After: []driver.Value{"a", ms(40), "none"}}, "a>m a>z")
	r.rows("Offset counts from After", driver.Step{After: []driver.Value{"b", ms(5), "y"}, Range: driver.Range{Offset: 1, Limit: 2}}, "a>m a>y")
}

func (r *storeRig) findEdgesIn() {
	in := func(s driver.Step) driver.Step {
		s.Direction, s.IDs = driver.In, []string{"y", "x"}
		return s
	}
	r.rows("the direction In lists the edges that end at the IDs", in(driver.Step{}), "y>a y>b x>b x>a")
	one := on(field("rank"), driver.AnyOf, int64(1))
	r.rows("in the direction In the far end is where an edge starts", in(driver.Step{Far: things, Filter: &one}), "y>b x>b")
	r.rows("in the direction In the far end is where an edge starts", in(driver.Step{Distinct: true}), "y>a y>b")
	r.rows("in the direction In the far end is where an edge starts", in(driver.Step{Order: []driver.Order{order(edgeField("weight"), false)}}), "y>b x>a x>b y>a")

	r.done(r.s, insertEdge(pairs, "x", "x", 50, 15))
	both := driver.Step{Kind: pairs, IDs: []string{"x", "a"}}
	r.rows("a symmetric edge is in the lists of both its ends", both, "x>b x>x x>a a>none a>m a>y a>z a>x")
	both.Distinct = true
	r.rows("the far end of a symmetric edge is the end that is not the ID, or both", both, "x>b x>x x>a a>none a>m a>y a>z")
	both.Far, both.Filter = things, &one
	r.rows("the far end of a symmetric edge is the end that is not the ID, or both", both, "x>b")
}

// manyEdges tests a FindEdges with thousands of IDs.
func (r *storeRig) manyEdges() {
	const n = 2000
	var writes []driver.Write
	var ids, got []string
	for i := range n {
		id := fmt.Sprintf("many %04d", (i*7919)%n)
		ids = append(ids, id)
		writes = append(writes, insertEdge(likes, id, "far", 1, int64(i)))
	}
	r.done(r.s, writes...)
	found := r.read(r.s, driver.Step{Op: driver.FindEdges, Kind: likes, IDs: ids, Order: []driver.Order{order(byTime, true)}, Range: driver.Range{Offset: 5, Limit: n}})
	slices.Reverse(ids)
	for _, row := range found.Rows {
		got = append(got, row.ID)
	}
	r.equal("a step may have thousands of IDs", got, ids[5:])
}
