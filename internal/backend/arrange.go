package backend

import (
	"iter"
	"slices"

	"github.com/graphcache/graphcache/driver"
)

// Hit is a record that a search has found.
type Hit struct {
	Place     []driver.Value // where it stands in the order
	Near, Far string         // Far is the ID of an object that was found
	Edge      *driver.Edge
}

// OrderValues returns the values of the Order's columns, with room for two more.
func OrderValues(s *driver.Step, value func(*driver.Column) driver.Value) []driver.Value {
	values := make([]driver.Value, len(s.Order), len(s.Order)+2)
	for i := range s.Order {
		values[i] = value(s.Order[i].Column)
	}
	return values
}

// Arrange puts hits in order and drops those that LimitPer, Distinct and After
// exclude.
func Arrange(s *driver.Step, hits iter.Seq[Hit]) iter.Seq[Hit] {
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
func following(hits iter.Seq[Hit], place []driver.Value, compare func(a, b []driver.Value) int) iter.Seq[Hit] {
	return func(yield func(Hit) bool) {
		for h := range hits {
			if (place == nil || compare(h.Place, place) > 0) && !yield(h) {
				return
			}
		}
	}
}

// sorted returns the hits in order; only the first ones if keep is not 0.
func sorted(hits iter.Seq[Hit], keep int, compare func(a, b []driver.Value) int) []Hit {
	var all []Hit
	sort := func() { slices.SortFunc(all, func(a, b Hit) int { return compare(a.Place, b.Place) }) }
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
func limitPer(hits iter.Seq[Hit], n int) iter.Seq[Hit] {
	return func(yield func(Hit) bool) {
		seen := make(map[string]int)
		for h := range hits {
			seen[h.Near]++
			if seen[h.Near] <= n && !yield(h) {
				return
			}
		}
	}
}

// distinct keeps the first hit of each far end.
func distinct(hits iter.Seq[Hit]) iter.Seq[Hit] {
	return func(yield func(Hit) bool) {
		seen := make(map[string]bool)
		for h := range hits {
			if seen[h.Far] {
				continue
			}
			seen[h.Far] = true
			if !yield(h) {
				return
			}
		}
	}
}

// Page returns the part of the hits that Offset and Limit ask for.
func Page(hits iter.Seq[Hit], r driver.Range) iter.Seq[Hit] {
	return func(yield func(Hit) bool) {
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

// Count returns the number of hits.
func Count(hits iter.Seq[Hit]) int {
	n := 0
	for range hits {
		n++
	}
	return n
}
