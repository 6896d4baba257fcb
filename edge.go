package graphcache

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"
	"unsafe"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/plan"
)

// NoData is the data of edges that have none.
type NoData struct{}

// Edge is an edge from an object of type A to one of type B.
type Edge[A, B, D any] struct {
	From ID[A]
	To   ID[B]
	// Time orders the lists that the edge is in, newest first: UTC, whole
	// milliseconds.
	Time time.Time
	Data D
}

// EdgeKind is a kind of edges from objects of type A to objects of type B with data
// of type D, a struct, or [NoData]. There is at most one edge of a kind between two
// objects in one direction. It is immutable, safe for concurrent use, and may be
// part of many schemas.
//
// An edge is one record, seen from both its ends: adding one to Follows.Out(a) adds
// it to Follows.In(b).
type EdgeKind[A, B, D any] struct {
	core *edgeKind
}

// NewEdgeKind declares a kind of edges between objects of two kinds, or of one. For
// the name see [NewObjectKind]. A mistake in the declaration is reported by [Open].
func NewEdgeKind[D, A, B any](name string, from *ObjectKind[A], to *ObjectKind[B]) *EdgeKind[A, B, D] {
	k := &edgeKind{name: name, data: reflect.TypeFor[D]()}
	if from != nil {
		k.from = from.core
	}
	if to != nil {
		k.to = to.core
	}
	k.err = k.declare()
	return &EdgeKind[A, B, D]{k}
}

// declare makes the plan of the data.
func (k *edgeKind) declare() error {
	label := fmt.Sprintf("edge kind %q", k.name)
	if k.data.Kind() != reflect.Struct {
		return fmt.Errorf("%w: %s: its data, %v, is not a struct", ErrSchema, label, k.data)
	}
	for i := range k.data.NumField() {
		if f := k.data.Field(i); f.Type == reflect.TypeFor[Version]() {
			return fmt.Errorf("%w: %s: field %q: only objects have a graphcache.Version", ErrSchema, label, f.Name)
		}
	}
	var err error
	if k.plan, err = plan.Of(label, k.data, func(reflect.StructField) bool { return false }); err != nil {
		return err
	}
	for _, t := range k.plan.Tagged() {
		d := t.Column.Driver()
		return fmt.Errorf("%w: %s: field %q: only objects have indexes", ErrSchema, label, d.Name())
	}
	return nil
}

// ToOne returns the kind as one that leads from an object to at most one other:
// adding a second edge takes the place of the first. Like Symmetric and Family it
// leaves the kind that it is called on as it is.
func (k *EdgeKind[A, B, D]) ToOne() *EdgeKind[A, B, D] {
	c := *k.core
	c.toOne = true
	return &EdgeKind[A, B, D]{&c}
}

// Symmetric returns the kind as one whose edges have no direction: an edge between
// a and b is in the lists of both, Out and In are the same, and From is the object
// whose list it is read from. Both ends are objects of one kind, and the kind cannot
// be to-one as well.
func (k *EdgeKind[A, B, D]) Symmetric() *EdgeKind[A, B, D] {
	c := *k.core
	c.symmetric = true
	return &EdgeKind[A, B, D]{&c}
}

// Family returns the kind as a member of a family. [EdgeKind.ChangeKind] moves
// edges between the members, which have the same ends and the same data, and are
// all to-one or all symmetric or neither. For the name see [NewObjectKind].
func (k *EdgeKind[A, B, D]) Family(name string) *EdgeKind[A, B, D] {
	c := *k.core
	c.family = name
	return &EdgeKind[A, B, D]{&c}
}

// Name returns the kind's name.
func (k *EdgeKind[A, B, D]) Name() string { return k.core.name }

func (k *EdgeKind[A, B, D]) declareIn(s *Schema) { s.edges = append(s.edges, k.core) }

// Add adds an edge with the time of the store's clock. If the edge exists, its data
// and time are replaced; in a to-one kind, so is an edge to another object. Both
// ends must exist, or Add returns [ErrNotFound] and leaves nothing behind; readers may
// have seen the edge for a moment.
//
// If Add returns [ErrUnknownOutcome] the edge may have been stored without its ends
// having been checked; the same is true if the process dies. See [Graph.Repair].
func (k *EdgeKind[A, B, D]) Add(ctx context.Context, c Conn, from ID[A], to ID[B], data D) error {
	_, err := k.AddEdge(ctx, c, Edge[A, B, D]{From: from, To: to, Data: data})
	return err
}

