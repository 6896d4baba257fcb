package memory

import (
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// hit is a record that a step found.
type hit struct {
	place     []driver.Value // where it stands in the order
	near, far string         // far is the ID of an object that was found
	edge      *driver.Edge
}

// find answers FindObjects and FindEdges.
func (sp *space) find(s *driver.Step) (driver.Result, error) {
	if err := checkFind(s); err != nil {
		return driver.Result{}, err
	}
	if s.Op == driver.FindEdges {
		return sp.findEdges(s)
	}
	kind, err := sp.objectKind(s.Kind)
	if err != nil {
		return driver.Result{}, err
	}
	s = forObjects(s)
	hits := arrange(s, kind.find(s))
	if s.Count {
		return driver.Result{Counts: []int{count(hits)}}, nil
	}
	var found driver.Result
	for h := range page(hits, s.Range) {
		found.IDs = append(found.IDs, h.far)
		found.Keys = h.appendKeys(found.Keys, s)
	}
	return found, nil
}

// appendKeys appends the values by which the hit is where it is, if the step has an
// Order.
func (h *hit) appendKeys(keys [][]driver.Value, s *driver.Step) [][]driver.Value {
	if n := len(s.Order); n > 0 {
		keys = append(keys, h.place[:n:n])
	}
	return keys
}

// forObjects returns the step without what does not apply to objects.
func forObjects(s *driver.Step) *driver.Step {
	object := *s
	object.LimitPer, object.Distinct = 0, false
	return &object
}

func (sp *space) findEdges(s *driver.Step) (driver.Result, error) {
	kind, err := sp.edgeKind(s.Kind)
	if err != nil {
		return driver.Result{}, err
	}
	if kind.kind.Symmetric && s.Direction == driver.In {
		return driver.Result{}, invalidStep(s, "a symmetric kind has only the direction Out")
	}
	var far *objects
	if s.Far != "" {
		if far, err = sp.objectKind(s.Far); err != nil {
			return driver.Result{}, fmt.Errorf("%w: %w", driver.ErrInvalid, err)
		}
	}
	hits := arrange(s, kind.find(s, far))
	if s.Count {
		return driver.Result{Counts: []int{count(hits)}}, nil
	}
	var found driver.Result
	for h := range page(hits, s.Range) {
		found.Rows = append(found.Rows, driver.Row{ID: h.near, Edge: *h.edge})
		found.Keys = h.appendKeys(found.Keys, s)
	}
	return found, nil
}

// find returns the objects that match, in no order.
func (o *objects) find(s *driver.Step) iter.Seq[hit] {
	return func(yield func(hit) bool) {
		for object := range o.candidates(s.Filter) {
			value := func(c *driver.Column) driver.Value { return c.ValueIn(object, nil) }
			if object.Deleting || !s.Filter.Matches(value) {
				continue
			}
			if !yield(hit{place: append(orderValues(s, value), object.ID), far: object.ID}) {
				return
			}
		}
	}
}

// find returns the edges that match, in the order of the IDs and of their lists. If
// far is not nil it has the objects at the far ends.
func (k *edges) find(s *driver.Step, far *objects) iter.Seq[hit] {
	return func(yield func(hit) bool) {
		for i, id := range s.IDs {
			for _, item := range slices.Backward(k.lists[s.Direction][id].within(s.Range)) {
				h, ok := match(s, i, item, far)
				if ok && !yield(h) {
					return
				}
			}
		}
	}
}

// match makes a hit of an edge in the list of the ith ID, if it is one.
func match(s *driver.Step, i int, item listed, far *objects) (hit, bool) {
	var object *driver.Object
	if far != nil {
		if object = far.records[item.far]; object == nil || object.Deleting {
			return hit{}, false
		}
	}
	value := func(c *driver.Column) driver.Value { return c.ValueIn(object, item.edge) }
	if !s.Filter.Matches(value) {
		return hit{}, false
	}
	h := hit{near: s.IDs[i], far: item.far, edge: item.edge}
	if len(s.Order) == 0 {
		h.place = []driver.Value{int64(i), item.edge.Time, item.far}
	} else {
		h.place = append(orderValues(s, value), h.far, h.near)
	}
	return h, true
}

// orderValues returns the values of the Order's columns, with room for two more.
func orderValues(s *driver.Step, value func(*driver.Column) driver.Value) []driver.Value {
	values := make([]driver.Value, len(s.Order), len(s.Order)+2)
	for i := range s.Order {
		values[i] = value(s.Order[i].Column)
	}
	return values
}

// arrange puts hits in order and drops those that LimitPer, Distinct and After
// exclude.
func arrange(s *driver.Step, hits iter.Seq[hit]) iter.Seq[hit] {
	var after []driver.Value
	if s.After != nil {
		after = afterPlace(s)
	}
	compare := comparePlaces(s)
	// Without LimitPer and Distinct, what is left of the place can be dropped at
	// once, and what is right of the page need not be kept.
	whole := s.LimitPer > 0 || s.Distinct
	if !whole {
		hits = following(hits, after, compare)
	}
	if s.Op == driver.FindObjects || len(s.Order) > 0 {
		keep := 0
		if !whole && !s.Count && s.Range.Limit > 0 {
			keep = max(0, s.Range.Offset+s.Range.Limit) // 0 if it is too large for an int
		}
		hits = slices.Values(sorted(hits, keep, compare))
	}
	if s.LimitPer > 0 {
		hits = limitPer(hits, s.LimitPer)
	}
	if s.Distinct {
		hits = distinct(hits)
	}
	if whole {
		hits = following(hits, after, compare)
	}
	return hits
}

// afterPlace returns After as a hit's place.
func afterPlace(s *driver.Step) []driver.Value {
	if s.Op == driver.FindObjects || len(s.Order) > 0 {
		return s.After
	}
	i := slices.Index(s.IDs, s.After[0].(string))
	return []driver.Value{int64(i), s.After[1], s.After[2]}
}

// comparePlaces returns the function that compares the places of a step's hits. What
// makes them distinct, after the Order, is ascending.
func comparePlaces(s *driver.Step) func(a, b []driver.Value) int {
	desc := []bool{false, true, false} // the near end, the time, the far end
	if s.Op == driver.FindObjects || len(s.Order) > 0 {
		desc = make([]bool, len(s.Order)+2)
		for i := range s.Order {
			desc[i] = s.Order[i].Desc
		}
	}
	return func(a, b []driver.Value) int {
		for i := range a {
			c := driver.Compare(a[i], b[i])
			if c != 0 && desc[i] {
				return -c
			}
			if c != 0 {
				return c
			}
		}
		return 0
	}
}

// following drops the hits that do not come after the place, if it is not nil.
func following(hits iter.Seq[hit], place []driver.Value, compare func(a, b []driver.Value) int) iter.Seq[hit] {
	return func(yield func(hit) bool) {
		for h := range hits {
			if (place == nil || compare(h.place, place) > 0) && !yield(h) {
				return
			}
		}
	}
}

// sorted returns the hits in order; only the first ones if keep is not 0.
func sorted(hits iter.Seq[hit], keep int, compare func(a, b []driver.Value) int) []hit {
	var all []hit
	sort := func() { slices.SortFunc(all, func(a, b hit) int { return compare(a.place, b.place) }) }
	for h := range hits {
		all = append(all, h)
		if keep > 0 && len(all)/2 >= keep { // rarely enough to cost little
			sort()
			all = all[:keep]
		}
	}
	sort()
	return all
}

// limitPer keeps the first n hits of each near end.
func limitPer(hits iter.Seq[hit], n int) iter.Seq[hit] {
	return func(yield func(hit) bool) {
		seen := make(map[string]int)
		for h := range hits {
			seen[h.near]++
			if seen[h.near] <= n && !yield(h) {
				return
			}
		}
	}
}

// distinct keeps the first hit of each far end.
func distinct(hits iter.Seq[hit]) iter.Seq[hit] {
	return func(yield func(hit) bool) {
		seen := make(map[string]bool)
		for h := range hits {
			if seen[h.far] {
				continue
			}
			seen[h.far] = true
			if !yield(h) {
				return
			}
		}
	}
}

// page returns the part of the hits that Offset and Limit ask for.
func page(hits iter.Seq[hit], r driver.Range) iter.Seq[hit] {
	return func(yield func(hit) bool) {
		n := 0
		for h := range hits {
			n++
			if n <= r.Offset {
				continue
			}
			if !yield(h) || n-r.Offset == r.Limit {
				return
			}
		}
	}
}

func count(hits iter.Seq[hit]) int {
	n := 0
	for range hits {
		n++
	}
	return n
}

// checkFind checks what FindObjects and FindEdges have beyond other steps.
func checkFind(s *driver.Step) error {
	object := s.Op == driver.FindObjects || s.Far != ""
	edge := s.Op == driver.FindEdges
	if err := checkFilter(s.Filter, object, edge); err != nil {
		return invalidStep(s, err.Error())
	}
	for i := range s.Order {
		if err := checkColumn(s.Order[i].Column, object, edge); err != nil {
			return invalidStep(s, err.Error())
		}
	}
	switch {
	case s.LimitPer < 0:
		return invalidStep(s, "LimitPer is negative")
	case s.After != nil && !afterFits(s):
		return invalidStep(s, "After is not a place in the order")
	}
	return nil
}

// afterFits reports whether After has the values that the order asks for.
func afterFits(s *driver.Step) bool {
	text := func(i int) bool { _, ok := s.After[i].(string); return ok }
	n := len(s.Order)
	switch {
	case s.Op == driver.FindObjects:
		return len(s.After) == n+1 && text(n)
	case n > 0:
		return len(s.After) == n+2 && text(n) && text(n+1)
	case len(s.After) != 3 || !text(0) || !text(2):
		return false
	}
	_, ok := s.After[1].(time.Time)
	return ok && slices.Contains(s.IDs, s.After[0].(string))
}
