package graphcache

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// Source is where a query starts or goes on from: an [ID], [IDs], or a [Query]
// whose results are objects of type T. No other types implement it.
type Source[T any] interface {
	source(*T) source
}

// source is the canonical form of a query: where it starts, and the hops it takes.
// It is never modified once it has been passed on.
type source struct {
	kind string // the object kind of the IDs, set by the first hop
	ids  []string
	hops []hop
	end  *objectKind // what the last hop leads to
	err  error       // the first mistake in building it
}

// hop is one step along the edges of a kind.
type hop struct {
	kind      string
	edge      *edgeKind
	direction driver.Direction
	high, low bound
	limitPer  int // at most so many edges from each object
	offset    int
	limit     int
	distinct  bool
}

func (id ID[T]) source(*T) source { return source{ids: []string{string(id)}} }

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
	if len(q.src.hops) == 0 && q.src.err == nil {
		q.src.err = errEmpty
	}
	return q.src
}

var errEmpty = fmt.Errorf("%w: the query is empty", ErrInvalid)

// Query finds the edges at the end of a path through the graph, and the objects
// they lead to. T is the type of the objects, E that of the edges. It is immutable
// and safe for concurrent use: every method that refines it returns a new one. The
// first mistake in building a query is returned when it is run.
//
// A query is a path of hops. Each hop lists the edges of the objects that the hop
// before it has reached, in the order in which it reached them, each object once;
// the edges of one object come newest first. What Since and Until, LimitPer, Distinct,
// Offset and Limit leave of this list, in that order, is the result of the hop. The
// order in which they are called does not count, and of two calls of one the second.
// Objects between the hops are not looked at. A negative number is [ErrInvalid].
type Query[T, E any] struct {
	src    source
	fresh  Freshness
	decode func(near string, e *edge) (E, error)
}

// Out returns the edges of the kind that start at the objects of the source, and
// the objects they lead to.
func (k *EdgeKind[A, B, D]) Out(from Source[A]) Query[B, Edge[A, B, D]] {
	s := source{err: errNoSource}
	if from != nil {
		s = from.source(nil)
	}
	return Query[B, Edge[A, B, D]]{
		src: s.append(k.core, driver.Out),
		decode: func(near string, e *edge) (Edge[A, B, D], error) {
			return decodeEdge[A, B, D](k.core, near, e.far, e)
		},
	}
}

// In returns the edges of the kind that end at the objects of the source, and the
// objects they start from.
func (k *EdgeKind[A, B, D]) In(to Source[B]) Query[A, Edge[A, B, D]] {
	s := source{err: errNoSource}
	if to != nil {
		s = to.source(nil)
	}
	return Query[A, Edge[A, B, D]]{
		src: s.append(k.core, driver.In),
		decode: func(near string, e *edge) (Edge[A, B, D], error) {
			if k.core.symmetric {
				return decodeEdge[A, B, D](k.core, near, e.far, e)
			}
			return decodeEdge[A, B, D](k.core, e.far, near, e)
		},
	}
}

var errNoSource = fmt.Errorf("%w: the source is nil", ErrInvalid)

// append returns the source with one more hop.
func (s source) append(k *edgeKind, d driver.Direction) source {
	start := k.end(driver.In - d)
	if len(s.hops) == 0 {
		s.kind = nameOf(start)
	} else if s.end != start && s.err == nil {
		s.err = fmt.Errorf("%w: the source of %q has objects of kind %q, not %q", ErrInvalid, k.name, nameOf(s.end), nameOf(start))
	}
	s.end = k.end(d)
	s.hops = append(slices.Clip(s.hops), hop{kind: k.name, edge: k, direction: k.direction(d)})
	return s
}

// nameOf returns the kind's name; Open refuses schemas in which it is nil.
func nameOf(k *objectKind) string {
	if k == nil {
		return ""
	}
	return k.name
}

// refine returns the query with its last hop changed, unless n is negative.
func (q Query[T, E]) refine(what string, n int, change func(*hop)) Query[T, E] {
	if len(q.src.hops) == 0 {
		q.src.err = errEmpty
		return q
	}
	if n < 0 && q.src.err == nil {
		q.src.err = fmt.Errorf("%w: %s(%d): negative", ErrInvalid, what, n)
	}
	q.src.hops = slices.Clone(q.src.hops)
	change(&q.src.hops[len(q.src.hops)-1])
	return q
}

// Limit keeps the first n results; 0 keeps all, which is the default.
func (q Query[T, E]) Limit(n int) Query[T, E] {
	return q.refine("Limit", n, func(h *hop) { h.limit = n })
}

// Offset leaves out the first n results.
func (q Query[T, E]) Offset(n int) Query[T, E] {
	return q.refine("Offset", n, func(h *hop) { h.offset = n })
}

