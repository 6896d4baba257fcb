package graphcache

import (
	"context"
	"fmt"
	"reflect"

	"github.com/tinylib/msgp/msgp"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/protocol"
)

// Ref names a record that something else than graphcache has written, for
// [Graph.Invalidate]. The Ref methods of kinds make it, and no other types implement it.
type Ref interface {
	anchors(ctx context.Context, g *Graph) ([]anchor, error)
}

// Ref names the object. Its entries in indexes are found in the record as it is now in
// the store, and as it was in the cache, if this program's layout is there. If it may
// have left the cache, or was written several times, pass what it was before as well:
// otherwise a query that is answered by an index alone, such as IDs and Count, may have
// it where it was until that value expires. If the cache does not answer, or another version
// of the program has an index on a field that this one lacks, the whole kind is dropped
// besides, which other processes learn when they look.
func (k *ObjectKind[T]) Ref(id ID[T], before ...*T) Ref {
	r := objectRef{kind: k.core, id: string(id)}
	for _, o := range before {
		r.before = append(r.before, reflect.ValueOf(o))
	}
	return r
}

type objectRef struct {
	kind   *objectKind
	id     string
	before []reflect.Value
}

func (r objectRef) anchors(ctx context.Context, g *Graph) ([]anchor, error) {
	if err := checkID(r.kind.name, r.id); err != nil {
		return nil, err
	}
	b, err := g.boundObject(r.kind)
	if err != nil {
		return nil, err
	}
	ids := []string{r.id}
	anchors, err := g.cachedEntries(ctx, b, ids)
	down := err != nil && ctx.Err() == nil && g.shared.ledger != nil && g.shared.opts.WhenCacheDown != Fail
	if down || b.registered.Load().alien {
		// What indexes had the object under before is not known.
		err = g.shared.raiseKinds(ctx, []string{b.name})
		anchors = append(anchors, b.touched(r.id, nil, nil)...)
	}
	if err != nil {
		return nil, err
	}
	for _, o := range r.before {
		if o.IsNil() {
			continue
		}
		doc, err := r.kind.plan.Document(o.Elem())
		if err != nil {
			return nil, err
		}
		anchors = append(anchors, b.touched(r.id, &doc, nil)...)
	}
	now, err := g.storedEntries(ctx, b, ids)
	return append(anchors, now...), err
}

// cachedEntries returns the anchors of the objects, of what is cached of the whole kind,
// and of the entries in indexes that the objects have as they are in the cache.
func (g *Graph) cachedEntries(ctx context.Context, b *boundKind, ids []string) (anchors []anchor, err error) {
	if b.registered.Load().scans {
		anchors = append(anchors, anchor{typ: kindAnchor, kind: b.name})
	}
	reqs := make([]request, len(ids))
	for i, id := range ids {
		anchors = append(anchors, b.touched(id, nil, nil)...)
		reqs[i] = b.objectRequest(id)
	}
	if !b.hasIndexes() || g.shared.opts.Cache == nil {
		return anchors, nil
	}
	if err := g.lookup(ctx, reqs); err != nil {
		return nil, err
	}
	for i := range reqs {
		if doc := reqs[i].cachedDocument(); doc != nil {
			anchors = append(anchors, b.touched(ids[i], &doc, nil)...)
		}
	}
	return anchors, nil
}

// cachedDocument returns what the indexes need of an object as it was found in the cache,
// nil if it was not there.
func (r *request) cachedDocument() driver.Document {
	if r.next.Action != protocol.Hit || r.flags&flagAbsent != 0 {
		return nil
	}
	k := r.kind.object
	v := reflect.New(k.typ).Elem()
	version, body, err := msgp.ReadInt64Bytes(r.body)
	if err != nil || k.decode(body, v.Addr().UnsafePointer(), r.id, version) != nil {
		return nil
	}
	doc, err := k.plan.Document(v)
	if err != nil {
		return nil
	}
	return doc
}

// storedEntries returns the anchors of the entries in indexes that the objects have in
// the store.
func (g *Graph) storedEntries(ctx context.Context, b *boundKind, ids []string) (anchors []anchor, err error) {
	if !b.hasIndexes() {
		return nil, nil
	}
	results, err := g.conn().read(ctx, driver.Step{Op: driver.GetObjects, Kind: b.name, IDs: ids})
	if err != nil {
		return nil, err
	}
	if len(results[0].Objects) != len(ids) {
		return nil, errResult
	}
	for i, o := range results[0].Objects {
		if o != nil {
			anchors = append(anchors, b.touched(ids[i], &o.Doc, nil)...)
		}
	}
	return anchors, nil
}

// Ref names the edge.
func (k *EdgeKind[A, B, D]) Ref(from ID[A], to ID[B]) Ref {
	return edgeRef{k.core, string(from), string(to)}
}

type edgeRef struct {
	kind     *edgeKind
	from, to string
}

func (r edgeRef) anchors(_ context.Context, g *Graph) ([]anchor, error) {
	if err := r.kind.check(g.conn(), r.from, r.to); err != nil {
		return nil, err
	}
	from, to := r.kind.sort(r.from, r.to)
	return r.kind.touched(from, to), nil
}

// Invalidate drops from the cache what depends on records that something else than
// graphcache has written: to be called after such a write. A read that begins after
// Invalidate has returned sees it. If the edge of a to-one kind has come to lead
// elsewhere, name it with each of its ends.
func (g *Graph) Invalidate(ctx context.Context, refs ...Ref) (err error) {
	defer wrap(&err, "invalidate", "", "")
	ctx, op := g.start(ctx, "invalidate", "")
	defer op.end(&err)
	if err := g.shared.lookFirst(ctx); err != nil {
		return err
	}
	var anchors []anchor
	for _, r := range refs {
		if r == nil {
			return fmt.Errorf("%w: a Ref is nil", ErrInvalid)
		}
		more, err := r.anchors(ctx, g)
		if err != nil {
			return err
		}
		anchors = append(anchors, more...)
	}
	if len(anchors) == 0 || g.shared.opts.Cache == nil {
		return nil
	}
	return g.mutate(ctx, exactly(anchors...), func(context.Context, *session) error { return nil })
}

// InvalidateKind drops everything that is cached of the kinds, in all namespaces, when
// nobody can say which of their records something else has written. In this process it
// has taken effect when InvalidateKind returns; in others it does within
// Options.LookPeriod, or when they next reach the store. It costs one small write of the
// store, and all values of the kinds are then loaded again. A store that does not keep
// generations says so: the error wraps [errors.ErrUnsupported].
func (g *Graph) InvalidateKind(ctx context.Context, kinds ...Kind) (err error) {
	defer wrap(&err, "invalidate kinds", "", "")
	var names []string
	for _, k := range kinds {
		objects, edges, err := coreOf(k)
		switch {
		case err != nil:
			return err
		case objects != nil:
			_, err = g.boundObject(objects)
			names = append(names, objects.name)
		default:
			_, err = g.boundEdge(edges)
			names = append(names, edges.name)
		}
		if err != nil {
			return err
		}
	}
	return g.shared.raiseKinds(ctx, names)
}