// AddEdge is [EdgeKind.Add] with the caller's time, unless that is zero. It reports
// whether the edge was created; false, with a nil error, says that it was there and
// has been replaced.
func (k *EdgeKind[A, B, D]) AddEdge(ctx context.Context, c Conn, e Edge[A, B, D]) (created bool, err error) {
	defer wrapEdge(&err, "add", k.core.name, string(e.From), string(e.To))
	ctx, op := c.conn().g.start(ctx, "add", k.core.name)
	defer op.end(&err)
	if err := k.core.check(c.conn(), string(e.From), string(e.To)); err != nil {
		return false, err
	}
	data, err := k.core.plan.Document(reflect.ValueOf(&e.Data).Elem())
	if err != nil {
		return false, err
	}
	t, err := edgeTime(e.Time)
	if err != nil {
		return false, err
	}
	return c.conn().addEdge(ctx, k.core, driver.Edge{From: string(e.From), To: string(e.To), Time: t, Data: data})
}

// edgeTime returns the time as stores keep it.
func edgeTime(t time.Time) (time.Time, error) {
	if t.IsZero() {
		return t, nil
	}
	if y := t.UTC().Year(); y < 1 || y > 9999 {
		return t, fmt.Errorf("%w: the time %v is not in the years 1 to 9999", ErrInvalid, t)
	}
	return t.UTC().Truncate(time.Millisecond), nil
}

// wrapEdge is wrap for an edge.
func wrapEdge(err *error, op, kind, from, to string) {
	if *err != nil {
		*err = &opError{op: op, kind: kind, id: from, to: to, err: *err}
	}
}

// check checks the kind and the ends of an edge.
func (k *edgeKind) check(c conn, from, to string) error {
	if _, err := c.g.boundEdge(k); err != nil {
		return err
	}
	if err := checkID(k.from.name, from); err != nil {
		return err
	}
	return checkID(k.to.name, to)
}

// sort puts the ends in the order in which they are stored.
func (k *edgeKind) sort(from, to string) (string, string) {
	if k.symmetric && to < from {
		return to, from
	}
	return from, to
}

// errChanged says that what a write was prepared for is no longer so.
var errChanged = errors.New("graphcache: changed meanwhile")

// addEdge inserts or replaces the edge, checks its ends, and takes the edge back if
// one is missing.
func (c conn) addEdge(ctx context.Context, k *edgeKind, e driver.Edge) (created bool, err error) {
	e.From, e.To = k.sort(e.From, e.To)
	err = c.attempts(ctx, func() (bool, error) {
		var old *driver.Edge
		if k.toOne {
			var err error
			if old, err = c.prepareToOne(ctx, k, e); err != nil {
				return true, err
			}
		}
		err := c.mutate(ctx, exactly(k.touchedWith(old, e.From, e.To)...), func(ctx context.Context, s *session) (err error) {
			a := adding{session: s, kind: k, edge: e, expected: old}
			created, err = a.run(ctx)
			return err
		})
		if errors.Is(err, errChanged) {
			return false, nil
		}
		return true, err
	})
	return created, err
}

// prepareToOne reads the edge that a new one would take the place of. It also looks
// at the ends: to put the old edge back is a second write, so it is left to those
// who lose a race.
func (c conn) prepareToOne(ctx context.Context, k *edgeKind, e driver.Edge) (old *driver.Edge, err error) {
	steps := append(k.endSteps(e), k.firstEdge(e.From))
	results, err := c.read(ctx, steps...)
	if err != nil {
		return nil, err
	}
	if err := k.checkEnds(e, results); err != nil {
		return nil, err
	}
	return first(results[len(results)-1])
}

// firstEdge asks for the newest edge of an object: in a to-one kind, the only one.
func (k *edgeKind) firstEdge(from string) driver.Step {
	return driver.Step{
		Op: driver.ListEdges, Kind: k.name, Direction: driver.Out, IDs: []string{from},
		Range: driver.Range{Limit: 1},
	}
}

// first returns the first edge of a result's only list.
func first(r driver.Result) (*driver.Edge, error) {
	if len(r.Lists) != 1 {
		return nil, errResult
	}
	if len(r.Lists[0]) == 0 {
		return nil, nil
	}
	return &r.Lists[0][0], nil
}

