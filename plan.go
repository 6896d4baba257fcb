package graphcache

import (
	"fmt"
	"slices"
	"strings"

	"github.com/graphcache/graphcache/driver"
)

// The planner decides from where a hop is answered. It is pure: it looks at the hop in
// its canonical form and at the indexes of the kind that are ready, never at data.
//
// What may be cached under an anchor is what writes that touch the anchor cover:
//
//	object            the object
//	object's list     the edges' ends, times and data; nothing of the objects
//	index and values  which objects have an entry that starts with the values, in the
//	                  order of what follows in the entry, and of the ID; nothing else
//	kind              everything about the objects of the kind
//
// A condition or an order on anything else is applied in the engine to objects, each
// from its own fragment, while these are few, or else by the store, and then what it
// finds is not cached.

// maxCandidates is how many objects a hop loads to filter or sort them in the engine.
const maxCandidates = longPrefix

// maxPrefixes is how many values of an index a query reads at once.
const maxPrefixes = 64

// Access says from where a step of a query is answered.
type Access uint8

const (
	// ByID: the predicates say which objects can match; each is its own fragment.
	ByID Access = iota + 1
	// ByIndex: the candidates are read from an index, each combination of values
	// from its own fragment; what the index does not decide is decided in the
	// engine, on the objects.
	ByIndex
	// ByIndexOrder: the results, in their order, are read from an index.
	ByIndexOrder
	// ByScan: the results are a fragment of the whole kind, which every write of
	// the kind invalidates.
	ByScan
	// ByLists: the edges are read from the lists of the objects; conditions and
	// orders are applied in the engine.
	ByLists
	// ByStore: the store finds the results, and they are not cached.
	ByStore
)

// String returns the access in words.
func (a Access) String() string {
	names := [...]string{"?", "by ID", "index", "index in its order", "scan of the kind", "edge lists", "store"}
	return names[min(int(a), len(names)-1)]
}

// hopPlan is how one hop is answered.
type hopPlan struct {
	access   Access
	index    *index
	prefixes [][]driver.Value // ByIndex, ByIndexOrder: under which values to look
	ids      []string         // ByID
	// exact: the prefixes decide everything that the hop asks for, and nothing is
	// left to be checked on the objects.
	exact  bool
	reason string
	advice string // the index that would help
}

// planHop plans a hop. cached is false where the store answers everything: in a
// transaction, for Fresh reads, and without a cache.
func planHop(h *hop, k *boundKind, cached bool) hopPlan {
	switch {
	case h.edge != nil && cached:
		return hopPlan{access: ByLists}
	case h.edge != nil && h.plain():
		return hopPlan{access: ByLists, reason: uncached}
	case h.edge != nil:
		return hopPlan{access: ByStore, reason: uncached}
	}
	p := planObjects(h, k)
	switch {
	case cached:
		return p
	case p.access == ByID:
		if len(p.ids) > 0 {
			p.reason = uncached
		}
		return p
	}
	return hopPlan{access: ByStore, reason: uncached}
}

const uncached = "the read does not use the cache"

// planObjects plans a hop that starts from a kind.
func planObjects(h *hop, k *boundKind) hopPlan {
	if ids, ok := h.wantedIDs(); ok {
		p := hopPlan{access: ByID, ids: ids}
		if len(ids) == 0 {
			p.reason = "nothing can match"
		}
		return p
	}
	ready, unready := k.usable()
	if p, ok := planIndex(h, ready); ok {
		return p
	}
	if k.registered.Load().scanReady {
		return hopPlan{access: ByScan, exact: true}
	}
	p := hopPlan{access: ByStore, advice: h.advice()}
	if wanted, ok := planIndex(h, unready); ok {
		p.reason = fmt.Sprintf("the index %s is new, and not all processes know of it yet", wanted.index.name)
		if !k.built(wanted.index) {
			p.reason = fmt.Sprintf("the store is still building the index %s", wanted.index.name)
		}
		p.advice = ""
		return p
	}
	switch {
	case k.object.scans:
		p.reason = "that the kind has CacheScans is new, and not all processes know of it yet"
		p.advice = ""
	case h.tooManyValues(k.indexes):
		p.reason = fmt.Sprintf("more than %d values of an index, or one of more than %d bytes, are asked for", maxPrefixes, maxIndexValue)
		p.advice = ""
	case len(h.where) == 0:
		p.reason = "all objects of a kind are asked for, and the kind has no CacheScans"
	case len(k.indexes) == 0:
		p.reason = "the kind has no index"
	default:
		p.reason = "no index starts with a field that the predicates set equal to a value"
	}
	return p
}

// tooManyValues reports whether an index would be used but for the number or length of
// the values.
func (h *hop) tooManyValues(indexes []*index) bool {
	return slices.ContainsFunc(indexes, func(ix *index) bool {
		c := ix.columns[0]
		return slices.ContainsFunc(h.where, func(p pred) bool {
			return p.isLeaf() && p.op == c.equalOp() && !p.neg && p.col.same(c) && !slices.Contains(p.values(), nil)
		})
	})
}

// equalOp is the operator by which an index on the column finds objects.
func (c *column) equalOp() driver.FilterOp {
	if c.List {
		return driver.Has
	}
	return driver.AnyOf
}

// maxFieldKey is how long a key in the cache may be.
const maxFieldKey = 32 << 10

