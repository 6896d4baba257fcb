package graphcache

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// Query finds the edges at the end of a path through the graph, and the objects
// they lead to. T is the type of the objects, E that of the edges. It is immutable
// and safe for concurrent use: every method that refines it returns a new one. The
// first mistake in building a query is returned when it is run.
//
// A query is a path of hops. The first one may be [ObjectKind.Where] or [ObjectKind.ByID],
// whose results are objects of the kind, each once, by ID ascending; it has no edges, so
// Edges, WithObjects, WhereEdge, OrderByEdge, LimitPer, Since and Until are [ErrInvalid]
// there. Every other hop lists the edges of the
// objects that the hop before it has reached, in the order in which it reached them,
// each object once; the edges of one object come newest first. From this list a hop
// keeps what its refinements leave, in this order, whichever was called first:
//
//   - Since and Until,
//   - WhereEdge and Where,
//   - OrderBy or OrderByEdge, which replace the order,
//   - LimitPer,
//   - Distinct,
//   - the cursor of [Query.Page],
//   - Offset and Limit.
//
// Refinements are those of the last hop at the time they are called. Where and
// WhereEdge add to what was called before, any other replaces it. The objects between
// two hops are looked at only if a Where or OrderBy needs them. A negative number is
// [ErrInvalid].
type Query[T, E any] struct {
	src    source
	fresh  Freshness
	decode edgeDecoder[E]
	attach []Attachment[T]
}

// edgeDecoder makes edges of the caller's type. An EdgeKind is one.
type edgeDecoder[E any] interface {
	decodeEdge(d driver.Direction, near string, e *edge) (E, error)
}

// NoEdge is the edge type of queries that start from a kind, not along edges.
type NoEdge struct{}

// Where starts a query with all objects of the kind that match the predicates. It is
// answered from the objects themselves if the predicates set their ID, from an index, for
// a kind with [ObjectKind.CacheScans] from the cache, or else by the store, uncached:
// [Query.Explain] says which.
func (k *ObjectKind[T]) Where(predicates ...Predicate[T]) Query[T, NoEdge] {
	q := Query[T, NoEdge]{src: source{kind: k.core.name, last: hop{end: k.core}, hops: 1}}
	return q.Where(predicates...)
}

// ByID starts a query with those of the objects that exist, each once, by ID ascending and
// not in the order given: [ObjectKind.GetMany] for what only a query can do, such as
// [Query.With]. An empty ID is [ErrInvalid].
func (k *ObjectKind[T]) ByID(ids ...ID[T]) Query[T, NoEdge] {
	set := make([]driver.Value, len(ids))
	var err error
	for i, id := range ids {
		if set[i] = string(id); err == nil {
			err = checkID(k.core.name, string(id))
		}
	}
	c := newColumn(recordKind{object: k.core}, nil, driver.Column{Of: driver.ObjectID, Zero: "", Type: driver.StringType})
	q := k.Where()
	if err != nil {
		q.src.fail("ByID", err)
	}
	return q.Where(Predicate[T]{p: setOf(c, set)})
}

// Out returns the edges of the kind that start at the objects of the source, and
// the objects they lead to.
func (k *EdgeKind[A, B, D]) Out(from Source[A]) Query[B, Edge[A, B, D]] {
	s := source{err: errNoSource}
	if from != nil {
		s = from.source(nil)
	}
	s.append(k.core, driver.Out)
	return Query[B, Edge[A, B, D]]{src: s, decode: k}
}

// In returns the edges of the kind that end at the objects of the source, and the
// objects they start from.
func (k *EdgeKind[A, B, D]) In(to Source[B]) Query[A, Edge[A, B, D]] {
	s := source{err: errNoSource}
	if to != nil {
		s = to.source(nil)
	}
	s.append(k.core, driver.In)
	return Query[A, Edge[A, B, D]]{src: s, decode: k}
}

func (k *EdgeKind[A, B, D]) decodeEdge(d driver.Direction, near string, e *edge) (Edge[A, B, D], error) {
	if d == driver.In {
		return decodeEdge[A, B, D](k.core, e.far, near, e)
	}
	return decodeEdge[A, B, D](k.core, near, e.far, e)
}

var errNoSource = fmt.Errorf("%w: the source is nil", ErrInvalid)

// Limit keeps the first n results; 0 keeps all, which is the default.
func (q Query[T, E]) Limit(n int) Query[T, E] {
	q.src.refine("Limit", n).limit = n
	return q
}

// Offset leaves out the first n results. Under [Query.Page] it applies to the first
// page.
func (q Query[T, E]) Offset(n int) Query[T, E] {
	q.src.refine("Offset", n).offset = n
	return q
}

// LimitPer keeps the first n edges of each object that the hop starts from, the newest
// unless there is another order; 0 keeps all, which is the default.
func (q Query[T, E]) LimitPer(n int) Query[T, E] {
	q.src.refineEdges("LimitPer", n).limitPer = n
	return q
}