// endSteps asks for the objects at the edge's ends.
func (k *edgeKind) endSteps(e driver.Edge) []driver.Step {
	if k.from == k.to && e.From != e.To {
		return []driver.Step{{Op: driver.GetObjects, Kind: k.from.name, IDs: []string{e.From, e.To}}}
	}
	return []driver.Step{
		{Op: driver.GetObjects, Kind: k.from.name, IDs: []string{e.From}},
		{Op: driver.GetObjects, Kind: k.to.name, IDs: []string{e.To}},
	}
}

// checkEnds says which object at an end does not exist.
func (k *edgeKind) checkEnds(e driver.Edge, results []driver.Result) error {
	steps := k.endSteps(e)
	for i, s := range steps {
		if i >= len(results) || len(results[i].Objects) != len(s.IDs) {
			return errResult
		}
		for j, o := range results[i].Objects {
			if o == nil || o.Deleting {
				return fmt.Errorf("%w: %s %.80q", ErrNotFound, s.Kind, s.IDs[j])
			}
		}
	}
	return nil
}

// adding is one attempt to add an edge, inside its holds.
type adding struct {
	session  *session
	kind     *edgeKind
	edge     driver.Edge
	expected *driver.Edge // in a to-one kind, the edge whose anchors are held too
}

func (a *adding) run(ctx context.Context) (created bool, err error) {
	a.edge.Version = newRecordVersion()
	res, err := a.session.write(ctx, driver.Write{Op: driver.Insert, Kind: a.kind.name, Edge: &a.edge})
	if err != nil {
		return false, err
	}
	var replaced *driver.Edge
	if res.Outcome != driver.Done {
		if replaced, err = a.replace(ctx, res); err != nil {
			return false, err
		}
	}
	return replaced == nil, a.verify(ctx, replaced)
}

// replace puts the edge in the place of the one that is there.
func (a *adding) replace(ctx context.Context, res driver.WriteResult) (replaced *driver.Edge, err error) {
	present := res.Edge
	if present == nil {
		if present, err = a.present(ctx); err != nil {
			return nil, err
		}
	}
	switch {
	case present == nil:
		return nil, errChanged
	case present.To != a.edge.To && (a.expected == nil || a.expected.To != present.To):
		// It leads to an object whose list is not held.
		return nil, errChanged
	}
	a.edge.Version = present.Version + 1
	res, err = a.session.write(ctx, driver.Write{Op: driver.Replace, Kind: a.kind.name, Edge: &a.edge, Expect: present.Version})
	if err == nil && res.Outcome != driver.Done {
		err = errChanged
	}
	return present, err
}

// present reads the edge that has the key of the one to be added.
func (a *adding) present(ctx context.Context) (*driver.Edge, error) {
	step := a.kind.firstEdge(a.edge.From)
	if !a.kind.toOne {
		step.Op, step.Ends, step.Range = driver.GetEdges, []string{a.edge.To}, driver.Range{}
	}
	results, err := a.session.g.shared.readSteps(ctx, a.session.store, []driver.Step{step}, a.session.stamp)
	if err != nil {
		return nil, err
	}
	return first(results[0])
}

// verify looks at the ends now that the edge is in place, and takes it back if one
// is missing.
func (a *adding) verify(ctx context.Context, replaced *driver.Edge) error {
	results, err := a.session.g.shared.readSteps(ctx, a.session.store, a.kind.endSteps(a.edge), a.session.stamp)
	if err != nil {
		return a.session.uncertain("the edge is stored, its ends are not checked", err)
	}
	missing := a.kind.checkEnds(a.edge, results)
	if missing == nil || !errors.Is(missing, ErrNotFound) {
		return missing
	}
	if err := a.takeBack(ctx, replaced); err != nil {
		return a.session.uncertain("the edge is stored, but not its end, and was not taken back", err)
	}
	return missing
}

