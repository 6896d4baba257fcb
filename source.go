package graphcache

import (
	"fmt"
	"slices"

	"github.com/graphcache/graphcache/driver"
)

// Source is where a query starts or goes on from: an [ID], [IDs], or a [Query]
// whose results are objects of type T. No other types implement it.
type Source[T any] interface {
	source(*T) source
}

// source is a query as it is built: where it starts, and the hops it takes. The last
// hop is apart, so that refining it copies nothing else.
type source struct {
	kind string // the object kind that it starts from, set by the first hop
	id   string // the object that it starts from, if it is one
	ids  []string
	prev *link // the hops before the last
	last hop
	hops int
	err  error // the first mistake in building it
}

// link is a hop and those before it. It is never modified.
type link struct {
	prev *link
	hop  hop
}

// hop is one step along the edges of a kind, or from a whole kind of objects to those
// that match. Its slices are never modified.
type hop struct {
	edge      *edgeKind   // nil: the first hop of a query that starts from a kind
	end       *objectKind // what it leads to
	direction driver.Direction
	high, low bound
	limitPer  int // at most so many rows from each object
	offset    int
	limit     int
	distinct  bool
	whereEdge []pred // conditions on the edges
	where     []pred // conditions on the objects
	order     []orderKey
	after     []driver.Value // of a page: its place in the order
}

func (id ID[T]) source(*T) source { return source{id: string(id)} }

func (ids IDs[T]) source(*T) source {
	s := source{ids: make([]string, 0, len(ids))}
	seen := make(map[ID[T]]bool, len(ids))
	for _, id := range ids {
		if !seen[id] {
			seen[id] = true
			s.ids = append(s.ids, string(id))
		}
	}
	return s
}

func (q Query[T, E]) source(*T) source {
	if q.src.hops == 0 && q.src.err == nil {
		q.src.err = errEmpty
	}
	return q.src
}

var errEmpty = fmt.Errorf("%w: the query is empty", ErrInvalid)

// append adds a hop.
func (s *source) append(k *edgeKind, d driver.Direction) {
	start := k.end(driver.In - d)
	switch {
	case s.hops == 0:
		s.kind = nameOf(start)
	case s.last.end != start && s.err == nil:
		s.err = fmt.Errorf("%w: the source of %q has objects of kind %q, not %q", ErrInvalid, k.name, nameOf(s.last.end), nameOf(start))
		fallthrough
	default:
		s.prev = &link{s.prev, s.last}
	}
	s.last = hop{edge: k, end: k.end(d), direction: k.direction(d)}
	s.hops++
}

// nameOf returns the kind's name; Open refuses schemas in which it is nil.
func nameOf(k *objectKind) string {
	if k == nil {
		return ""
	}
	return k.name
}

// fail notes a mistake, unless there is one.
func (s *source) fail(what string, err error) {
	if s.err == nil {
		s.err = fmt.Errorf("%s: %w", what, err)
	}
}

// refine returns the last hop, for a refinement with a number, and notes a mistake if
// there is no hop or the number is negative.
func (s *source) refine(what string, n int) *hop {
	if s.hops == 0 && s.err == nil {
		s.err = errEmpty
	}
	if n < 0 && s.err == nil {
		s.err = errNegative(what, n)
	}
	return &s.last
}

func errNegative(what string, n int) error {
	return fmt.Errorf("%w: %s(%d): negative", ErrInvalid, what, n)
}

// refineEdges is refine for what only a hop along edges has.
func (s *source) refineEdges(what string, n int) *hop {
	if s.hops > 0 && s.last.edge == nil {
		s.fail(what, errNoEdges)
	}
	return s.refine(what, n)
}

var errNoEdges = fmt.Errorf("%w: a query that starts from a kind has no edges", ErrInvalid)

// check returns the first mistake in the query.
func (s *source) check() error {
	if s.err != nil {
		return s.err
	}
	if s.hops == 0 {
		return errEmpty
	}
	if s.ids == nil {
		if s.startsFromKind() {
			return nil
		}
		return checkID(s.kind, s.id)
	}
	for _, id := range s.ids {
		if err := checkID(s.kind, id); err != nil {
			return err
		}
	}
	return nil
}

// startsFromKind reports whether the first hop is that of ObjectKind.Where.
func (s *source) startsFromKind() bool {
	first := &s.last
	for l := s.prev; l != nil; l = l.prev {
		first = &l.hop
	}
	return s.hops > 0 && first.edge == nil
}

// start returns the IDs from which the query starts.
func (s *source) start() []string {
	switch {
	case s.ids != nil:
		return s.ids
	case s.startsFromKind():
		return nil
	}
	return []string{s.id}
}

// path returns the hops in the form in which they are run.
func (s *source) path() []hop {
	hops := make([]hop, s.hops)
	hops[s.hops-1] = s.canonical(&s.last, s.hops-1)
	i := s.hops - 1
	for l := s.prev; l != nil; l = l.prev {
		i--
		hops[i] = s.canonical(&l.hop, i)
	}
	return hops
}

// canonical returns hop i without what has no effect.
func (s *source) canonical(h *hop, i int) hop {
	c := *h
	if len(c.order) > 0 {
		c.order = c.decisive()
	}
	if i < s.hops-1 && c.limit == 0 && c.offset == 0 {
		c.distinct = false // the next hop visits each object once
	}
	if c.edge == nil {
		if len(c.order) > 0 && c.order[len(c.order)-1].isID() && !c.order[len(c.order)-1].desc {
			c.order = c.order[:len(c.order)-1] // as it is without it
		}
		return c
	}
	if c.edge.toOne && c.direction == driver.Out {
		c.limitPer = 0 // there is at most one
	}
	one := i == 0 && (s.ids == nil || len(s.ids) == 1)
	if one && len(c.order) > 0 && c.order[0].col.Of == driver.EdgeTime && c.order[0].desc && len(c.order) == 1 {
		c.order = nil // that of the list
	}
	return c
}

// decisive returns the order's keys without those of fields that Where or WhereEdge sets
// equal to one value.
func (h *hop) decisive() []orderKey {
	fixed := func(k orderKey) bool {
		equal := func(p pred) bool {
			return p.isLeaf() && p.op == driver.AnyOf && !p.neg && p.vs == nil && p.col.same(k.col)
		}
		return slices.ContainsFunc(h.where, equal) || slices.ContainsFunc(h.whereEdge, equal)
	}
	if !slices.ContainsFunc(h.order, fixed) {
		return h.order
	}
	keys := slices.DeleteFunc(slices.Clone(h.order), fixed)
	if len(keys) == 0 && h.edge != nil {
		return h.order[:1] // without an order edges are in that of their lists
	}
	return keys
}

func (k orderKey) isID() bool { return k.col.Of == driver.ObjectID }
