package memory

import (
	"fmt"
	"iter"
	"slices"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/backend"
)

// find answers FindObjects and FindEdges.
func (sp *space) find(s *driver.Step) (driver.Result, error) {
	if s.Op == driver.FindEdges {
		return sp.findEdges(s)
	}
	kind, err := sp.objectKind(s.Kind)
	if err != nil {
		return driver.Result{}, err
	}
	s = forObjects(s)
	hits := backend.Arrange(s, kind.find(s))
	if s.Count {
		return driver.Result{Counts: []int{backend.Count(hits)}}, nil
	}
	var found driver.Result
	for h := range backend.Page(hits, s.Range) {
		found.IDs = append(found.IDs, h.Far)
		found.Keys = appendKeys(found.Keys, &h, s)
	}
	return found, nil
}

// appendKeys appends the values by which a hit is where it is, if the step has an
// Order.
func appendKeys(keys [][]driver.Value, h *backend.Hit, s *driver.Step) [][]driver.Value {
	if n := len(s.Order); n > 0 {
		keys = append(keys, h.Place[:n:n])
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
		return driver.Result{}, named(backend.InvalidStep(s, "a symmetric kind has only the direction Out"))
	}
	var far *objects
	if s.Far != "" {
		if far, err = sp.objectKind(s.Far); err != nil {
			return driver.Result{}, fmt.Errorf("%w: %w", driver.ErrInvalid, err)
		}
	}
	hits := backend.Arrange(s, kind.find(s, far))
	if s.Count {
		return driver.Result{Counts: []int{backend.Count(hits)}}, nil
	}
	var found driver.Result
	for h := range backend.Page(hits, s.Range) {
		found.Rows = append(found.Rows, driver.Row{ID: h.Near, Edge: *h.Edge})
		found.Keys = appendKeys(found.Keys, &h, s)
	}
	return found, nil
}

// find returns the objects that match, in no order.
func (o *objects) find(s *driver.Step) iter.Seq[backend.Hit] {
	return func(yield func(backend.Hit) bool) {
		for object := range o.candidates(s.Filter) {
			value := func(c *driver.Column) driver.Value { return c.ValueIn(object, nil) }
			if object.Deleting || !s.Filter.Matches(value) {
				continue
			}
			if !yield(backend.Hit{Place: append(backend.OrderValues(s, value), object.ID), Far: object.ID}) {
				return
			}
		}
	}
}

// find returns the edges that match, in the order of the IDs and of their lists. If
// far is not nil it has the objects at the far ends.
func (k *edges) find(s *driver.Step, far *objects) iter.Seq[backend.Hit] {
	return func(yield func(backend.Hit) bool) {
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
func match(s *driver.Step, i int, item listed, far *objects) (backend.Hit, bool) {
	var object *driver.Object
	if far != nil {
		if object = far.records[item.far]; object == nil || object.Deleting {
			return backend.Hit{}, false
		}
	}
	value := func(c *driver.Column) driver.Value { return c.ValueIn(object, item.edge) }
	if !s.Filter.Matches(value) {
		return backend.Hit{}, false
	}
	h := backend.Hit{Near: s.IDs[i], Far: item.far, Edge: item.edge}
	if len(s.Order) == 0 {
		h.Place = []driver.Value{int64(i), item.edge.Time, item.far}
	} else {
		h.Place = append(backend.OrderValues(s, value), h.Far, h.Near)
	}
	return h, true
}