// takeBack removes the edge, or puts back the one that led elsewhere in its place.
// An outcome other than Done is as good: whoever has written the edge meanwhile
// checks its ends, too.
func (a *adding) takeBack(ctx context.Context, replaced *driver.Edge) error {
	if replaced == nil || replaced.To == a.edge.To {
		_, err := a.session.write(ctx, driver.Write{Op: driver.Delete, Kind: a.kind.name, Edge: &a.edge, Expect: a.edge.Version})
		return err
	}
	back := adding{session: a.session, kind: a.kind, edge: *replaced}
	back.edge.Version = a.edge.Version + 1
	res, err := a.session.write(ctx, driver.Write{Op: driver.Replace, Kind: a.kind.name, Edge: &back.edge, Expect: a.edge.Version})
	if err != nil || res.Outcome != driver.Done {
		return err
	}
	// The object that it led to may have been deleted while it led elsewhere.
	if err := back.verify(ctx, nil); !errors.Is(err, ErrNotFound) {
		return err
	}
	return nil
}

// Remove removes the edge. It returns [ErrNotFound] if there is none.
func (k *EdgeKind[A, B, D]) Remove(ctx context.Context, c Conn, from ID[A], to ID[B]) (err error) {
	defer wrapEdge(&err, "remove", k.core.name, string(from), string(to))
	ctx, op := c.conn().g.start(ctx, "remove", k.core.name)
	defer op.end(&err)
	if err := k.core.check(c.conn(), string(from), string(to)); err != nil {
		return err
	}
	return c.conn().writeEdge(ctx, k.core, nil, string(from), string(to))
}

// ChangeKind moves the edge to another kind of its [EdgeKind.Family]. It keeps its
// time and data, and is at no moment in both kinds or in neither. It returns
// [ErrNotFound] if there is no such edge, and [ErrExists] if there is one in the
// other kind.
func (k *EdgeKind[A, B, D]) ChangeKind(ctx context.Context, c Conn, from ID[A], to ID[B], other *EdgeKind[A, B, D]) (err error) {
	defer wrapEdge(&err, "change kind of", k.core.name, string(from), string(to))
	ctx, op := c.conn().g.start(ctx, "change_kind", k.core.name)
	defer op.end(&err)
	if err := k.core.check(c.conn(), string(from), string(to)); err != nil {
		return err
	}
	if other == nil {
		return fmt.Errorf("%w: the other kind is nil", ErrInvalid)
	}
	if _, err := c.conn().g.boundEdge(other.core); err != nil {
		return err
	}
	if k.core.family == "" || k.core.family != other.core.family || k.core == other.core {
		return fmt.Errorf("%w: %q and %q are not two kinds of one family", ErrInvalid, k.core.name, other.core.name)
	}
	return c.conn().writeEdge(ctx, k.core, other.core, string(from), string(to))
}

// writeEdge removes an edge that is there, or moves it to another kind.
func (c conn) writeEdge(ctx context.Context, k, other *edgeKind, from, to string) error {
	from, to = k.sort(from, to)
	anchors := k.touched(from, to)
	w := driver.Write{Op: driver.Delete, Kind: k.name, Edge: &driver.Edge{From: from, To: to}}
	if other != nil {
		anchors = append(anchors, other.touched(from, to)...)
		w.Op, w.NewKind = driver.Rekind, other.name
	}
	return c.attempts(ctx, func() (bool, error) {
		w.Edge = &driver.Edge{From: from, To: to, Version: newRecordVersion()}
		if k.toOne {
			results, err := c.read(ctx, k.firstEdge(from))
			if err != nil {
				return true, err
			}
			present, err := first(results[0])
			if err != nil {
				return true, err
			}
			if present == nil || present.To != to {
				return true, ErrNotFound
			}
			w.Expect = present.Version
		}
		err := c.mutate(ctx, exactly(anchors...), func(ctx context.Context, s *session) error { return s.writeEdge(ctx, w, other) })
		if errors.Is(err, errChanged) {
			return false, nil
		}
		return true, err
	})
}

// writeEdge applies the write inside its holds. An edge that has changed its kind
// is checked like a new one: the deletion of an end may have passed its old kind
// after the edge was there, and its new kind before.
func (s *session) writeEdge(ctx context.Context, w driver.Write, other *edgeKind) error {
	res, err := s.write(ctx, w)
	switch {
	case err != nil:
		return err
	case res.Outcome == driver.Missing:
		return ErrNotFound
	case res.Outcome == driver.Exists:
		return ErrExists
	case res.Outcome == driver.Conflict:
		return errChanged
	case other == nil:
		return nil
	}
	a := adding{session: s, kind: other, edge: *w.Edge}
	return a.verify(ctx, nil)
}