// LimitPer keeps the newest n edges of each object that the hop starts from; 0
// keeps all, which is the default.
func (q Query[T, E]) LimitPer(n int) Query[T, E] {
	return q.refine("LimitPer", n, func(h *hop) { h.limitPer = n })
}

// Distinct keeps the first of the edges that lead to the same object.
func (q Query[T, E]) Distinct() Query[T, E] {
	return q.refine("Distinct", 0, func(h *hop) { h.distinct = true })
}

// Until keeps edges whose time is not after t. The zero time keeps all.
func (q Query[T, E]) Until(t time.Time) Query[T, E] {
	return q.refine("Until", 0, func(h *hop) {
		if h.high = (bound{}); !t.IsZero() {
			h.high = latest(t)
		}
	})
}

// Since keeps edges whose time is not before t. The zero time keeps all.
func (q Query[T, E]) Since(t time.Time) Query[T, E] {
	return q.refine("Since", 0, func(h *hop) {
		if h.low = (bound{}); !t.IsZero() {
			h.low = earliest(t)
		}
	})
}

// Fresh returns the query as one that reads the store and leaves the cache as it
// is.
func (q Query[T, E]) Fresh() Query[T, E] {
	q.fresh = Fresh
	return q
}

// Key returns the query's canonical key. Queries with the same key ask for the same;
// two that ask for the same in different ways may have different keys. It is binary,
// and does not depend on the graph or on Fresh.
func (q Query[T, E]) Key() (string, error) {
	if err := q.src.check(); err != nil {
		return "", err
	}
	return string(q.src.canonical().appendKey(nil)), nil
}

// check returns the first mistake in the query.
func (s source) check() error {
	if s.err != nil {
		return s.err
	}
	if len(s.hops) == 0 {
		return errEmpty
	}
	for _, id := range s.ids {
		if err := checkID(s.kind, id); err != nil {
			return err
		}
	}
	return nil
}

// canonical returns the source in the form in which it is run: what has no effect
// is left out.
func (s source) canonical() source {
	s.hops = slices.Clone(s.hops)
	for i := range s.hops {
		h := &s.hops[i]
		if i < len(s.hops)-1 && h.limit == 0 && h.offset == 0 {
			h.distinct = false // the next hop visits each object once
		}
		if h.edge.toOne && h.direction == driver.Out {
			h.limitPer = 0 // there is at most one
		}
	}
	return s
}

// All returns the objects that the edges lead to. Objects that have been deleted
// meanwhile are left out, and make room for others under Limit.
func (q Query[T, E]) All(ctx context.Context, c Conn) ([]*T, error) {
	var all []*T
	for o, err := range q.Iter(ctx, c) {
		if err != nil {
			return nil, err
		}
		all = append(all, o)
	}
	return all, nil
}

// iterBatch is how many objects Iter loads at once when there is no limit.
const iterBatch = 1024

// Iter yields what All returns, and loads the objects in batches as the loop goes
// on. The edges are found before the first object is yielded. An error ends the
// sequence.
func (q Query[T, E]) Iter(ctx context.Context, c Conn) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		err := q.each(ctx, c.conn(), func(o *T) bool { return yield(o, nil) })
		if err != nil {
			wrap(&err, "query", q.name(), "")
			yield(nil, err)
		}
	}
}

// each calls yield with the objects until it returns false.
func (q Query[T, E]) each(ctx context.Context, c conn, yield func(*T) bool) error {
	x, err := q.exec(ctx, c)
	if err != nil {
		return err
	}
	last := &x.src.hops[len(x.src.hops)-1]
	limit, yielded, more := last.limit, 0, 0
	var seen map[[2]string]bool // the rows of earlier rounds
	for {
		rows, err := x.rows()
		if err != nil {
			return err
		}
		for left := last.unseen(rows, seen); len(left) > 0; {
			batch := left[:min(len(left), iterBatch)]
			left = left[len(batch):]
			objects, err := fetchObjects[T](ctx, c, x.src.end, farEnds(batch), q.fresh)
			if err != nil {
				return err
			}
			for _, o := range objects {
				if o == nil {
					continue
				}
				if yielded++; !yield(o) || yielded == limit {
					return nil
				}
			}
		}
		// Edges to objects that no longer exist have used up the limit: take as
		// many again as are missing, and twice as many each time after that. The
		// list may have grown at its head since.
		if limit == 0 || len(rows) < last.limit {
			return nil
		}
		if seen == nil {
			seen = map[[2]string]bool{}
		}
		for _, r := range rows {
			seen[last.rowKey(r)] = true
		}
		more = max(limit-yielded, 2*more)
		last.limit = addOffset(last.limit, more)
	}
}

