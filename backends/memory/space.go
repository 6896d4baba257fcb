package memory

import (
	"fmt"
	"slices"

	"github.com/graphcache/graphcache/driver"
)

// space is the content of one namespace. A nil space has no kinds.
type space struct {
	objects map[string]*objects
	edges   map[string]*edges
}

func newSpace() *space {
	return &space{objects: make(map[string]*objects), edges: make(map[string]*edges)}
}

// declare adds the kinds of the schema. All of it is checked before any of it is
// taken over.
func (sp *space) declare(schema driver.Schema) error {
	for _, kind := range schema.Edges {
		if err := sp.checkEdgeKind(kind); err != nil {
			return err
		}
	}
	built := make([][]*index, len(schema.Objects))
	for i := range schema.Objects {
		var err error
		if built[i], err = sp.build(&schema.Objects[i]); err != nil {
			return err
		}
	}
	for i, kind := range schema.Objects {
		if sp.objects[kind.Name] == nil {
			sp.objects[kind.Name] = &objects{records: make(map[string]*driver.Object)}
		}
		sp.objects[kind.Name].adopt(built[i])
	}
	for _, kind := range schema.Edges {
		if present := sp.edges[kind.Name]; present != nil {
			present.kind = kind
		} else {
			sp.edges[kind.Name] = newEdges(kind)
		}
	}
	return nil
}

// build returns the indexes of the kind that are not there yet.
func (sp *space) build(kind *driver.ObjectKind) ([]*index, error) {
	if err := checkIndexes(kind); err != nil {
		return nil, err
	}
	present := sp.objects[kind.Name]
	if present == nil {
		present = new(objects)
	}
	var built []*index
	for i := range kind.Indexes {
		declared := &kind.Indexes[i]
		if slices.ContainsFunc(present.indexes, func(ix *index) bool { return ix.is(declared) }) {
			continue
		}
		ix, err := newIndex(kind.Name, declared, present.records)
		if err != nil {
			return nil, err
		}
		built = append(built, ix)
	}
	return built, nil
}

// checkEdgeKind refuses to change how the keys of edges that are there are made.
func (sp *space) checkEdgeKind(kind driver.EdgeKind) error {
	present := sp.edges[kind.Name]
	if present == nil || len(present.records) == 0 {
		return nil
	}
	if present.kind.ToOne != kind.ToOne || present.kind.Symmetric != kind.Symmetric {
		return fmt.Errorf("memory: kind %q has edges and cannot change ToOne or Symmetric: %w", kind.Name, driver.ErrSchema)
	}
	return nil
}

func (sp *space) objectKind(name string) (*objects, error) {
	if sp != nil && sp.objects[name] != nil {
		return sp.objects[name], nil
	}
	return nil, fmt.Errorf("memory: object kind %q is not declared: %w", name, driver.ErrSchema)
}

func (sp *space) edgeKind(name string) (*edges, error) {
	if sp != nil && sp.edges[name] != nil {
		return sp.edges[name], nil
	}
	return nil, fmt.Errorf("memory: edge kind %q is not declared: %w", name, driver.ErrSchema)
}

// objects holds the objects of a kind.
type objects struct {
	records  map[string]*driver.Object
	deleting []string // the IDs of the objects marked Deleting, sorted
	indexes  []*index
}

// adopt adds indexes, each in the place of one with the same name. Those that other
// versions of a program have declared stay.
func (o *objects) adopt(built []*index) {
	for _, ix := range built {
		i := slices.IndexFunc(o.indexes, func(present *index) bool { return present.Name == ix.Name })
		if i < 0 {
			o.indexes = append(o.indexes, ix)
		} else {
			o.indexes[i] = ix
		}
	}
}

// taken returns the name of a unique index in which another object has an entry of
// this one, or "".
func (o *objects) taken(object *driver.Object) string {
	for _, ix := range o.indexes {
		if ix.clashes(object) {
			return ix.Name
		}
	}
	return ""
}

// put replaces the record before by after; nil is absence.
func (o *objects) put(before, after *driver.Object) {
	if before != nil {
		delete(o.records, before.ID)
		o.mark(before, false)
		for _, ix := range o.indexes {
			ix.remove(before)
		}
	}
	if after != nil {
		o.records[after.ID] = after
		o.mark(after, true)
		for _, ix := range o.indexes {
			ix.add(after)
		}
	}
}

// mark enters a Deleting object in the list of them, or takes it out.
func (o *objects) mark(object *driver.Object, in bool) {
	if !object.Deleting {
		return
	}
	i, found := slices.BinarySearch(o.deleting, object.ID)
	switch {
	case in && !found:
		o.deleting = slices.Insert(o.deleting, i, object.ID)
	case !in && found:
		o.deleting = slices.Delete(o.deleting, i, i+1)
	}
}

// edges holds the edges of a kind, by key and in the lists of both ends.
type edges struct {
	kind    driver.EdgeKind
	records map[edgeKey]*driver.Edge
	lists   [2]map[string]list // by direction and ID; none is empty
}

// edgeKey identifies an edge in its kind. to is empty in a kind that is ToOne.
type edgeKey struct {
	from, to string
}

func newEdges(kind driver.EdgeKind) *edges {
	return &edges{
		kind:    kind,
		records: make(map[edgeKey]*driver.Edge),
		lists:   [2]map[string]list{driver.Out: {}, driver.In: {}},
	}
}

func (k *edges) key(e *driver.Edge) edgeKey {
	if k.kind.ToOne {
		return edgeKey{from: e.From}
	}
	return edgeKey{from: e.From, to: e.To}
}

// put replaces the record before by after; nil is absence.
func (k *edges) put(before, after *driver.Edge) {
	if before != nil {
		delete(k.records, k.key(before))
		k.eachList(before, k.unlist)
	}
	if after != nil {
		k.records[k.key(after)] = after
		k.eachList(after, k.enlist)
	}
}

// eachList calls f for each list that the edge belongs to.
func (k *edges) eachList(e *driver.Edge, f func(dir driver.Direction, id string, item listed)) {
	out := listed{ms: e.Time.UnixMilli(), far: e.To, edge: e}
	in := listed{ms: out.ms, far: e.From, edge: e}
	f(driver.Out, e.From, out)
	switch {
	case !k.kind.Symmetric:
		f(driver.In, e.To, in)
	case e.From != e.To:
		f(driver.Out, e.To, in)
	}
}

func (k *edges) enlist(dir driver.Direction, id string, item listed) {
	k.lists[dir][id] = k.lists[dir][id].insert(item)
}

func (k *edges) unlist(dir driver.Direction, id string, item listed) {
	rest := k.lists[dir][id].remove(item)
	if len(rest) == 0 {
		delete(k.lists[dir], id)
		return
	}
	k.lists[dir][id] = rest
}

// between returns the edge between an object and a far end, nil if there is none.
func (k *edges) between(dir driver.Direction, id, far string) *driver.Edge {
	probe := driver.Edge{From: id, To: far}
	if dir == driver.In || k.kind.Symmetric && far < id {
		probe = driver.Edge{From: far, To: id}
	}
	e := k.records[k.key(&probe)]
	if e == nil || e.To != probe.To { // in a kind that is ToOne, the key does not say
		return nil
	}
	return e
}