// Distinct keeps the first of the edges that lead to the same object.
func (q Query[T, E]) Distinct() Query[T, E] {
	h := q.src.refine("Distinct", 0)
	h.distinct = h.edge != nil // objects of a kind are
	return q
}

// Since keeps the edges whose time is t or later. A zero t is no bound.
func (q Query[T, E]) Since(t time.Time) Query[T, E] {
	h := q.src.refineEdges("Since", 0)
	h.low = bound{}
	if !t.IsZero() {
		h.low = earliest(t)
	}
	return q
}

// Until keeps the edges whose time is t or earlier. A zero t is no bound.
func (q Query[T, E]) Until(t time.Time) Query[T, E] {
	h := q.src.refineEdges("Until", 0)
	h.high = bound{}
	if !t.IsZero() {
		h.high = latest(t)
	}
	return q
}

// Where keeps the objects that all of the predicates match, and the edges that lead to
// them. It adds to what an earlier Where asks for.
func (q Query[T, E]) Where(predicates ...Predicate[T]) Query[T, E] {
	h := q.src.refine("Where", 0)
	parts, err := conjoin(h.where, predicates, recordKind{object: h.end})
	if err != nil {
		q.src.fail("Where", err)
	}
	h.where = parts
	return q
}

// WhereEdge keeps the edges that all of the predicates match. It adds to what an
// earlier WhereEdge asks for.
func (q Query[T, E]) WhereEdge(predicates ...Predicate[E]) Query[T, E] {
	h := q.src.refineEdges("WhereEdge", 0)
	parts, err := conjoin(h.whereEdge, predicates, recordKind{edge: h.edge})
	if err != nil {
		q.src.fail("WhereEdge", err)
	}
	h.whereEdge = parts
	return q
}

// mustBe says when the column is not of the kind.
func (c *column) mustBe(kind recordKind) error {
	switch {
	case c == nil:
		return errZeroField
	case c.err != nil:
		return c.err
	case c.kind != kind && c.kind.String() == kind.String():
		return fmt.Errorf("%w: %s was declared on another kind of that name: declare fields on what CacheScans, ToOne, Symmetric or Family returned", ErrInvalid, c.label())
	case c.kind != kind:
		return fmt.Errorf("%w: %s is not one of %v", ErrInvalid, c.label(), kind)
	}
	return nil
}

// OrderBy orders the results by fields of the objects, the first key first. Results
// that are equal in all of them are ordered by the object's ID, and then by that of the
// object from which the edge was reached. It replaces an earlier OrderBy or
// OrderByEdge.
func (q Query[T, E]) OrderBy(orders ...Order[T]) Query[T, E] {
	h := q.src.refine("OrderBy", 0)
	h.order = orderKeys(&q.src, "OrderBy", orders, recordKind{object: h.end})
	return q
}

// OrderByEdge is [Query.OrderBy] by fields of the edges, among them their time.
func (q Query[T, E]) OrderByEdge(orders ...Order[E]) Query[T, E] {
	h := q.src.refineEdges("OrderByEdge", 0)
	h.order = orderKeys(&q.src, "OrderByEdge", orders, recordKind{edge: h.edge})
	return q
}

// orderKeys returns the keys of the orders, which must be of the kind.
func orderKeys[T any](s *source, what string, orders []Order[T], kind recordKind) []orderKey {
	keys := make([]orderKey, 0, len(orders))
	for _, o := range orders {
		if err := o.key.col.mustBe(kind); err != nil {
			s.fail(what, err)
			return nil
		}
		keys = appendOrder(keys, o.key)
	}
	return keys
}

// Shared returns the query as one that passes by the near cache. A query that goes on from
// it does not, unless it says so too.
func (q Query[T, E]) Shared() Query[T, E] {
	q.fresh = Shared
	return q
}

// Fresh returns the query as one that reads the store and leaves the cache as it
// is. A query that goes on from it is not fresh unless it says so too.
func (q Query[T, E]) Fresh() Query[T, E] {
	q.fresh = Fresh
	return q
}

// Key returns the query's canonical key. Queries with the same key ask for the same;
// two that ask for the same in different ways may have different keys. It is binary,
// and does not depend on the graph, on Fresh or on With.
//
// The canonical form sorts the operands of And and Or and the values of In and has each
// once; joins an And within an And and an Or within an Or; moves Not to the fields;
// intersects the equalities that an And, and unites those that an Or, has for one field
// that is not a slice; and drops what is always or never true.
func (q Query[T, E]) Key() (string, error) {
	if err := q.src.check(); err != nil {
		return "", err
	}
	var buf [512]byte // on the stack; few keys are longer
	return string(q.src.appendKey(buf[:0])), nil
}

// All returns the objects that the edges lead to. Objects that have been deleted
// meanwhile, or no longer match, are left out, and make room for others under Limit.
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

// Iter yields what All returns, and loads the objects in batches as the loop goes
// on. The edges are found before the first object is yielded. An error ends the
// sequence.
func (q Query[T, E]) Iter(ctx context.Context, c Conn) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		var err error
		ctx, op := c.conn().g.start(ctx, "query", q.name())
		defer op.end(&err)
		err = q.each(ctx, c.conn(), false, nil, func(o *T, _ *row) bool { return yield(o, nil) })
		if err != nil {
			wrap(&err, "query", q.name(), "")
			yield(nil, err)
		}
	}
}