// decodeEdge makes an edge of the caller's types.
func decodeEdge[A, B, D any](k *edgeKind, from, to string, e *edge) (Edge[A, B, D], error) {
	d := Edge[A, B, D]{From: ID[A](from), To: ID[B](to), Time: time.UnixMilli(e.ms).UTC()}
	rest, err := k.plan.DecodeTo(e.data, unsafe.Pointer(&d.Data))
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes are left over", len(rest))
	}
	if err != nil {
		return d, fmt.Errorf("the edge from %q to %q: decode: %w", from, to, err)
	}
	return d, nil
}

// Get returns the edge between two objects, or [ErrNotFound]. fresh may be [Fresh] to read
// the store, or [Shared] to pass by the near cache; the default is [Cached].
func (k *EdgeKind[A, B, D]) Get(ctx context.Context, c Conn, from ID[A], to ID[B], fresh ...Freshness) (_ *Edge[A, B, D], err error) {
	defer wrapEdge(&err, "get", k.core.name, string(from), string(to))
	ctx, op := c.conn().g.start(ctx, "get", k.core.name)
	defer op.end(&err)
	if err := k.core.check(c.conn(), string(from), string(to)); err != nil {
		return nil, err
	}
	e, err := c.conn().edgeTo(ctx, k.core, string(from), string(to), freshness(fresh))
	switch {
	case err != nil:
		return nil, err
	case e == nil:
		return nil, ErrNotFound
	}
	d, err := decodeEdge[A, B, D](k.core, string(from), string(to), e)
	if err != nil {
		return nil, err
	}
	return &d, nil
}

// GetMany returns those of an object's edges that lead to the targets, by target. A
// target may be given more than once. fresh is that of [EdgeKind.Get].
func (k *EdgeKind[A, B, D]) GetMany(ctx context.Context, c Conn, from ID[A], targets []ID[B], fresh ...Freshness) (_ map[ID[B]]*Edge[A, B, D], err error) {
	defer wrapEdge(&err, "get", k.core.name, string(from), "")
	ctx, op := c.conn().g.start(ctx, "get", k.core.name)
	defer op.end(&err)
	return k.getMany(ctx, c.conn(), from, targets, freshness(fresh))
}

func (k *EdgeKind[A, B, D]) getMany(ctx context.Context, c conn, from ID[A], targets []ID[B], fresh Freshness) (map[ID[B]]*Edge[A, B, D], error) {
	ends := make([]string, len(targets))
	for i, to := range targets {
		if err := k.core.check(c, string(from), string(to)); err != nil {
			return nil, err
		}
		ends[i] = string(to)
	}
	ends = distinct(ends)
	found := make(map[ID[B]]*Edge[A, B, D], len(ends))
	if len(ends) == 0 {
		return found, nil
	}
	edges, err := fetchEdges(ctx, c, k.core, string(from), ends, fresh)
	if err != nil {
		return nil, err
	}
	for i, e := range edges {
		if e == nil {
			continue
		}
		d, err := decodeEdge[A, B, D](k.core, string(from), ends[i], e)
		if err != nil {
			return nil, err
		}
		found[d.To] = &d
	}
	return found, nil
}

// Count returns the number of edges that start at the object: Out(from).Count.
func (k *EdgeKind[A, B, D]) Count(ctx context.Context, c Conn, from ID[A]) (int, error) {
	return readCount(ctx, c.conn(), k.core, string(from))
}

// Range returns up to limit of the edges that start at the object, newest first,
// without the first position of them: Out(from).Offset(position).Limit(limit).Edges.
// A limit of 0 is none.
func (k *EdgeKind[A, B, D]) Range(ctx context.Context, c Conn, from ID[A], position, limit int) ([]Edge[A, B, D], error) {
	return readList(ctx, c.conn(), k, string(from), span{offset: position, limit: limit})
}

// TimeRange returns up to limit of the edges that start at the object and whose
// times are from low to high, both inclusive, newest first. A zero time is no bound,
// and a limit of 0 is none.
func (k *EdgeKind[A, B, D]) TimeRange(ctx context.Context, c Conn, from ID[A], high, low time.Time, limit int) ([]Edge[A, B, D], error) {
	s := span{limit: limit}
	if !high.IsZero() {
		s.high = latest(high)
	}
	if !low.IsZero() {
		s.low = earliest(low)
	}
	return readList(ctx, c.conn(), k, string(from), s)
}
