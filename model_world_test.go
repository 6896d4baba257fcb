package graphcache_test

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/graphcache/graphcache"
)

// modelWorld is the graph as the documentation describes it: all objects, and all
// edges in no order. Every question is answered by looking at everything.
type modelWorld struct {
	objects map[string]map[string]any // kind → ID → object
	edges   map[string][]modelEdge    // kind → edges
}

func newModelWorld() *modelWorld {
	w := &modelWorld{objects: map[string]map[string]any{}, edges: map[string][]modelEdge{}}
	for _, k := range modelObjectKinds {
		w.objects[k.name] = map[string]any{}
	}
	return w
}

func (w *modelWorld) clone() *modelWorld {
	c := newModelWorld()
	for kind, objects := range w.objects {
		c.objects[kind] = maps.Clone(objects)
	}
	for kind, edges := range w.edges {
		c.edges[kind] = slices.Clone(edges)
	}
	return c
}

// modelPath is a query: the objects to start from, and the hops to take.
type modelPath struct {
	Start []string
	Hops  []modelHop
}

// modelHop is one hop. What is zero is not asked for.
type modelHop struct {
	Kind          string
	In            bool
	Since, Until  time.Time
	LimitPer      int
	Distinct      bool
	Offset, Limit int
}

// modelRow is an edge in somebody's list: far is where it leads from there.
type modelRow struct {
	far  string
	edge modelEdge
}

// rows answers a query.
func (w *modelWorld) rows(p modelPath) []modelRow {
	starts := modelEachOnce(p.Start)
	var rows []modelRow
	for _, h := range p.Hops {
		rows = w.hop(h, starts)
		starts = nil
		for _, r := range rows {
			starts = append(starts, r.far)
		}
		starts = modelEachOnce(starts)
	}
	return rows
}

func modelEachOnce(ids []string) []string {
	var once []string
	seen := map[string]bool{}
	for _, id := range ids {
		if !seen[id] {
			once = append(once, id)
		}
		seen[id] = true
	}
	return once
}

// hop takes one hop: the lists one after the other, and then what LimitPer,
// Distinct, Offset and Limit leave of them, in this order.
func (w *modelWorld) hop(h modelHop, starts []string) []modelRow {
	var rows []modelRow
	for _, id := range starts {
		n := 0
		for _, r := range w.list(modelKindNamed(h.Kind), h.In, id) {
			switch {
			case !h.Since.IsZero() && r.edge.Time.Before(h.Since):
				continue
			case !h.Until.IsZero() && r.edge.Time.After(h.Until):
				continue
			case h.LimitPer > 0 && n == h.LimitPer:
				continue
			}
			n++
			rows = append(rows, r)
		}
	}
	if h.Distinct {
		seen := map[string]bool{}
		rows = slices.DeleteFunc(rows, func(r modelRow) bool {
			again := seen[r.far]
			seen[r.far] = true
			return again
		})
	}
	rows = rows[min(h.Offset, len(rows)):]
	if h.Limit > 0 && len(rows) > h.Limit {
		rows = rows[:h.Limit]
	}
	return rows
}

// list returns the edges of one object: newest first, and those of one time by
// their far ends. An edge of a symmetric kind starts at whoever is asked.
func (w *modelWorld) list(k *modelKind, in bool, id string) []modelRow {
	var rows []modelRow
	for _, e := range w.edges[k.name] {
		in := in
		if k.symmetric {
			in = false
			if e.From != id {
				e.From, e.To = e.To, e.From
			}
		}
		switch {
		case in && e.To == id:
			rows = append(rows, modelRow{e.From, e})
		case !in && e.From == id:
			rows = append(rows, modelRow{e.To, e})
		}
	}
	slices.SortFunc(rows, func(a, b modelRow) int {
		if c := b.edge.Time.Compare(a.edge.Time); c != 0 {
			return c
		}
		return strings.Compare(a.far, b.far)
	})
	return rows
}

// at returns the index of the edge between two objects, -1 if there is none.
func (w *modelWorld) at(k *modelKind, from, to string) int {
	return slices.IndexFunc(w.edges[k.name], func(e modelEdge) bool {
		return e.From == from && e.To == to || k.symmetric && e.From == to && e.To == from
	})
}

// between returns the edge between two objects as seen from the first.
func (w *modelWorld) between(k *modelKind, from, to string) (modelEdge, bool) {
	i := w.at(k, from, to)
	if i < 0 {
		return modelEdge{}, false
	}
	e := w.edges[k.name][i]
	e.From, e.To = from, to
	return e, true
}

// inTheWay returns the index of the edge whose place a new one takes, -1 if there
// is none: the edge between the two, or in a to-one kind the only one of from.
func (w *modelWorld) inTheWay(k *modelKind, from, to string) int {
	if k.toOne {
		return slices.IndexFunc(w.edges[k.name], func(e modelEdge) bool { return e.From == from })
	}
	return w.at(k, from, to)
}

// add adds an edge, or replaces the one that is in the way.
func (w *modelWorld) add(k *modelKind, e modelEdge) (created bool, err error) {
	if w.objects[k.from.name][e.From] == nil || w.objects[k.to.name][e.To] == nil {
		return false, graphcache.ErrNotFound
	}
	e.Time = e.Time.UTC().Truncate(time.Millisecond)
	if i := w.inTheWay(k, e.From, e.To); i >= 0 {
		w.edges[k.name][i] = e
		return false, nil
	}
	w.edges[k.name] = append(w.edges[k.name], e)
	return true, nil
}

// remove removes an edge.
func (w *modelWorld) remove(k *modelKind, from, to string) error {
	i := w.at(k, from, to)
	if i < 0 {
		return graphcache.ErrNotFound
	}
	w.edges[k.name] = slices.Delete(w.edges[k.name], i, i+1)
	return nil
}

// rekind moves an edge to another kind.
func (w *modelWorld) rekind(k, other *modelKind, from, to string) error {
	e, ok := w.between(k, from, to)
	switch {
	case !ok:
		return graphcache.ErrNotFound
	case w.inTheWay(other, from, to) >= 0:
		return graphcache.ErrExists
	}
	w.edges[other.name] = append(w.edges[other.name], e)
	return w.remove(k, from, to)
}

// delete removes an object and its edges.
func (w *modelWorld) delete(k *modelObjects, id string) error {
	if w.objects[k.name][id] == nil {
		return graphcache.ErrNotFound
	}
	delete(w.objects[k.name], id)
	for _, e := range modelKinds {
		w.edges[e.name] = slices.DeleteFunc(w.edges[e.name], func(edge modelEdge) bool {
			return e.from == k && edge.From == id || e.to == k && edge.To == id
		})
	}
	return nil
}
