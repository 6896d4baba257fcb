package memory

import (
	"cmp"
	"slices"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/backend"
)

// read answers a batch of steps, whole or not at all.
func (sp *space) read(steps []driver.Step) ([]driver.Result, error) {
	results := make([]driver.Result, len(steps))
	for i := range steps {
		var err error
		if results[i], err = sp.step(&steps[i]); err != nil {
			return nil, err
		}
	}
	return results, nil
}

func (sp *space) step(s *driver.Step) (driver.Result, error) {
	if err := backend.CheckStep(s); err != nil {
		return driver.Result{}, named(err)
	}
	switch s.Op {
	case driver.FindObjects, driver.FindEdges:
		return sp.find(s)
	case driver.GetObjects, driver.ScanDeleting:
		kind, err := sp.objectKind(s.Kind)
		if err != nil {
			return driver.Result{}, err
		}
		return driver.Result{Objects: kind.read(s)}, nil
	}
	kind, err := sp.edgeKind(s.Kind)
	if err != nil {
		return driver.Result{}, err
	}
	if kind.kind.Symmetric && s.Direction == driver.In {
		return driver.Result{}, named(backend.InvalidStep(s, "a symmetric kind has only the direction Out"))
	}
	return kind.read(s), nil
}

func (o *objects) read(s *driver.Step) []*driver.Object {
	if s.Op == driver.ScanDeleting {
		return o.scanDeleting(s)
	}
	found := make([]*driver.Object, len(s.IDs))
	for i, id := range s.IDs {
		found[i] = o.records[id]
	}
	return found
}

func (o *objects) scanDeleting(s *driver.Step) []*driver.Object {
	ids := o.deleting
	if len(s.IDs) == 1 {
		i, found := slices.BinarySearch(ids, s.IDs[0])
		if found {
			i++
		}
		ids = ids[i:]
	}
	if s.Range.Limit > 0 {
		ids = ids[:min(s.Range.Limit, len(ids))]
	}
	found := make([]*driver.Object, len(ids))
	for i, id := range ids {
		found[i] = o.records[id]
	}
	return found
}

func (k *edges) read(s *driver.Step) driver.Result {
	switch s.Op {
	case driver.ScanEdges:
		return driver.Result{Lists: [][]driver.Edge{k.scan(s)}}
	case driver.CountEdges:
		counts := make([]int, len(s.IDs))
		for i, id := range s.IDs {
			counts[i] = len(k.lists[s.Direction][id].within(s.Range))
		}
		return driver.Result{Counts: counts}
	}
	lists := make([][]driver.Edge, len(s.IDs))
	for i, id := range s.IDs {
		if s.Op == driver.ListEdges {
			lists[i] = k.lists[s.Direction][id].page(s.Range)
		} else {
			lists[i] = k.get(s, id)
		}
	}
	return driver.Result{Lists: lists}
}

// get returns the edges from id to the ends of the step, in list order.
func (k *edges) get(s *driver.Step, id string) []driver.Edge {
	var found list
	for _, end := range s.Ends {
		if e := k.between(s.Direction, id, end); e != nil {
			found = append(found, listed{ms: e.Time.UnixMilli(), far: end, edge: e})
		}
	}
	slices.SortFunc(found, compareListed)
	found = slices.CompactFunc(found, func(a, b listed) bool { return a.far == b.far })
	return found.page(driver.Range{})
}

// scan sorts all edges of the kind for every page: it is not meant to be fast.
func (k *edges) scan(s *driver.Step) []driver.Edge {
	var found []driver.Edge
	for _, e := range k.records {
		if len(s.IDs) == 0 || compareEnds(e.From, e.To, s.IDs[0], s.IDs[1]) > 0 {
			found = append(found, *e)
		}
	}
	slices.SortFunc(found, func(a, b driver.Edge) int { return compareEnds(a.From, a.To, b.From, b.To) })
	if s.Range.Limit > 0 {
		found = slices.Clip(found[:min(s.Range.Limit, len(found))])
	}
	return found
}

func compareEnds(fromA, toA, fromB, toB string) int {
	return cmp.Or(cmp.Compare(fromA, fromB), cmp.Compare(toA, toB))
}