// each calls yield with the objects, and the rows that lead to them, until it returns
// false; of a page, with those after a place in the order.
func (q Query[T, E]) each(ctx context.Context, c conn, paging bool, after []driver.Value, yield func(*T, *row) bool) error {
	x, err := q.exec(ctx, c)
	if err != nil {
		return err
	}
	x.last().after, x.paging = after, paging
	return x.each(func(batch []row) (bool, error) {
		objects := make([]*T, len(batch))
		for i := range batch {
			if objects[i], err = decodeObject[T](x.last().end, batch[i].far, batch[i].object); err != nil {
				return false, err
			}
		}
		if err := attachAll(ctx, c, q.fresh, q.attach, objects, farEnds(batch)); err != nil {
			return false, err
		}
		for i := range batch {
			if !yield(objects[i], &batch[i]) {
				return false, nil
			}
		}
		return true, nil
	})
}

// First returns the first object, or [ErrNotFound].
func (q Query[T, E]) First(ctx context.Context, c Conn) (*T, error) {
	limited := q
	if q.src.last.limit != 1 {
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
	if q.src.last.limit == 0 || q.src.last.limit > 2 {
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

// IDs returns the IDs of the objects that the edges lead to, without loading them where
// no predicate or order needs that: one of an object that is being deleted may be among
// them.
func (q Query[T, E]) IDs(ctx context.Context, c Conn) (_ IDs[T], err error) {
	defer func() { wrap(&err, "query", q.name(), "") }()
	ctx, op := c.conn().g.start(ctx, "ids", q.name())
	defer op.end(&err)
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

// Edges returns the edges of the last hop; the objects are loaded only if a predicate
// or order needs that.
func (q Query[T, E]) Edges(ctx context.Context, c Conn) (_ []E, err error) {
	defer func() { wrap(&err, "query", q.name(), "") }()
	ctx, op := c.conn().g.start(ctx, "edges", q.name())
	defer op.end(&err)
	q.src.refineEdges("Edges", 0)
	if k, d, id, part, ok := q.src.single(); ok {
		return decodeList(ctx, c.conn(), k, d, id, part, q.fresh, q.decode)
	}
	rows, err := q.rows(ctx, c.conn())
	if err != nil {
		return nil, err
	}
	edges := make([]E, len(rows))
	for i := range rows {
		if edges[i], err = q.decode.decodeEdge(q.src.last.direction, rows[i].near, &rows[i].edge); err != nil {
			return nil, err
		}
	}
	return edges, nil
}

// Count returns how many results there are within the query's limits, without loading
// them where the cache or the store can count.
func (q Query[T, E]) Count(ctx context.Context, c Conn) (n int, err error) {
	defer func() { wrap(&err, "query", q.name(), "") }()
	ctx, op := c.conn().g.start(ctx, "count", q.name())
	defer op.end(&err)
	if k, d, id, part, ok := q.src.single(); ok {
		return c.conn().countOf(ctx, k, d, id, part, q.fresh)
	}
	x, err := q.exec(ctx, c.conn())
	if err != nil {
		return 0, err
	}
	return x.count()
}

// Exists reports whether there is a result.
func (q Query[T, E]) Exists(ctx context.Context, c Conn) (_ bool, err error) {
	defer func() { wrap(&err, "query", q.name(), "") }()
	ctx, op := c.conn().g.start(ctx, "exists", q.name())
	defer op.end(&err)
	if q.src.last.limit != 1 {
		q = q.Limit(1)
	}
	q.src.last.dropOrder()
	rows, err := q.rows(ctx, c.conn())
	return len(rows) > 0, err
}

// name returns the kind that the query ends with.
func (q Query[T, E]) name() string {
	if q.src.last.edge != nil {
		return q.src.last.edge.name
	}
	return nameOf(q.src.last.end)
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
	x := &exec{ctx: ctx, c: c, ids: q.src.start(), hops: q.src.path(), fresh: q.fresh}
	for i := range x.hops {
		if err := x.hops[i].bound(c.g); err != nil {
			return nil, err
		}
	}
	return x, nil
}

// bound says when the graph does not have the hop's kinds.
func (h *hop) bound(g *Graph) error {
	if h.edge != nil {
		if _, err := g.boundEdge(h.edge); err != nil {
			return err
		}
	}
	_, err := g.boundObject(h.end)
	return err
}

// farEnds returns the far ends of the rows.
func farEnds(rows []row) []string {
	ids := make([]string, len(rows))
	for i := range rows {
		ids[i] = rows[i].far
	}
	return ids
}

// rowKey says which row of the hop it is. Under Distinct there is one for each object:
// a list that has grown may lead to it before the one that did.
func (h *hop) rowKey(r *row) [2]string {
	if h.distinct {
		return [2]string{"", r.far}
	}
	return [2]string{r.near, r.far}
}