// rowKey says which row of the hop it is. Under Distinct there is one for each object:
// a list that has grown may lead to it before the one that did.
func (h *hop) rowKey(r row) [2]string {
	if h.distinct {
		r.near = ""
	}
	return [2]string{r.near, r.far}
}

// unseen returns the rows that are not in seen.
func (h *hop) unseen(rows []row, seen map[[2]string]bool) []row {
	if len(seen) == 0 {
		return rows
	}
	return slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return seen[h.rowKey(r)] })
}

// farEnds returns the far ends of the rows.
func farEnds(rows []row) []string {
	ids := make([]string, len(rows))
	for i := range rows {
		ids[i] = rows[i].far
	}
	return ids
}

// First returns the first object, or [ErrNotFound].
func (q Query[T, E]) First(ctx context.Context, c Conn) (*T, error) {
	limited := q
	if last := q.last(); last != nil && last.limit != 1 {
		limited = q.Limit(1)
	}
	all, err := limited.All(ctx, c)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		err := error(ErrNotFound)
		wrap(&err, "query", q.name(), "")
		return nil, err
	}
	return all[0], nil
}

// Only returns the object if there is one, [ErrNotFound] if there is none, and
// [ErrNotUnique] if there are more.
func (q Query[T, E]) Only(ctx context.Context, c Conn) (_ *T, err error) {
	defer func() {
		if err == ErrNotFound || err == ErrNotUnique {
			wrap(&err, "query", q.name(), "")
		}
	}()
	limited := q
	if last := q.last(); last != nil && (last.limit == 0 || last.limit > 2) {
		limited = q.Limit(2)
	}
	all, err := limited.All(ctx, c)
	switch {
	case err != nil:
		return nil, err
	case len(all) == 0:
		return nil, ErrNotFound
	case len(all) > 1:
		return nil, ErrNotUnique
	}
	return all[0], nil
}

// IDs returns the IDs of the objects that the edges lead to, without loading them:
// one of an object that is being deleted may be among them.
func (q Query[T, E]) IDs(ctx context.Context, c Conn) (_ IDs[T], err error) {
	defer func() { wrap(&err, "query", q.name(), "") }()
	rows, err := q.rows(ctx, c.conn())
	if err != nil {
		return nil, err
	}
	ids := make(IDs[T], len(rows))
	for i := range rows {
		ids[i] = ID[T](rows[i].far)
	}
	return ids, nil
}

// Edges returns the edges of the last hop, without loading the objects.
func (q Query[T, E]) Edges(ctx context.Context, c Conn) (_ []E, err error) {
	defer func() { wrap(&err, "query", q.name(), "") }()
	rows, err := q.rows(ctx, c.conn())
	if err != nil {
		return nil, err
	}
	edges := make([]E, len(rows))
	for i := range rows {
		if edges[i], err = q.decode(rows[i].near, &rows[i].edge); err != nil {
			return nil, err
		}
	}
	return edges, nil
}

// Count returns how many edges there are within the query's limits, without loading
// them where the cache or the store can count.
func (q Query[T, E]) Count(ctx context.Context, c Conn) (n int, err error) {
	defer func() { wrap(&err, "query", q.name(), "") }()
	x, err := q.exec(ctx, c.conn())
	if err != nil {
		return 0, err
	}
	return x.count()
}

// Exists reports whether there is an edge.
func (q Query[T, E]) Exists(ctx context.Context, c Conn) (_ bool, err error) {
	defer func() { wrap(&err, "query", q.name(), "") }()
	if last := q.last(); last != nil && last.limit != 1 {
		q = q.Limit(1)
	}
	rows, err := q.rows(ctx, c.conn())
	return len(rows) > 0, err
}

// last returns the last hop, nil if the query is empty.
func (q Query[T, E]) last() *hop {
	if len(q.src.hops) == 0 {
		return nil
	}
	return &q.src.hops[len(q.src.hops)-1]
}

// name returns the kind that the query ends with.
func (q Query[T, E]) name() string {
	if last := q.last(); last != nil {
		return last.kind
	}
	return ""
}

// rows runs the query.
func (q Query[T, E]) rows(ctx context.Context, c conn) ([]row, error) {
	x, err := q.exec(ctx, c)
	if err != nil {
		return nil, err
	}
	return x.rows()
}

// exec prepares to run the query.
func (q Query[T, E]) exec(ctx context.Context, c conn) (*exec, error) {
	if err := q.src.check(); err != nil {
		return nil, err
	}
	x := &exec{ctx: ctx, c: c, src: q.src.canonical(), fresh: q.fresh}
	for _, h := range x.src.hops {
		if _, err := c.g.boundEdge(h.edge); err != nil {
			return nil, err
		}
	}
	return x, nil
}