// wantedIDs returns the IDs that the predicates leave.
func (h *hop) wantedIDs() ([]string, bool) {
	for i := range h.where {
		p := &h.where[i]
		if p.isLeaf() && p.op == driver.AnyOf && !p.neg && p.col.Of == driver.ObjectID {
			var ids []string
			for _, v := range p.values() {
				if id := v.(string); checkID("", id) == nil {
					ids = append(ids, id)
				}
			}
			return ids, true
		}
		if p.isNone() {
			return nil, true
		}
	}
	return nil, false
}

// planIndex plans with the index that decides most.
func planIndex(h *hop, indexes []*index) (best hopPlan, ok bool) {
	most := 0
	for _, ix := range indexes {
		p, n := ix.plan(h)
		if n == 0 {
			continue
		}
		better := n > most || n == most && p.exact && !best.exact ||
			n == most && p.exact == best.exact && p.access == ByIndexOrder && best.access != ByIndexOrder
		if better {
			best, most = p, n
		}
	}
	return best, most > 0
}

// plan returns a plan with the index and how many of its columns it decides, 0 if the
// index is of no use.
func (ix *index) plan(h *hop) (p hopPlan, n int) {
	p = hopPlan{access: ByIndex, index: ix, prefixes: [][]driver.Value{nil}}
	used := make([]bool, len(h.where))
	for _, c := range ix.columns {
		i := h.equality(c)
		if i < 0 || len(p.prefixes)*len(h.where[i].values()) > maxPrefixes {
			break
		}
		used[i] = true
		p.prefixes = product(p.prefixes, h.where[i].values())
		n++
	}
	p.exact = !slices.Contains(used, false)
	// Two elements of one slice may lead to one object, but never two values of a
	// field; and a slice that has not been used can list an object more than once.
	if p.exact && len(p.prefixes) == 1 && len(h.order) > 0 && ix.orders(h.order, n) {
		p.access = ByIndexOrder
	}
	if !p.exact {
		p.reason = "the objects are loaded to check what the index does not decide"
	} else if p.access == ByIndex && len(h.order) > 0 {
		p.reason = "the objects are loaded to sort them"
	}
	return p, n
}

// equality returns which of the hop's conditions sets the column equal to values that
// the index finds, or -1.
func (h *hop) equality(c *column) int {
	return slices.IndexFunc(h.where, func(p pred) bool {
		return p.isLeaf() && p.op == c.equalOp() && !p.neg && p.col.same(c) &&
			!slices.ContainsFunc(p.values(), func(v driver.Value) bool { return !indexed(v) })
	})
}

// product appends each of the values to each of the prefixes.
func product(prefixes [][]driver.Value, values []driver.Value) [][]driver.Value {
	all := make([][]driver.Value, 0, len(prefixes)*len(values))
	for _, p := range prefixes {
		for _, v := range values {
			all = append(all, append(p[:len(p):len(p)], v))
		}
	}
	return all
}

// orders reports whether what follows the first n columns of the index is in the order
// that the keys ask for: then a change of it touches the anchors under them. A column
// that has nil is no matter, because an entry ends there and its anchors are touched
// all the same; one that is a list is in no order.
func (ix *index) orders(keys []orderKey, n int) bool {
	for _, k := range keys {
		if k.isID() {
			continue
		}
		if n >= len(ix.columns) || !ix.columns[n].same(k.col) || k.col.List {
			return false
		}
		n++
	}
	return true
}

// filter returns the condition that the objects' entries start with the values.
func (ix *index) filter(values []driver.Value) *driver.Filter {
	f := &driver.Filter{Op: driver.And}
	for i, v := range values {
		leaf := driver.Filter{Op: driver.AnyOf, Column: &ix.columns[i].Column, Values: []driver.Value{v}}
		if ix.columns[i].List {
			leaf.Op = driver.Has
		}
		f.Of = append(f.Of, leaf)
	}
	if len(f.Of) == 1 {
		return &f.Of[0]
	}
	return f
}

// advice names the index that would make the hop cached.
func (h *hop) advice() string {
	var names []string
	lists := false // there is one among them
	for i := range h.where {
		p := &h.where[i]
		equality := p.isLeaf() && !p.neg && p.op == p.col.equalOp()
		if !equality || slices.ContainsFunc(p.values(), func(v driver.Value) bool { return !indexed(v) }) {
			continue
		}
		if slices.Contains(names, p.col.Name()) || lists && p.col.List || len(names) == maxIndexColumns {
			continue
		}
		names, lists = append(names, p.col.Name()), lists || p.col.List
	}
	if len(names) == 0 {
		return "CacheScans, if the kind is small and rarely written"
	}
	for _, k := range h.order {
		if !k.isID() && !slices.Contains(names, k.col.Name()) && len(names) < maxIndexColumns {
			names = append(names, k.col.Name())
		}
	}
	return fmt.Sprintf("an index on %s(%s)", h.end.name, strings.Join(names, ", "))
}

// plain reports whether the hop asks for nothing but edges in the order of their
// lists.
func (h *hop) plain() bool {
	return h.edge != nil && len(h.whereEdge) == 0 && len(h.where) == 0 && len(h.order) == 0 && h.after == nil
}

// needsObjects reports whether the objects decide which results there are, or in which
// order.
func (h *hop) needsObjects() bool {
	return len(h.where) > 0 || len(h.order) > 0 && (h.order[0].col.Of == driver.ObjectField || h.order[0].isID())
}
