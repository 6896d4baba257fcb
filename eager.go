package graphcache

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Attachment is something that [Query.With] loads along with the objects of type T: a
// [Neighbours]. No other types implement it.
type Attachment[T any] interface {
	attach(ctx context.Context, c conn, fresh Freshness, objects []*T, ids []string) error
}

// Neighbours are the objects at the other ends of edges, to be loaded along with
// objects of type A by [Query.With]. [EdgeKind.OutInto] and [EdgeKind.InInto] make it,
// and its methods are those of [Query] that make sense for the edges of each object; it
// is immutable like one.
type Neighbours[A, B, E any] struct {
	q   Query[B, E]
	set func(*A, []*B)
}

// OutInto returns the neighbours along the edges that start at an object. set is called
// once for each object, with its neighbours in order, none if there are none:
//
//	Wrote.OutInto(func(u *User, posts []*Post) { u.Posts = posts })
//
// The field that it sets is tagged `json:"-"`, so that it is not stored.
func (k *EdgeKind[A, B, D]) OutInto(set func(*A, []*B)) Neighbours[A, B, Edge[A, B, D]] {
	return Neighbours[A, B, Edge[A, B, D]]{k.Out(IDs[A]{}), set}
}

// InInto returns the neighbours along the edges that end at an object; see
// [EdgeKind.OutInto].
func (k *EdgeKind[A, B, D]) InInto(set func(*B, []*A)) Neighbours[B, A, Edge[A, B, D]] {
	return Neighbours[B, A, Edge[A, B, D]]{k.In(IDs[B]{}), set}
}

// Where is [Query.Where].
func (n Neighbours[A, B, E]) Where(predicates ...Predicate[B]) Neighbours[A, B, E] {
	n.q = n.q.Where(predicates...)
	return n
}

// WhereEdge is [Query.WhereEdge].
func (n Neighbours[A, B, E]) WhereEdge(predicates ...Predicate[E]) Neighbours[A, B, E] {
	n.q = n.q.WhereEdge(predicates...)
	return n
}

// OrderBy is [Query.OrderBy].
func (n Neighbours[A, B, E]) OrderBy(orders ...Order[B]) Neighbours[A, B, E] {
	n.q = n.q.OrderBy(orders...)
	return n
}

// OrderByEdge is [Query.OrderByEdge].
func (n Neighbours[A, B, E]) OrderByEdge(orders ...Order[E]) Neighbours[A, B, E] {
	n.q = n.q.OrderByEdge(orders...)
	return n
}

// Since is [Query.Since].
func (n Neighbours[A, B, E]) Since(t time.Time) Neighbours[A, B, E] {
	n.q = n.q.Since(t)
	return n
}

// Until is [Query.Until].
func (n Neighbours[A, B, E]) Until(t time.Time) Neighbours[A, B, E] {
	n.q = n.q.Until(t)
	return n
}

// LimitPer is [Query.LimitPer].
func (n Neighbours[A, B, E]) LimitPer(limit int) Neighbours[A, B, E] {
	n.q = n.q.LimitPer(limit)
	return n
}

// With is [Query.With]: it loads what is next to the neighbours.
func (n Neighbours[A, B, E]) With(attachments ...Attachment[B]) Neighbours[A, B, E] {
	n.q = n.q.With(attachments...)
	return n
}

// With returns the query as one that loads neighbours along with its objects: all of a
// level in one batch, however many objects there are. It adds to what was called
// before. It applies to the terminal calls that return objects, not to a query that goes
// on from this one, and [Query.Explain] does not show it.
func (q Query[T, E]) With(attachments ...Attachment[T]) Query[T, E] {
	for _, a := range attachments {
		if a == nil {
			q.src.fail("With", fmt.Errorf("%w: an attachment is nil", ErrInvalid))
		}
	}
	q.attach = append(slices.Clip(q.attach), attachments...)
	return q
}

// attachAll loads what goes with the objects, which have the IDs.
func attachAll[T any](ctx context.Context, c conn, fresh Freshness, attachments []Attachment[T], objects []*T, ids []string) error {
	if len(objects) == 0 {
		return nil
	}
	for _, a := range attachments {
		if err := a.attach(ctx, c, fresh, objects, ids); err != nil {
			return err
		}
	}
	return nil
}

func (n Neighbours[A, B, E]) attach(ctx context.Context, c conn, fresh Freshness, objects []*A, ids []string) error {
	if n.set == nil {
		return fmt.Errorf("With: %w: the function that takes the neighbours along %s is nil", ErrInvalid, n.q.name())
	}
	q := n.q
	q.src.ids, q.fresh = distinct(slices.Clone(ids)), fresh
	of, err := q.grouped(ctx, c)
	if err != nil {
		return fmt.Errorf("with %s: %w", n.q.name(), err)
	}
	// An object that is there twice gets neighbours of its own each time.
	neighbours := make([][]*B, len(objects))
	var all []*B
	var allIDs []string
	for i, id := range ids {
		for _, r := range of[id] {
			b, err := decodeObject[B](q.src.last.end, r.far, r.object)
			if err != nil {
				return err
			}
			neighbours[i] = append(neighbours[i], b)
			all, allIDs = append(all, b), append(allIDs, r.far)
		}
	}
	if err := attachAll(ctx, c, fresh, n.q.attach, all, allIDs); err != nil {
		return err
	}
	for i, o := range objects {
		n.set(o, neighbours[i])
	}
	return nil
}

// grouped returns the rows with their objects, by the object from which they were
// reached.
func (q Query[T, E]) grouped(ctx context.Context, c conn) (map[string][]row, error) {
	x, err := q.exec(ctx, c)
	if err != nil {
		return nil, err
	}
	of := map[string][]row{}
	return of, x.each(func(batch []row) (bool, error) {
		for _, r := range batch {
			of[r.near] = append(of[r.near], r)
		}
		return true, nil
	})
}

// Pair is an edge and the object that the query reached along it.
type Pair[T, E any] struct {
	Edge   E
	Object *T
}

// WithObjects returns the edges of the last hop, each with the object that it leads to.
// Edges whose object does not exist are left out, and make room for others under Limit.
func (q Query[T, E]) WithObjects(ctx context.Context, c Conn) (pairs []Pair[T, E], err error) {
	defer func() { wrap(&err, "query", q.name(), "") }()
	ctx, op := c.conn().g.start(ctx, "query", q.name())
	defer op.end(&err)
	q.src.refineEdges("WithObjects", 0)
	var failed error
	err = q.each(ctx, c.conn(), false, nil, func(o *T, r *row) bool {
		var e E
		if e, failed = q.decode.decodeEdge(q.src.last.direction, r.near, &r.edge); failed != nil {
			return false
		}
		pairs = append(pairs, Pair[T, E]{e, o})
		return true
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return nil, err
	}
	return pairs, nil
}
